"""The log that callers of a runtime read: text, or runc's JSON lines, which engines parse for the cause."""

from __future__ import annotations

import os

from trimaran.errors import InvalidInput, KernelError
from trimaran.spec import jsonio

FORMATS = ("text", "json")


class Log:
    """Appends to a file, made when the first line is written.

    Without a path warnings go to standard error; errors are printed there in any case.
    """

    __slots__ = ("_debug", "_fd", "_format", "_path")

    def __init__(self, path: str, format: str, debug: bool) -> None:
        if format not in FORMATS:
            raise InvalidInput(f"--log-format knows no {format!r}", hint="text or json")
        self._path = path
        self._format = format
        self._debug = debug
        self._fd = -1

    def debug(self, message: str) -> None:
        if self._debug:
            self._write("debug", message)

    def warning(self, message: str) -> None:
        if self._path:
            self._write("warning", message)
        else:
            os.write(2, f"trimaran-oci: warning: {message}\n".encode())

    def error(self, message: str) -> None:
        self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        if not self._path:
            return
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            try:
                self._fd = os.open(self._path, flags, 0o644)
            except OSError as error:
                raise KernelError("open", error.errno or 0, self._path) from None
        import time

        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._format == "json":
            line = jsonio.dump({"level": level, "msg": message, "time": stamp})
        else:
            line = f"time={jsonio.dump(stamp)} level={level} msg={jsonio.dump(message)}"
        os.write(self._fd, f"{line}\n".encode())
