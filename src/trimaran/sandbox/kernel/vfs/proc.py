"""/proc: the sandbox as a whole; a process's own directory is in :mod:`proc_process` (proc(5))."""

from __future__ import annotations

import os
import stat as S
import time

from trimaran.sandbox.kernel.system import LAST_CAPABILITY, RELEASE, visible_memory
from trimaran.sandbox.kernel.vfs.inode import FileSystem, Inode, Mount
from trimaran.sandbox.kernel.vfs.nodes import Directory, Link, NodeFs, Text
from trimaran.sandbox.kernel.vfs.proc_process import ProcessDirectory, mount_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.task import Task

FROM_HOST = (
    b"cpuinfo",
    b"loadavg",
    b"stat",
    b"vmstat",
    b"filesystems",
    b"devices",
    b"interrupts",
    b"softirqs",
)
NET_FROM_HOST = (
    *(b"dev", b"tcp", b"tcp6", b"udp", b"udp6", b"route", b"ipv6_route", b"if_inet6", b"arp", b"snmp"),
    *(b"netstat", b"sockstat", b"protocols", b"raw", b"raw6", b"igmp"),
)
VALUES = {
    b"kernel/osrelease": RELEASE.encode(),
    b"kernel/ostype": b"Linux",
    b"kernel/version": b"#1 SMP trimaran",
    b"kernel/pid_max": b"4194304",
    b"kernel/threads-max": b"62000",
    b"kernel/cap_last_cap": b"%d" % LAST_CAPABILITY,
    b"kernel/ngroups_max": b"65536",
    b"kernel/overflowuid": b"65534",
    b"kernel/overflowgid": b"65534",
    b"kernel/randomize_va_space": b"2",
    b"kernel/core_pattern": b"core",
    b"kernel/core_uses_pid": b"1",
    b"kernel/yama/ptrace_scope": b"1",
    b"kernel/shmmax": b"18446744073692774399",
    b"kernel/shmall": b"18446744073692774399",
    b"kernel/sem": b"32000\t1024000000\t500\t32000",
    b"fs/file-max": b"1048576",
    b"fs/nr_open": b"1048576",
    b"fs/pipe-max-size": b"1048576",
    b"fs/inotify/max_user_watches": b"65536",
    b"fs/inotify/max_user_instances": b"128",
    b"fs/inotify/max_queued_events": b"16384",
    b"fs/protected_hardlinks": b"1",
    b"fs/protected_symlinks": b"1",
    b"vm/overcommit_memory": b"0",
    b"vm/max_map_count": b"65530",
    b"vm/swappiness": b"60",
    b"vm/mmap_min_addr": b"65536",
    b"net/core/somaxconn": b"4096",
    b"net/core/rmem_max": b"212992",
    b"net/core/wmem_max": b"212992",
    b"net/ipv4/ip_local_port_range": b"32768\t60999",
    b"net/ipv4/ip_forward": b"0",
    b"net/ipv4/tcp_keepalive_time": b"7200",
    b"net/ipv6/conf/all/disable_ipv6": b"0",
}


def read_host(path: bytes) -> bytes:
    """A file of the host's /proc that tells nothing about anybody."""
    with open(path, "rb") as file:
        return file.read()


def _meminfo(task: Task) -> bytes:
    total, free = visible_memory(task.process.kernel.settings.memory_limit)
    facts = (
        *(("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("Buffers", 0), ("Cached", 0)),
        *(("SwapCached", 0), ("Active", 0), ("Inactive", 0), ("SwapTotal", 0), ("SwapFree", 0)),
        *(("Shmem", 0), ("Slab", 0), ("CommitLimit", total), ("Committed_AS", total - free)),
    )
    lines = [f"{name + ':':<16}{value // 1024:>8} kB\n" for name, value in facts]
    return (
        "".join(lines).encode()
        + b"HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n"
    )


def _uptime(task: Task) -> bytes:
    seconds = (time.monotonic_ns() - task.process.kernel.started) / 1e9
    return b"%.2f %.2f\n" % (seconds, seconds)


def _unix(task: Task) -> bytes:
    from trimaran.sandbox.kernel.socket.unix import abstract, bound

    lines = [b"Num       RefCount Protocol Flags    Type St Inode Path\n"]
    for socket in [*abstract.values(), *bound.values()]:
        name = socket.name.replace(b"\0", b"@", 1) if socket.name[:1] == b"\0" else socket.name.rstrip(b"\0")
        lines.append(
            b"0000000000000000: 00000002 00000000 %08x %04x %02x %5d %s\n"
            % (0x10000 if socket.listening else 0, socket.kind, 1, socket.inode.ino, name)
        )
    return b"".join(lines)


def _random(make: Callable[[], bytes]) -> Callable[[Task], bytes]:
    return lambda task: make()


def _uuid() -> bytes:
    digits = os.urandom(16).hex()
    text = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}\n"
    return text.encode()


class ProcRoot(Directory):
    """The top: fixed entries, and a directory for each process."""

    __slots__ = ("kernel",)

    def __init__(self, fs: FileSystem, kernel: Kernel) -> None:
        super().__init__(fs, 0o555)
        self.kernel = kernel

    def lookup(self, name: bytes) -> Inode | None:
        fixed = self.children.get(name)
        if fixed is not None or not name.isdigit() or len(name) > 10:
            return fixed
        self.kernel.settle_all()
        process = self.kernel.by_pid.get(int(name))
        if process is None:
            thread = next((t for t in self.kernel.tasks.values() if t.guest_tid == int(name)), None)
            return ProcessDirectory(self.fs, thread.process, thread) if thread else None
        return ProcessDirectory(self.fs, process, None)

    def entries(self) -> Iterable[tuple[bytes, int, int]]:
        self.kernel.settle_all()
        yield from super().entries()
        for pid in sorted(self.kernel.by_pid):
            yield b"%d" % pid, pid + (1 << 20), S.S_IFDIR


class SelfLink(Link):
    __slots__ = ("thread",)

    def __init__(self, fs: FileSystem, thread: bool) -> None:
        super().__init__(fs, b"")
        self.thread = thread

    def readlink(self, task: Task) -> bytes:
        pid = task.process.pid
        return b"%d/task/%d" % (pid, task.guest_tid) if self.thread else b"%d" % pid


def _tree(top: Directory, path: bytes, node: Inode) -> None:
    """Put NODE at PATH below TOP, with the directories that it takes."""
    *directories, name = path.split(b"/")
    for part in directories:
        below = top.children.get(part)
        if not isinstance(below, Directory):
            below = top.children[part] = Directory(top.fs, 0o555)
        top = below
    top.children[name] = node


def make_proc(kernel: Kernel) -> NodeFs:
    """The file system of /proc for one sandbox."""
    fs = NodeFs(b"proc", 0x9FA0)
    top = ProcRoot(fs, kernel)
    fs.top = top
    fs.root = top
    for name in FROM_HOST:
        top.children[name] = Text(fs, lambda task, path=b"/proc/" + name: read_host(path))  # type: ignore[misc]
    for name in NET_FROM_HOST:
        path = b"/proc/self/net/" + name
        if os.path.exists(path):
            _tree(top, b"net/" + name, Text(fs, lambda task, path=path: read_host(path)))  # type: ignore[misc]
    _tree(top, b"net/unix", Text(fs, _unix))
    top.children[b"self"] = SelfLink(fs, False)
    top.children[b"thread-self"] = SelfLink(fs, True)
    top.children[b"mounts"] = Link(fs, b"self/mounts")
    for name, make in (
        *(
            (b"meminfo", _meminfo),
            (b"uptime", _uptime),
            (b"swaps", lambda task: b"Filename\tType\tSize\tUsed\tPriority\n"),
        ),
        (b"version", lambda task: b"Linux version %s (trimaran) #1 SMP trimaran\n" % RELEASE.encode()),
        *((b"cmdline", lambda task: b"\n"), (b"partitions", lambda task: b"major minor  #blocks  name\n\n")),
        *(
            (b"diskstats", lambda task: b""),
            (b"cgroups", lambda task: b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n"),
        ),
    ):
        top.children[name] = Text(fs, make)
    for name, value in VALUES.items():
        _tree(top, b"sys/" + name, Text(fs, lambda task, value=value: value + b"\n"))  # type: ignore[misc]
    hostname = Text(fs, lambda task: task.process.kernel.settings.hostname.encode() + b"\n")
    _tree(top, b"sys/kernel/hostname", hostname)
    boot = _uuid()
    _tree(top, b"sys/kernel/random/boot_id", Text(fs, lambda task: boot))
    _tree(top, b"sys/kernel/random/uuid", Text(fs, _random(_uuid)))
    _tree(top, b"sys/kernel/random/entropy_avail", Text(fs, lambda task: b"256\n"))
    return fs


def make_sys(kernel: Kernel) -> NodeFs:
    """The little of /sys that programs look at."""
    fs = NodeFs(b"sysfs", 0x62656572)
    count = os.cpu_count() or 1
    span = b"0-%d\n" % (count - 1) if count > 1 else b"0\n"
    for name in (b"online", b"possible", b"present"):
        _tree(fs.top, b"devices/system/cpu/" + name, Text(fs, lambda task: span))
    for cpu in range(count):
        _tree(fs.top, b"devices/system/cpu/cpu%d/online" % cpu, Text(fs, lambda task: b"1\n"))
    _tree(fs.top, b"devices/system/node/online", Text(fs, lambda task: b"0\n"))
    _tree(
        fs.top, b"kernel/mm/transparent_hugepage/enabled", Text(fs, lambda task: b"always [madvise] never\n")
    )
    _tree(fs.top, b"kernel/mm/transparent_hugepage/hpage_pmd_size", Text(fs, lambda task: b"2097152\n"))

    def limit(task: Task) -> bytes:
        value = kernel.settings.memory_limit
        return b"%d\n" % value if value else b"max\n"

    for name, make in (
        *((b"cgroup.controllers", lambda task: b"cpu memory pids\n"), (b"memory.max", limit)),
        (
            b"pids.max",
            lambda task: b"%d\n" % kernel.settings.max_tasks if kernel.settings.max_tasks else b"max\n",
        ),
        *((b"cpu.max", lambda task: b"max 100000\n"), (b"cgroup.type", lambda task: b"domain\n")),
    ):
        _tree(fs.top, b"fs/cgroup/" + name, Text(fs, make))
    for name in (
        b"block",
        b"bus",
        b"class/net",
        b"class/block",
        b"firmware",
        b"module",
        b"dev/block",
        b"dev/char",
    ):
        _tree(fs.top, name, Directory(fs, 0o555))
    return fs


def mount_proc(kernel: Kernel) -> None:
    """Mount /proc and /sys. A process's directory comes and goes, so nothing there is cached."""
    namespace = kernel.namespace
    mount: Mount = namespace.mount(b"/proc", make_proc(kernel), source=b"proc")
    mount.cached = False
    namespace.mount(b"/sys", make_sys(kernel), read_only=True, source=b"sysfs")


__all__ = ["make_proc", "mount_lines", "mount_proc"]
