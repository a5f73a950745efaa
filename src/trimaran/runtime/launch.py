"""Starting trimaran-init with a plan, and understanding what is reported."""

from __future__ import annotations

import errno
import os

from trimaran.errors import CommandNotExecutable, CommandNotFound, PlanError, TrimaranError
from trimaran.linux import _sys
from trimaran.linux.files import sealed, sealed_copy
from trimaran.linux.sockets import Packets, packet_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.operations import Plan

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_bin")
_executable = -1
SIGKILL = 9


def program() -> int:
    """Descriptor of a sealed copy of trimaran-init, made once a process.

    What runs in a container can open its first process's executable through /proc: a copy that cannot be
    written to is all it can get at (CVE-2019-5736).
    """
    global _executable
    if _executable < 0:
        try:
            _executable = sealed_copy(os.path.join(PROGRAMS, "trimaran-init"))
        except FileNotFoundError as error:
            raise TrimaranError(
                "trimaran-init is missing",
                why=f"{error.filename} does not exist",
                hint="install the package anew, or run make build in a source tree",
            ) from None
    return _executable


class Launched:
    """A process made from a plan: waiting for ``start``.

    ``pid``: its PID here. ``peer``: the connection that it reports on. ``console``: the master of its
    terminal, or -1. ``children``: descriptors of processes to reap (they send no SIGCHLD).
    """

    __slots__ = ("children", "console", "peer", "pid")

    def __init__(self, peer: Packets) -> None:
        self.peer = peer
        self.pid = 0
        self.console = -1
        self.children: list[int] = []


def launch(
    plan: Plan, wire: bytes, *, stdio: tuple[int, int, int] = (0, 1, 2), listener: int = -1, preserve: int = 0
) -> Launched:
    """Execute a plan up to ``ready``. Raises PlanError, CommandNotFound or CommandNotExecutable; then
    nothing of the process is left. ``preserve``: descriptors from 3 on that it inherits."""
    ours, theirs = packet_pair()
    plan_fd = sealed("plan", wire)
    inherited = range(3, 3 + preserve)
    holes = [fd for fd in inherited if not _is_inherited(fd)]
    fds = [*stdio, *(plan_fd if fd in holes else fd for fd in inherited), plan_fd, theirs.fileno()]
    argv = [b"trimaran-init", str(preserve).encode()]
    if listener >= 0:
        fds.append(listener)
        argv.append(b"listen")
    argv += [f"close:{fd}".encode() for fd in holes]
    try:
        _, pidfd = _sys.spawn(program(), argv, _environment(), fds)
    finally:
        theirs.close()
        os.close(plan_fd)
    launched = Launched(ours)
    try:
        _await_ready(plan, launched)
    except BaseException:
        _sys.reap(pidfd, True)
        os.close(pidfd)
        discard(launched)
        raise
    _sys.reap(pidfd, True)
    os.close(pidfd)
    return launched


def _is_inherited(fd: int) -> bool:
    """Whether a descriptor came from our caller: all that we open ourselves are close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _environment() -> list[bytes]:
    """Ours, for hooks that are given none, and for newuidmap(1); the container's is in the plan."""
    environment = dict(os.environb)
    environment.setdefault(b"PATH", b"/usr/sbin:/usr/bin:/sbin:/bin")
    return [name + b"=" + value for name, value in environment.items()]


def _await_ready(plan: Plan, launched: Launched) -> None:
    """The executor's `pid` and the process's `ready` come in either order."""
    ready = False
    while not (ready and launched.pid):
        text, fds = launched.peer.receive()
        if not text:
            raise PlanError(
                -1, "start", errno.EPIPE, message="the container's process ended before it was made"
            )
        word, _, rest = text.decode("utf-8", "replace").partition(" ")
        if word == "console" and fds:
            launched.console = fds[0]
        elif word == "ready":
            ready = True
        elif word == "pid":
            pid, _, left = rest.partition(" ")
            launched.pid = int(pid)
            for number in (int(left), launched.pid):
                if number:
                    launched.children.append(os.pidfd_open(number))
        elif word == "error":
            raise explain(plan, rest)


def discard(launched: Launched) -> None:
    """Kill what was made, and close what was opened."""
    for child in launched.children:
        try:
            _sys.send_signal(child, SIGKILL)
        except ProcessLookupError:
            pass
        try:
            _sys.reap(child, True)
        except ChildProcessError:
            pass
        os.close(child)
    launched.children.clear()
    launched.peer.close()
    if launched.console >= 0:
        os.close(launched.console)
        launched.console = -1


def _not_executed(program: str, number: int) -> TrimaranError:
    """Docker and Podman know by runc's words that a container ended with 126 or 127: so they are ours too."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        missing = "no such file or directory" if "/" in program else "executable file not found in $PATH"
        hint = "is it in the container, and is the interpreter that it names?"
        return CommandNotFound(f'exec: "{program}"', why=missing, hint=hint)
    if number == errno.ENOEXEC:
        hint = "is it a program for this architecture, or a script without a #! line?"
    else:
        hint = "is it a file with execute permission, on a mount without noexec?"
    return CommandNotExecutable(f'exec: "{program}"', why=os.strerror(number).lower(), hint=hint)


def _advice(step: str, number: int, why: str) -> str:
    """What to do about the failures that people meet most."""
    if step == "open_tree" and number == errno.ENOENT:
        return "make the root file system first" if why == "$.root.path" else "make the mount's source first"
    if step == "fsopen" and number == errno.ENODEV:
        return "/proc/filesystems lists those that this kernel has"
    if step.startswith("fsconfig"):
        return "correct the mount's options"
    if number == errno.ENOTDIR:
        return "a part of that path in the root file system is a file"
    if number in (errno.EPERM, errno.EACCES):
        return "this host gives the caller no right to it"
    return ""


def explain(plan: Plan | None, report: str) -> TrimaranError:
    """The error that a report ``INDEX STEP ERRNO PATH`` stands for; steps may have spaces."""
    words = report.split(" ")
    index = int(words[0])
    at = next(i for i, word in enumerate(words) if i > 1 and word.isdigit())
    step, number, path = " ".join(words[1:at]), int(words[at]), " ".join(words[at + 1 :])
    if step == "execve":
        return _not_executed(path, number)
    why = plan.operations[index].why if plan and 0 <= index < len(plan.operations) else ""
    what = f"{step} {path}".rstrip()
    message = f"{what} [{why}]" if why else what
    return PlanError(index, step, number, path, message=message, hint=_advice(step, number, why))
