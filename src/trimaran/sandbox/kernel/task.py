"""Threads and processes as the user-space kernel knows them (clone(2), credentials(7))."""

from __future__ import annotations

import errno as E
import os
import time

from trimaran.sandbox.kernel.file import File, FileTable
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.tty import Terminal
    from trimaran.sandbox.kernel.vfs.inode import Dentry
    from trimaran.sandbox.kernel.waiting import Parked, WaitQueue

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL = range(6)
CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_MKNOD = 6, 7, 10, 18, 27


class Credentials:
    """User, groups and capabilities of a process; emulated, never the host's."""

    __slots__ = (
        "ambient",
        "bounding",
        "effective",
        "egid",
        "euid",
        "fsgid",
        "fsuid",
        "gid",
        "groups",
        "inheritable",
        "keep",
        "no_new_privs",
        "permitted",
        "securebits",
        "sgid",
        "suid",
        "uid",
    )

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], capabilities: int) -> None:
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups
        self.bounding = capabilities
        self.permitted = self.effective = capabilities if uid == 0 else 0
        self.inheritable = self.ambient = 0
        self.keep = False
        self.no_new_privs = False
        self.securebits = 0

    def copy(self) -> Credentials:
        new = Credentials.__new__(Credentials)
        for name in Credentials.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def capable(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    def in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups


class FsContext:
    """Root, working directory and umask, shared under CLONE_FS."""

    __slots__ = ("cwd", "root", "umask")

    def __init__(self, root: Dentry, cwd: Dentry, umask: int = 0o022) -> None:
        self.root = root
        self.cwd = cwd
        self.umask = umask

    def copy(self) -> FsContext:
        return FsContext(self.root, self.cwd, self.umask)


class Process:
    """A thread group. ``pid`` is what the program sees, ``host`` what the supervisor sees.

    ``exec_request`` is the program that it is about to become; ``prepared`` the one that it will become once
    it is started, and ``waiting`` its call that waits for that.
    """

    def __init__(self, kernel: Kernel, host: int, pid: int, parent: Process | None) -> None:
        self.kernel = kernel
        self.host = host
        self.pid = pid
        self.parent = parent
        self.pidfd = os.pidfd_open(host)
        self.tasks: dict[int, Task] = {}
        self.files = FileTable()
        self.started = time.monotonic_ns()
        self.executable: Dentry | None = None
        self.arguments: list[bytes] = []
        self.environment: list[bytes] = []
        self.cred: Credentials = parent.cred.copy() if parent else Credentials(0, 0, (), 0)
        self.limits: dict[int, tuple[int, int]] = dict(parent.limits) if parent else {}
        self.terminal: Terminal | None = parent.terminal if parent else None
        self.images: list[tuple[int, int, int, int, Dentry]] = []
        self.exec_request: object | None = None
        self.prepared: object | None = None
        self.waiting: tuple[int, int, tuple[int, ...]] | None = None
        self.dumpable = 1
        self.deadline: int | None = None
        self.polled = False
        self.expecting = 0
        self.exited = False
        self.oom_adjust = b"0\n"
        self.locked = False
        self.observers: list[Callable[[], None]] = []
        self.signal_queues: list[WaitQueue] = []
        self.fs: FsContext

    def limit(self, resource: int) -> int:
        return self.limits[resource][0]

    def name(self) -> str:
        """What ps shows: the command's last part."""
        return os.fsdecode(self.arguments[0].rsplit(b"/", 1)[-1][:15]) if self.arguments else "?"


class Task:
    """A thread. ``tid`` is the supervisor's number for it, ``guest_tid`` the program's.

    ``pending`` are the flags of clones whose child is not bound yet.
    While a call is handled: ``call`` is its notification, ``first`` and ``second`` what was read with it,
    ``state`` what its handler keeps from one try to the next.
    """

    __slots__ = (
        "call",
        "first",
        "guest_tid",
        "ip",
        "listener",
        "mask",
        "mask_at",
        "parked",
        "pending",
        "process",
        "second",
        "state",
        "then",
        "tid",
    )

    def __init__(self, process: Process, tid: int, guest_tid: int, listener: int) -> None:
        self.process = process
        self.tid = tid
        self.guest_tid = guest_tid
        self.listener = listener
        self.call = 0
        self.ip = 0
        self.first: bytes | int | None = None
        self.second: bytes | int | None = None
        self.state: object | None = None
        self.parked: Parked | None = None
        self.pending: list[int] = []
        self.mask: int | None = None
        self.mask_at = 0
        self.then: Callable[[int], int] | None = None
        process.tasks[tid] = self

    def file(self, fd: int) -> File:
        try:
            return self.process.files.files[fd & 0xFFFFFFFF]
        except KeyError:
            raise Fail(E.EBADF) from None

    def path(self) -> bytes:
        """The first string argument, as it was when the call was made."""
        if type(self.first) is not bytes:
            raise Fail(self.first or E.EFAULT)  # type: ignore[arg-type]
        return self.first

    def path2(self) -> bytes:
        """The second string argument."""
        if type(self.second) is not bytes:
            raise Fail(self.second or E.EFAULT)  # type: ignore[arg-type]
        return self.second

    def install(self, file: File, *, cloexec: bool, lowest: int = 0) -> int:
        """A new descriptor for FILE, within the process's limit."""
        file.hold()
        try:
            return self.process.files.add(file, self.process.limits[7][0], cloexec=cloexec, lowest=lowest)
        finally:
            file.drop()
