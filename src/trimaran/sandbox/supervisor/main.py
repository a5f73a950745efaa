"""The supervisor's program: ``main DIRECTORY``, started by the hull with its end of a pipe as descriptor 3.

The pipe's end tells the hull that the socket is there, or that it never will be; then the last line of
``supervisor.log`` says why.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

from trimaran.errors import TrimaranError
from trimaran.linux import files
from trimaran.sandbox import translate
from trimaran.sandbox.supervisor import build, jail
from trimaran.sandbox.supervisor.program import Program
from trimaran.sandbox.supervisor.server import SOCKET, Server
from trimaran.spec import jsonio

UP_FD = 3
REQUEST = "sandbox.json"
LOG_LIMIT = 1 << 20


def log(text: str) -> None:
    """One line, with the time, on standard error, which is the log file; no more once that is large."""
    if os.fstat(2).st_size < LOG_LIMIT:
        os.write(2, f"{time.strftime('%FT%TZ', time.gmtime())} {text}\n".encode("utf-8", "backslashreplace"))


def listen(directory: int) -> _socket.socket:
    """The socket in the container's directory, reached by descriptor: its path may be too long."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
    listener.listen(16)
    return listener


def set_up(directory: int) -> Server:
    """Everything up to the first call. Raises :class:`TrimaranError` or OSError."""
    record = jsonio.parse(files.read_whole(directory, REQUEST))
    settings = translate.settings(record["config"], record["options"])
    program = Program(record["options"].get("sandbox.program", ""))
    program.run("settings", settings)
    owners = os.geteuid() == 0
    if not owners:
        jail.enter_namespaces(False)
    build.enter_network(settings)
    listener = listen(directory)
    sandbox = build.build(record, settings, owners)
    sandbox.kernel.log = log
    if program.functions:
        from trimaran.sandbox.hooks import Hooks

        program.run("hooks", Hooks(sandbox.kernel))
    if owners:
        jail.enter_namespaces(True)
    jail.close_behind()
    server = Server(sandbox, record, directory, listener)
    server.program = program
    jail.seal(owners)
    return server


def main() -> None:
    directory = os.open(sys.argv[1], os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        server = set_up(directory)
    except (TrimaranError, OSError) as error:
        log(str(error))
        sys.exit(1)
    os.close(UP_FD)
    server.run()
    server.program.run("finished", server.kernel)
    os._exit(0)
