"""One sandbox in this process: its kernel, its first process, and running it to the end."""

from __future__ import annotations

import errno as E
import os

from trimaran.linux import _sys
from trimaran.sandbox.bpf import compile_filter
from trimaran.sandbox.kernel.execution import Execution, prepare, start
from trimaran.sandbox.kernel.file import O_RDONLY, O_RDWR, O_WRONLY
from trimaran.sandbox.kernel.hostfile import host_file
from trimaran.sandbox.kernel.kernel import Kernel
from trimaran.sandbox.kernel.outcome import Fail
from trimaran.sandbox.kernel.settings import Settings
from trimaran.sandbox.kernel.task import Credentials, FsContext, Process, Task
from trimaran.sandbox.kernel.tty import acquire, slave_file
from trimaran.sandbox.kernel.vfs.mounts import Namespace
from trimaran.sandbox.kernel.vfs.walk import existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimaran.sandbox.kernel.tty import Terminal
    from trimaran.sandbox.kernel.vfs.inode import Dentry
    from trimaran.sandbox.translate import Launch

INFINITY = (1 << 64) - 1


def default_limits() -> dict[int, tuple[int, int]]:
    """Limits of a process that were not given: generous, but for open files."""
    limits = dict.fromkeys(range(16), (INFINITY, INFINITY))
    limits[3] = (8 << 20, INFINITY)
    limits[4] = (0, INFINITY)
    limits[7] = (1024, 1048576)
    limits[13] = limits[14] = (0, 0)
    return limits


class Sandbox:
    """A kernel with its first process."""

    def __init__(self, settings: Settings, namespace: Namespace) -> None:
        self.kernel = Kernel(settings, namespace)
        self.filter = compile_filter(self.kernel.stub.start, self.kernel.stub.end, settings.without_native)
        self.first: Process | None = None

    def spawn(self) -> Task:
        """A process that waits in the stub for its image: the first, or one beside it."""
        join = self.first.pidfd if self.first else -1
        pid, pidfd, listener = _sys.sandbox_spawn(self.kernel.stub.data, self.filter, join)
        os.close(pidfd)
        facts = _namespace_pid(pid)
        process = Process(self.kernel, pid, facts, None)
        root = self.kernel.namespace.root.root
        process.fs = FsContext(root, root)
        process.limits = default_limits()
        self.kernel.add_listener(listener)
        self.kernel.add_process(process)
        task = Task(process, pid, facts, listener)
        self.kernel.tasks[pid] = task
        self._into_stub(task)
        if self.first is None:
            self.first = process
        return task

    def _into_stub(self, task: Task) -> None:
        """Let the new process execute the stub: it shares our memory until it has."""
        events, call = _sys.notify_next(self.kernel.epoll.fileno(), 5000, bytes(512))
        while call is None or call[2] != task.tid:
            for key, mask in events:
                callback = self.kernel.watched.get(key)
                if callback is not None:
                    callback(mask)
            if call is not None:
                self.kernel.take(call)
            events, call = _sys.notify_next(self.kernel.epoll.fileno(), 5000, bytes(512))
        _sys.notify_continue(call[0], call[1])

    def prepare(self, task: Task, launch: Launch, terminal: Terminal | None = None) -> None:
        """Give a new process its place and its program; :meth:`start` lets it run.

        Raises Fail as execve(2) does.
        """
        process = task.process
        self._credentials(process, launch)
        process.limits.update(launch.limits)
        process.fs.umask = launch.umask
        if terminal is not None:
            acquire(process, terminal)
            for _ in range(3):
                process.files.add(slave_file(terminal, O_RDWR, None), 3)
        for number, fd in enumerate(launch.stdio):
            file = host_file(self.kernel, fd, O_RDONLY if number == 0 else O_WRONLY)
            process.files.add(file, 3)
        process.prepared = self._find(task, launch)

    def start(self, task: Task) -> None:
        """Let a prepared process execute its program."""
        start(task)

    def _credentials(self, process: Process, launch: Launch) -> None:
        bounding, effective, permitted, inheritable, ambient = launch.capabilities
        cred = Credentials(launch.uid, launch.gid, launch.groups, bounding)
        cred.effective, cred.permitted = effective, permitted
        cred.inheritable, cred.ambient = inheritable, ambient
        cred.no_new_privs = launch.no_new_privs
        process.cred = cred

    def _find(self, task: Task, launch: Launch) -> Execution:
        process = task.process
        process.fs.cwd = self._working_directory(task, launch.cwd)
        program, dentry = launch.argv[0], None
        if b"/" not in program:
            for directory in _search_path(launch.env):
                candidate = directory + b"/" + program
                try:
                    dentry = existing(task, -100, candidate)
                except Fail:
                    continue
                if dentry.inode.is_regular:
                    program = candidate
                    break
                dentry = None
            if dentry is None:
                raise Fail(E.ENOENT)
        if dentry is None:
            dentry = existing(task, -100, program)
        return prepare(task, dentry, program, launch.argv, launch.env)

    def _working_directory(self, task: Task, path: bytes) -> Dentry:
        """The directory PATH, which is made if it is missing (config.md, "process.cwd")."""
        try:
            found = existing(task, -100, path)
        except Fail as failure:
            if failure.errno != E.ENOENT:
                raise
            found = self.kernel.namespace.find(path, make=True)
        if not found.inode.is_dir:
            raise Fail(E.ENOTDIR)
        return found

    def run(self) -> int:
        """Until the first process ends: its exit status as a shell has it."""
        ended: list[int] = []

        def on_exit(process: Process, pidfd: int) -> None:
            if process is self.first:
                ended.append(_sys.reap(pidfd, True) or 0)

        self.kernel.on_exit = on_exit
        while not ended:
            self.kernel.turn()
        return ended[0] if ended[0] >= 0 else 128 - ended[0]


def _namespace_pid(pid: int) -> int:
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    raise ProcessLookupError(pid)


def _search_path(env: Sequence[bytes]) -> list[bytes]:
    for entry in env:
        if entry.startswith(b"PATH="):
            return [part or b"." for part in entry[5:].split(b":")]
    return [b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin"]
