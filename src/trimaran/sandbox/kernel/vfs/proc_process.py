"""/proc/PID: what a program may know about itself and the other processes of its sandbox (proc(5))."""

from __future__ import annotations

import errno as E
import os
import stat as S

from trimaran.sandbox.kernel.family import status
from trimaran.sandbox.kernel.file import File
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.vfs.inode import Dentry, FileSystem, Inode, Mount
from trimaran.sandbox.kernel.vfs.layered import LayeredFs
from trimaran.sandbox.kernel.vfs.nodes import Directory, Link, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.task import Process, Task

LIMITS = (
    *(("Max cpu time", "seconds"), ("Max file size", "bytes"), ("Max data size", "bytes")),
    *(("Max stack size", "bytes"), ("Max core file size", "bytes"), ("Max resident set", "bytes")),
    *(("Max processes", "processes"), ("Max open files", "files"), ("Max locked memory", "bytes")),
    *(("Max address space", "bytes"), ("Max file locks", "locks"), ("Max pending signals", "signals")),
    *(("Max msgqueue size", "bytes"), ("Max nice priority", ""), ("Max realtime priority", "")),
    ("Max realtime timeout", "us"),
)
INFINITY = (1 << 64) - 1


class MagicLink(Link):
    """A link that leads to a file itself, not to what its text names."""

    __slots__ = ("to",)

    def __init__(self, fs: FileSystem, text: bytes, to: Dentry | None, mode: int = 0o777) -> None:
        super().__init__(fs, text)
        self.mode = S.S_IFLNK | mode
        self.to = to

    def follow(self, task: Task) -> Dentry | None:
        return self.to


class FileLink(MagicLink):
    """/proc/PID/fd/N: opening it opens the file again."""

    __slots__ = ("file",)

    def __init__(self, fs: FileSystem, file: File) -> None:
        super().__init__(fs, file.describe(), file.dentry, 0o700)
        self.file = file

    def follow(self, task: Task) -> Dentry | None:
        if self.to is not None:
            return self.to
        return Dentry(self.target, None, Reopened(self.fs, self.file), _NOWHERE)


class Reopened(Inode):
    """A pipe or other nameless file reached through /proc."""

    __slots__ = ("file",)

    def __init__(self, fs: FileSystem, file: File) -> None:
        inode = file.inode
        super().__init__(fs, inode.mode, inode.uid, inode.gid, inode.rdev)
        self.ino = inode.ino
        self.file = file

    def open(self, task: Task, flags: int, dentry: Dentry) -> File:
        if S.S_ISSOCK(self.mode):
            raise Fail(E.ENXIO)
        again = getattr(self.file, "reopen", None)
        if again is None:
            return self.file
        return again(flags)  # type: ignore[no-any-return]


class FdDirectory(Directory):
    """fd/ and fdinfo/."""

    __slots__ = ("info", "process")

    def __init__(self, fs: FileSystem, process: Process, info: bool) -> None:
        super().__init__(fs, 0o500)
        self.uid, self.gid = process.cred.euid, process.cred.egid
        self.process = process
        self.info = info

    def lookup(self, name: bytes) -> Inode | None:
        file = self.process.files.files.get(int(name)) if name.isdigit() and len(name) < 10 else None
        if file is None:
            return None
        if not self.info:
            return FileLink(self.fs, file)
        shown = file
        return Text(
            self.fs,
            lambda task: (
                b"pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\n" % (shown.offset, shown.flags, 15) + shown.info()
            ),
        )

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        kind = S.S_IFREG if self.info else S.S_IFLNK
        for fd in sorted(self.process.files.files):
            yield b"%d" % fd, fd + 1000, kind


class ThreadsDirectory(Directory):
    """task/: a directory for each thread that has been heard of."""

    __slots__ = ("process",)

    def __init__(self, fs: FileSystem, process: Process) -> None:
        super().__init__(fs, 0o555)
        self.process = process

    def lookup(self, name: bytes) -> Inode | None:
        for task in self.process.tasks.values():
            if b"%d" % task.guest_tid == name:
                return ProcessDirectory(self.fs, self.process, task)
        return None

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        for task in list(self.process.tasks.values()):
            yield b"%d" % task.guest_tid, task.guest_tid + (1 << 22), S.S_IFDIR


class ProcessDirectory(Directory):
    """/proc/PID, or /proc/PID/task/TID if THREAD is given."""

    __slots__ = ("process", "thread")

    def __init__(self, fs: FileSystem, process: Process, thread: Task | None) -> None:
        super().__init__(fs, 0o555)
        self.process = process
        self.thread = thread
        self.ino = process.pid + (1 << 20)
        self.uid, self.gid = process.cred.euid, process.cred.egid

    LINKS = (b"exe", b"cwd", b"root")

    def lookup(self, name: bytes) -> Inode | None:
        process, fs = self.process, self.fs
        if name in TEXT_MAKERS:
            make = TEXT_MAKERS[name]
            accept = ACCEPT.get(name)
            mode = 0o400 if name == b"environ" else 0o644 if accept else 0o444
            node = Text(
                fs, lambda task: make(self), mode, (lambda task, data: accept(self, data)) if accept else None
            )
            node.uid, node.gid = process.cred.euid, process.cred.egid
            return node
        if name in (b"fd", b"fdinfo"):
            return FdDirectory(fs, process, name == b"fdinfo")
        if name == b"task" and self.thread is None:
            return ThreadsDirectory(fs, process)
        if name == b"net":
            return Link(fs, b"/proc/net")
        if name == b"exe":
            to = process.executable
            return MagicLink(fs, to.path() if to else b"", to) if to else None
        if name == b"cwd":
            return MagicLink(fs, process.fs.cwd.path(), process.fs.cwd)
        if name == b"root":
            return MagicLink(fs, process.fs.root.path(), process.fs.root)
        if name == b"ns":
            return Directory(fs, 0o511)
        return None

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        names = [(n, S.S_IFREG) for n in TEXT_MAKERS] + [(n, S.S_IFLNK) for n in (*self.LINKS, b"net")]
        names += [(b"fd", S.S_IFDIR), (b"fdinfo", S.S_IFDIR), (b"ns", S.S_IFDIR)]
        if self.thread is None:
            names.append((b"task", S.S_IFDIR))
        for index, (name, kind) in enumerate(names):
            yield name, (self.process.pid << 8) + index, kind

    def host_tid(self) -> int:
        return self.thread.tid if self.thread else self.process.host

    def read(self, name: str) -> bytes:
        """A file of the host's directory of this very task."""
        try:
            with open(f"/proc/{self.host_tid()}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise Fail(E.ESRCH) from None


def _cmdline(d: ProcessDirectory) -> bytes:
    return b"".join(argument + b"\0" for argument in d.process.arguments)


def _environ(d: ProcessDirectory) -> bytes:
    return b"".join(entry + b"\0" for entry in d.process.environment)


def _maps(d: ProcessDirectory) -> bytes:
    lines = []
    for line in d.read("maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6:
            fields[5] = visible_path(d.process.kernel, fields[5])
            fields[3] = b"00:20" if fields[5][:1] == b"/" else fields[3]
            lines.append(b" ".join(fields[:5]).ljust(73) + fields[5] + b"\n")
        else:
            lines.append(line + b"\n")
    return b"".join(lines)


def visible_path(kernel: Kernel, path: bytes) -> bytes:
    """The host's name of a mapped file as the sandbox knows it."""
    if path[:1] != b"/" or path.startswith(b"/memfd:"):
        return path
    if path == b"/stub":
        return b"[trimaran]"
    for mount in kernel.namespace.mounts:
        if isinstance(mount.fs, LayeredFs):
            for prefix in mount.fs.prefixes():
                if path.startswith(prefix + b"/"):
                    place = mount.root.path()
                    return (b"" if place == b"/" else place) + path[len(prefix) :]
    return b"/" + path.rsplit(b"/", 1)[-1]


def _status(d: ProcessDirectory) -> bytes:
    process, cred = d.process, d.process.cred
    facts = status(d.host_tid())
    if facts is None:
        raise Fail(E.ESRCH)
    own = {
        b"Tgid": b"%d" % process.pid,
        b"Ngid": b"0",
        b"Pid": b"%d" % (d.thread.guest_tid if d.thread else process.pid),
        b"PPid": b"%d" % parent_of(process),
        b"TracerPid": b"0",
        b"Uid": b"%d\t%d\t%d\t%d" % (cred.uid, cred.euid, cred.suid, cred.fsuid),
        b"Gid": b"%d\t%d\t%d\t%d" % (cred.gid, cred.egid, cred.sgid, cred.fsgid),
        b"FDSize": b"%d" % max(64, len(process.files.files)),
        b"Groups": b" ".join(b"%d" % group for group in cred.groups) + b" ",
        b"CapInh": b"%016x" % cred.inheritable,
        b"CapPrm": b"%016x" % cred.permitted,
        b"CapEff": b"%016x" % cred.effective,
        b"CapBnd": b"%016x" % cred.bounding,
        b"CapAmb": b"%016x" % cred.ambient,
        b"NoNewPrivs": b"%d" % cred.no_new_privs,
        b"Seccomp": b"0",
        b"Seccomp_filters": b"0",
    }
    for name in (b"NStgid", b"NSpid", b"NSpgid", b"NSsid"):
        if name in facts:
            own[name] = facts[name].split()[-1]
    own[b"Umask"] = b"%04o" % process.fs.umask
    return b"".join(b"%s:\t%s\n" % (name, own.get(name, value)) for name, value in facts.items())


def parent_of(process: Process) -> int:
    return process.parent.pid if process.parent else 0


def _stat(d: ProcessDirectory) -> bytes:
    text = d.read("stat")
    head, tail = text.split(b"(", 1)[1].rsplit(b")", 1)
    fields = tail.split()
    facts = status(d.host_tid()) or {}
    fields[1] = b"%d" % parent_of(d.process)
    fields[2] = facts.get(b"NSpgid", b"0").split()[-1]
    fields[3] = facts.get(b"NSsid", b"0").split()[-1]
    terminal = d.process.terminal
    fields[4] = b"%d" % (os.makedev(136, terminal.number) if terminal else 0)
    fields[5] = b"%d" % (terminal.foreground if terminal else -1)
    pid = d.thread.guest_tid if d.thread else d.process.pid
    return b"%d (%s) %s\n" % (pid, head, b" ".join(fields))


def _limits(d: ProcessDirectory) -> bytes:
    lines = [f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}Units\n"]
    for index, (name, unit) in enumerate(LIMITS):
        soft, hard = ("unlimited" if v == INFINITY else str(v) for v in d.process.limits[index])
        lines.append(f"{name:<26}{soft:<21}{hard:<21}{unit}\n")
    return "".join(lines).encode()


def options(mount: Mount) -> bytes:
    return b"ro" if mount.read_only else b"rw"


def _escape(path: bytes) -> bytes:
    return (
        path.replace(b"\\", b"\\134")
        .replace(b" ", b"\\040")
        .replace(b"\t", b"\\011")
        .replace(b"\n", b"\\012")
    )


def mount_lines(d: ProcessDirectory) -> bytes:
    mounts = d.process.kernel.namespace.mounts
    return b"".join(
        b"%s %s %s %s,relatime 0 0\n" % (_escape(m.source), _escape(m.root.path()), m.fs.kind, options(m))
        for m in mounts
    )


def _mountinfo(d: ProcessDirectory) -> bytes:
    lines = []
    for mount in d.process.kernel.namespace.mounts:
        above = mount.root.covers.mount.id if mount.root.covers else mount.id
        device = b"%d:%d" % (os.major(mount.fs.device), os.minor(mount.fs.device))
        lines.append(
            b"%d %d %s / %s %s,relatime - %s %s %s\n"
            % (
                mount.id,
                above,
                device,
                _escape(mount.root.path()),
                options(mount),
                mount.fs.kind,
                _escape(mount.source),
                options(mount),
            )
        )
    return b"".join(lines)


def _smaps(d: ProcessDirectory) -> bytes:
    lines = []
    for line in d.read("smaps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5][:1] == b"/":
            line = b" ".join(fields[:5]).ljust(73) + visible_path(d.process.kernel, fields[5])
        lines.append(line + b"\n")
    return b"".join(lines)


def _children(d: ProcessDirectory) -> bytes:
    kernel = d.process.kernel
    kernel.settle_all()
    return b"".join(b"%d " % p.pid for p in kernel.processes.values() if p.parent is d.process)


def _set_comm(d: ProcessDirectory, data: bytes) -> None:
    with open(f"/proc/{d.host_tid()}/comm", "wb") as file:
        file.write(data[:15])


def _set_oom(d: ProcessDirectory, data: bytes) -> None:
    try:
        value = int(data)
    except ValueError:
        raise Fail(E.EINVAL) from None
    if not -1000 <= value <= 1000:
        raise Fail(E.EINVAL)
    if value < int(d.process.oom_adjust) and not d.process.cred.capable(24):
        raise Fail(E.EACCES)
    d.process.oom_adjust = b"%d\n" % value


TEXT_MAKERS = {
    b"cmdline": _cmdline,
    b"comm": lambda d: d.read("comm"),
    b"environ": _environ,
    b"stat": _stat,
    b"status": _status,
    b"statm": lambda d: d.read("statm"),
    b"maps": _maps,
    b"smaps": _smaps,
    b"smaps_rollup": lambda d: d.read("smaps_rollup"),
    b"limits": _limits,
    b"mounts": mount_lines,
    b"mountinfo": _mountinfo,
    b"mountstats": lambda d: b"",
    b"cgroup": lambda d: b"0::/\n",
    b"oom_score": lambda d: b"0\n",
    b"oom_score_adj": lambda d: d.process.oom_adjust,
    b"io": lambda d: d.read("io"),
    b"wchan": lambda d: b"0",
    b"loginuid": lambda d: b"4294967295",
    b"sessionid": lambda d: b"4294967295",
    b"uid_map": lambda d: b"         0          0 4294967295\n",
    b"gid_map": lambda d: b"         0          0 4294967295\n",
    b"setgroups": lambda d: b"allow\n",
    b"personality": lambda d: b"00000000\n",
    b"children": _children,
}
ACCEPT = {b"comm": _set_comm, b"oom_score_adj": _set_oom}


class _Nowhere(FileSystem):
    kind = b"none"

    def __init__(self) -> None:
        super().__init__()
        self.root = Directory(self)


_NOWHERE = Mount(_Nowhere())
