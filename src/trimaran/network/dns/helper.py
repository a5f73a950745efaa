"""Starting the resolver's process, and telling it of changes. The side of whoever changes a network."""

from __future__ import annotations

import _socket
import os
import sys
from contextlib import ExitStack

import trimaran
from trimaran.errors import Conflict, KernelError, NetworkError
from trimaran.linux import _sys
from trimaran.network import ports
from trimaran.network.bridge import Bridges
from trimaran.network.host import Lock
from trimaran.network.model import PublishedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.network.model import Protocol

CONTROL = "resolver.sock"
LOG = "resolver.log"
SECONDS = 5.0
KINDS: tuple[Protocol, ...] = ("udp", "tcp")
_PORTS = 100
_LOG_LIMIT = 1 << 20
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1));"
    "from trimaran.network.dns.process import main; main(*sys.argv[1:])"
)
_ENVIRONMENT = (b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", b"LC_ALL=C.UTF-8")

_children: list[int] = []


class Helper:
    """The resolver of one root directory, given its networks' ``directory`` and its ``database`` file."""

    def __init__(self, directory: str, database: str, bridges: Bridges) -> None:
        self._directory = directory
        self._database = database
        self._bridges = bridges
        self._lock = Lock(os.path.join(directory, "resolver.lock"))

    def serve(self, gateways: list[str]) -> None:
        """See that a resolver answers for all these gateways; start it if none runs.

        Raises Conflict if no port is free for it, NetworkError if the resolver cannot.
        """
        if self._tell(wait=True):
            return
        with self._lock.exclusive():
            if not self._tell(wait=True):
                self._start(gateways)

    def changed(self) -> None:
        """Let the resolver know, if one runs, that containers have left."""
        self._tell(wait=False)

    def _tell(self, *, wait: bool) -> bool:
        """Ask the resolver to look at the networks again; whether one runs (and, waiting, has done so)."""
        with _Control(self._directory) as control:
            control.settimeout(SECONDS)
            try:
                control.connect(f"/proc/self/fd/{control.directory}/{CONTROL}")
                control.send(b"update")
                answer = control.recv(4096) if wait else b"ok"
            except (ConnectionError, FileNotFoundError):
                return False
            except TimeoutError:
                raise NetworkError(
                    "the resolver does not answer", hint=f"see {self._directory}/{LOG}; end its process"
                ) from None
        if answer and answer != b"ok":
            raise NetworkError("the resolver cannot serve a network", why=answer.decode(errors="replace"))
        return bool(answer)

    def _start(self, gateways: list[str]) -> None:
        _reap()
        with ExitStack() as stack:
            control = self._listen(stack)
            sockets = self._bind_all(gateways, stack)
            null = stack.enter_context(open(os.devnull, "r+b", buffering=0)).fileno()
            log = self._open_log(stack)
            executable = os.open(sys.executable, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, executable)
            package = os.path.dirname(os.path.dirname(os.path.abspath(trimaran.__file__)))
            count = str(len(sockets))
            argv = (
                sys.executable,
                "-I",
                "-S",
                "-c",
                _PROGRAM,
                package,
                self._directory,
                self._database,
                count,
            )
            fds = [null, log, log, control.fileno(), *(bound.fileno() for bound in sockets)]
            try:
                _, pidfd = _sys.spawn(
                    executable, [os.fsencode(a) for a in argv], _ENVIRONMENT, fds, new_session=True
                )
            except OSError as error:
                raise KernelError("execve", error.errno or 0, sys.executable) from error
        _children.append(pidfd)

    def _bind_all(self, gateways: list[str], stack: ExitStack) -> list[_socket.socket]:
        """Sockets for all gateways on one port: the one that the rules lead to, or else the next free."""
        first = self._bridges.resolver_port
        for port in range(first, first + _PORTS):
            with ExitStack() as attempt:
                try:
                    sockets = [bind(address, port, kind) for address in gateways for kind in KINDS]
                except Conflict as error:
                    taken = error
                    continue
                for bound in sockets:
                    attempt.callback(bound.close)
                if port != first:
                    self._bridges.move_resolver(port)
                stack.push(attempt.pop_all())
                return sockets
        raise taken

    def _listen(self, stack: ExitStack) -> _socket.socket:
        path = os.path.join(self._directory, CONTROL)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        control = _Control(self._directory)
        stack.enter_context(control)
        control.bind(f"/proc/self/fd/{control.directory}/{CONTROL}")
        control.listen(64)
        return control

    def _open_log(self, stack: ExitStack) -> int:
        path = os.path.join(self._directory, LOG)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, fd)
        if os.fstat(fd).st_size > _LOG_LIMIT:
            os.ftruncate(fd, 0)
        return fd


class _Control(_socket.socket):
    """A socket for the control protocol, with a descriptor of its directory: its path may be too long."""

    def __init__(self, directory: str) -> None:
        super().__init__(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self.directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> _Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        os.close(self.directory)


def bind(address: str, port: int, kind: Protocol) -> _socket.socket:
    """A socket of the resolver. Raises Conflict that names who has the port."""
    return ports.bound(PublishedPort("", "", kind, 6 if ":" in address else 4, address, port, port))


def _reap() -> None:
    """Collect resolvers that this process started and that have ended."""
    for pidfd in list(_children):
        if _sys.reap(pidfd) is not None:
            _children.remove(pidfd)
            os.close(pidfd)
