"""Asking a machine's keeper, and ending it."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from trimaran import errors
from trimaran.linux import processes

SOCKET = "sock"
KEEPER_PID = "keeper.pid"
_MAX_ANSWER = 1 << 20
_ASK_SECONDS = 90.0
_STOP_SECONDS = 15.0


class Machine:
    """The machine in a directory, as seen from outside its keeper."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def _identity(self) -> tuple[int, int]:
        try:
            with open(os.path.join(self.directory, KEEPER_PID), encoding="ascii") as file:
                record = json.load(file)
        except FileNotFoundError:
            return 0, 0
        return int(record["pid"]), int(record["started"])

    def alive(self) -> bool:
        """Whether its keeper runs."""
        return processes.alive(*self._identity())

    def stop(self) -> None:
        """End it, in good order if it answers. Idempotent."""
        pid, started = self._identity()
        if not processes.alive(pid, started):
            return
        try:
            ask(self.directory, "shutdown", seconds=2.0)
        except errors.TrimaranError:
            processes.signal(pid, started, signal.SIGKILL)
        if not processes.wait_gone(pid, started, _STOP_SECONDS):
            processes.signal(pid, started, signal.SIGKILL)
            processes.wait_gone(pid, started, _STOP_SECONDS)


def ask(directory: str, name: str, *, seconds: float = _ASK_SECONDS, **arguments: Any) -> Any:
    """The answer to one request. Raises what the keeper raised, :class:`GuestError` if it is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(seconds)
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{fd}/{SOCKET}")
            connection.send(json.dumps({"request": name, **arguments}).encode())
            data = connection.recv(_MAX_ANSWER)
        except TimeoutError as error:
            raise errors.TimedOut(f"the machine did not answer {name} in {seconds:g} s") from error
        except OSError as error:
            raise errors.GuestError("the machine is gone", why=error.strerror or "") from error
        finally:
            os.close(fd)
    if not data:
        raise errors.GuestError("the machine is gone", why=f"it left without an answer to {name}")
    answer = json.loads(data)
    if "error" in answer:
        raise _error(answer["error"])
    return answer.get("result")


def _error(detail: dict[str, Any]) -> errors.TrimaranError:
    kind = getattr(errors, detail["kind"], errors.GuestError)
    if not (isinstance(kind, type) and issubclass(kind, errors.TrimaranError)):
        kind = errors.GuestError
    message = detail["message"]
    if issubclass(kind, errors.KernelError):
        return errors.KernelError("guest", detail["errno"], message=message, hint=detail["hint"])
    if kind is errors.SpecError:
        return errors.SpecError(message, detail["why"], hint=detail["hint"])
    return kind(message, why=detail["why"], hint=detail["hint"])
