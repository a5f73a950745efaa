"""A sandbox's supervisor as seen from outside: starting it, asking it, ending it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

from trimaran.errors import GuestError, TimedOut
from trimaran.linux import _sys, files, processes

SOCKET = "sock"
PID_FILE = "supervisor.pid"
LOG = "supervisor.log"
MAX_ANSWER = 1 << 20
ASK_SECONDS = 30.0
STOP_SECONDS = 10.0
LAUNCHER = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(':'); "
    "from trimaran.sandbox.supervisor.main import main; main()"
)


class Supervisor:
    """The supervisor of the container in ``directory``."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def launch(self) -> None:
        """Start it, and wait until it can be connected to. Raises :class:`GuestError`."""
        log = os.open(f"{self.directory}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        executable = os.open(sys.executable, os.O_PATH | os.O_CLOEXEC)
        up, up_end = os.pipe()
        path = ":".join(entry for entry in sys.path if entry)
        words = [sys.executable, "-I", "-S", "-c", LAUNCHER, path, self.directory]
        try:
            pid, pidfd = _sys.spawn(
                executable,
                [os.fsencode(word) for word in words],
                [b"LC_ALL=C.UTF-8"],
                [null, null, log, up_end],
                new_session=True,
            )
        finally:
            for fd in (log, null, executable, up_end):
                os.close(fd)
        identity = {"pid": pid, "started": processes.start_time(pid) or 0}
        directory = os.open(self.directory, os.O_DIRECTORY | os.O_CLOEXEC)
        files.write_whole(directory, PID_FILE, json.dumps(identity).encode())
        os.close(directory)
        with open(up, "rb", buffering=0) as pipe:
            pipe.read()
        if not self.alive() or not os.path.exists(f"{self.directory}/{SOCKET}"):
            _sys.reap(pidfd, True)
            os.close(pidfd)
            raise GuestError("the sandbox did not start", why=self.last_words())
        os.close(pidfd)

    def last_words(self) -> str:
        """The last line of its log."""
        with open(f"{self.directory}/{LOG}", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
            return file.read().decode("utf-8", "replace").strip().rpartition("\n")[2]

    def identity(self) -> tuple[int, int]:
        try:
            with open(f"{self.directory}/{PID_FILE}", encoding="ascii") as file:
                record = json.load(file)
        except FileNotFoundError:
            return 0, 0
        return int(record["pid"]), int(record["started"])

    def alive(self) -> bool:
        return processes.alive(*self.identity())

    def ask(self, name: str, **arguments: Any) -> Any:
        """The answer to one request. Raises :class:`GuestError` if there is none."""
        directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(ASK_SECONDS)
                connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
                connection.send(json.dumps({"request": name, **arguments}).encode())
                data = connection.recv(MAX_ANSWER)
        except TimeoutError as error:
            raise TimedOut(f"the sandbox did not answer {name} in {ASK_SECONDS:g} s") from error
        except OSError as error:
            raise GuestError("the sandbox is gone", why=error.strerror or "") from error
        finally:
            os.close(directory)
        if not data:
            raise GuestError("the sandbox is gone", why=f"it left without an answer to {name}")
        answer = json.loads(data)
        if "error" in answer:
            raise GuestError(f"the sandbox refused {name}", why=str(answer["error"]))
        return answer["result"]

    def stop(self) -> None:
        """End it, and all that runs in it. Idempotent."""
        pid, started = self.identity()
        if processes.alive(pid, started):
            processes.signal(pid, started, signal.SIGKILL)
            processes.wait_gone(pid, started, STOP_SECONDS)
