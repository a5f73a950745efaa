"""A run as a file: every call with its result, one JSON line each; and replaying what came from outside."""

from __future__ import annotations

import json

from trimaran.errors import InvalidInput
from trimaran.sandbox.hooks import Call, Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from trimaran.sandbox.kernel.kernel import Kernel

FORMAT = "trimaran-sandbox-record"
VERSION = 1


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogateescape")


class Recorder:
    """Writes to an open text file (``errors="surrogateescape"``): a header, then the calls in their order.

    Randomness that the kernel gives out is recorded with it, so that a replay gives the same.
    """

    def __init__(self, hooks: Hooks, file: IO[str]) -> None:
        self.file = file
        self.kernel: Kernel = hooks.kernel
        self.count = 0
        self._write({"format": FORMAT, "version": VERSION})
        hooks.after("*", self._record)
        plain = self.kernel.random_bytes

        def random_bytes(size: int) -> bytes:
            data = plain(size)
            self._write({"random": data.hex()})
            return data

        self.kernel.random_bytes = random_bytes  # type: ignore[method-assign]

    def _write(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def _record(self, call: Call, result: int) -> None:
        self.count += 1
        entry: dict[str, Any] = {
            "pid": call.pid,
            "call": call.name,
            "args": list(call.args),
            "result": result,
        }
        for name, value in (("path", call.path), ("path2", call.path2), ("data", call.data)):
            if value is not None:
                entry[name] = _text(value)
        self._write(entry)


class Replayer:
    """Gives a run the randomness of a recorded one, and tells where it first does something else.

    ``difference`` is None as long as every process makes the recorded calls (names, paths and data; numbers
    such as addresses are free).
    """

    def __init__(self, hooks: Hooks, file: IO[str]) -> None:
        header = json.loads(file.readline() or "{}")
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise InvalidInput("this is no record of a sandbox", hint="make one with Recorder")
        self.expected: dict[int, list[dict[str, Any]]] = {}
        self.random: list[bytes] = []
        for line in file:
            entry = json.loads(line)
            if "random" in entry:
                self.random.append(bytes.fromhex(entry["random"]))
            else:
                self.expected.setdefault(entry["pid"], []).append(entry)
        self.difference: str | None = None
        self.matched = 0
        hooks.after("*", self._compare)
        plain = hooks.kernel.random_bytes

        def random_bytes(size: int) -> bytes:
            if self.random and len(self.random[0]) == size:
                return self.random.pop(0)
            return plain(size)

        hooks.kernel.random_bytes = random_bytes  # type: ignore[method-assign]

    def _compare(self, call: Call, result: int) -> None:
        if self.difference is not None:
            return
        waiting = self.expected.get(call.pid)
        if not waiting:
            self.difference = f"{call!r} comes after the end of the record"
            return
        entry = waiting.pop(0)
        for name, value in (("call", call.name), ("path", _text(call.path)), ("data", _text(call.data))):
            if entry.get(name) != value:
                self.difference = f"{call!r} where the record has {entry['call']} {entry.get('path', '')}"
                return
        self.matched += 1
