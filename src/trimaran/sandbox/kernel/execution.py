"""execve(2): finding the program, leaving the old image, and loading the new one through the stub."""

from __future__ import annotations

import errno as E
import os
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.file import O_RDONLY
from trimaran.sandbox.kernel.outcome import Answered, Fail
from trimaran.sandbox.kernel.task import Process, Task
from trimaran.sandbox.kernel.vfs.walk import EXECUTE, existing, require
from trimaran.sandbox.tracee.image import Elf, Image
from trimaran.sandbox.tracee.stub import SCRATCH, pack_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.file import File
    from trimaran.sandbox.kernel.vfs.inode import Dentry

ARGUMENTS_LIMIT = 2 << 20
MAX_SCRIPTS = 5
AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = 0x1000, 0x100
S_ISUID, S_ISGID = 0o4000, 0o2000
ALL_CAPABILITIES = (1 << 41) - 1


class Execution:
    """A program on its way in: its image, and the open files that the stub maps."""

    __slots__ = ("files", "image", "pointer")

    def __init__(self, image: Image, files: list[File]) -> None:
        self.image = image
        self.files = files
        self.pointer = 0

    def drop(self) -> None:
        for file in self.files:
            file.drop()
        self.files = []


def _open_program(task: Task, dentry: Dentry) -> File:
    inode = dentry.inode
    if not inode.is_regular or dentry.mount.noexec:
        raise Fail(E.EACCES)
    require(task.process.cred, inode, EXECUTE)
    file = inode.open(task, O_RDONLY, dentry)
    file.hold()
    return file


def prepare(
    task: Task, dentry: Dentry, path: bytes, arguments: list[bytes], environment: list[bytes]
) -> Execution:
    """Read the program's headers and make its image. Raises Fail as execve does; changes nothing."""
    for _ in range(MAX_SCRIPTS):
        file = _open_program(task, dentry)
        try:
            head = os.pread(file.host_fd(False), 256, 0)
            if not head.startswith(b"#!"):
                return _prepare_elf(task, dentry, file, path, arguments, environment)
        except BaseException:
            file.drop()
            raise
        file.drop()
        words = head[2:].split(b"\n", 1)[0].strip().split(None, 1)
        if not words:
            raise Fail(E.ENOEXEC)
        arguments = [words[0], *words[1:], path, *arguments[1:]]
        path = words[0]
        dentry = existing(task, -100, path)
    raise Fail(E.ELOOP)


def _prepare_elf(
    task: Task, dentry: Dentry, file: File, path: bytes, arguments: list[bytes], environment: list[bytes]
) -> Execution:
    cred = task.process.cred.copy()
    image = Image(dentry, path, arguments, environment, cred)
    image.secure = _raise_credentials(task, dentry, image)
    program = Elf(file.host_fd(False))
    files, interpreter = [file], None
    if program.interpreter:
        loader = _open_program(task, existing(task, -100, program.interpreter))
        files.append(loader)
        try:
            interpreter = Elf(loader.host_fd(False))
        except BaseException:
            loader.drop()
            raise
    noise = int.from_bytes(task.process.kernel.random_bytes(8), "little")
    image.load(program, interpreter, noise)
    return Execution(image, files)


def _raise_credentials(task: Task, dentry: Dentry, image: Image) -> bool:
    """Set-user-ID and set-group-ID bits; whether the program must distrust its environment."""
    cred, inode = image.cred, dentry.inode
    mode = inode.mode
    was_root = cred.euid
    if not cred.no_new_privs and not dentry.mount.flags & 2:
        if mode & S_ISUID:
            cred.euid = inode.uid
        if mode & S_ISGID and mode & 0o010:
            cred.egid = inode.gid
    cred.suid = cred.fsuid = cred.euid
    cred.sgid = cred.fsgid = cred.egid
    cred.keep = False
    if 0 in (cred.uid, cred.euid):
        cred.permitted = cred.bounding | cred.inheritable
        cred.effective = cred.permitted if cred.euid == 0 else 0
    else:
        cred.permitted = cred.effective = cred.ambient
    return cred.euid != cred.uid or cred.egid != cred.gid or (was_root != cred.euid and cred.euid == 0)


def begin(task: Task, execution: Execution) -> None:
    """Send the task into the stub, which executes itself and asks for the image."""
    process = task.process
    drop_request(process)
    process.exec_request = execution
    try:
        _sys.task_redirect(task.listener, task.call, task.tid, process.kernel.stub.exec)
    except OSError:
        drop_request(process)
    raise Answered


def start(task: Task) -> None:
    """Let a new process become what was prepared for it."""
    process = task.process
    process.exec_request, process.prepared = process.prepared, None
    if process.waiting is not None:
        task.listener, task.call, args = process.waiting
        process.waiting = None
        _sys.notify_answer(task.listener, task.call, hello(task, *args))


def drop_request(process: Process) -> None:
    if isinstance(process.exec_request, Execution):
        process.exec_request.drop()
    process.exec_request = None


def sys_execve(task: Task, path: int, argv: int, envp: int, *_: int) -> int:
    return _execute(task, -100, task.path(), argv, envp, 0)


def sys_execveat(task: Task, dirfd: int, path: int, argv: int, envp: int, flags: int, *_: int) -> int:
    return _execute(task, dirfd, task.path(), argv, envp, flags)


def _execute(task: Task, dirfd: int, path: bytes, argv: int, envp: int, flags: int) -> int:
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise Fail(E.EINVAL)
    dentry = existing(
        task, dirfd, path, follow=not flags & AT_SYMLINK_NOFOLLOW, empty=bool(flags & AT_EMPTY_PATH)
    )
    if dentry.inode.is_link:
        raise Fail(E.ELOOP)
    arguments = _sys.vm_read_strings(task.tid, argv, ARGUMENTS_LIMIT) if argv else []
    environment = _sys.vm_read_strings(task.tid, envp, ARGUMENTS_LIMIT) if envp else []
    if not path:
        path = b"/dev/fd/%d" % (dirfd & 0xFFFFFFFF)
    elif path[:1] != b"/" and dirfd & 0xFFFFFFFF != 0xFFFFFF9C:
        path = b"/dev/fd/%d/%s" % (dirfd & 0xFFFFFFFF, path)
    execution = prepare(task, dentry, path, arguments or [b""], environment)
    begin(task, execution)
    return 0


def hello(task: Task, stack: int, *_: int) -> int:
    """The stub runs in the task: the old image is gone. Answers how much stack it must make room for."""
    process = task.process
    execution = process.exec_request
    if not isinstance(execution, Execution):
        if process.executable is None and process.waiting is None:
            process.waiting = (task.listener, task.call, (stack,))
        else:
            process.kernel.destroy(process)
        raise Answered
    image = execution.image
    for other in list(process.tasks.values()):
        if other is not task:
            process.kernel.forget_task(other)
    files = process.files
    if files.sharers > 1:
        process.files = files.copy()
        files.leave()
    process.files.close_on_exec()
    process.cred = image.cred
    process.executable = image.executable
    process.arguments, process.environment = image.arguments, image.environment
    process.dumpable = 0 if image.secure else 1
    process.kernel.executed(process)
    return SCRATCH + 2 * image.stack_size()


def load(task: Task, stack: int, record: int, *_: int) -> int:
    """The stub has made room: write the stack and the image record, put the files where it can map them."""
    process = task.process
    execution = process.exec_request
    if not isinstance(execution, Execution):
        process.kernel.destroy(process)
        raise Answered
    kernel, image = process.kernel, execution.image
    auxv = _host_vector(task, stack)
    top = (stack - SCRATCH) & -16
    pointer, content = image.stack(top, auxv, kernel.random_bytes(16), kernel.vdso)
    numbers = list(range(len(execution.files)))
    for number, file in zip(numbers, execution.files, strict=True):
        _sys.notify_add_fd(task.listener, task.call, file.host_fd(False), number)
    _sys.vm_write(task.tid, pointer, content)
    _sys.vm_write(task.tid, record, pack_image(image, pointer, numbers))
    process.images = [
        (m.address, m.length, m.offset, m.protection, image.executable)
        for m in image.mappings
        if m.which == 0
    ]
    drop_request(process)
    return 0


def _host_vector(task: Task, stack: int) -> dict[int, int]:
    """The auxiliary vector that the kernel gave the stub: behind argc, argv and envp, both empty."""
    words = _sys.vm_read(task.tid, stack, 8 * 64, True)
    values = struct.unpack(f"<{len(words) // 8}Q", words)
    vector: dict[int, int] = {}
    at = 1
    for _ in range(2):
        while at < len(values) and values[at]:
            at += 1
        at += 1
    while at + 1 < len(values) and values[at]:
        vector[values[at]] = values[at + 1]
        at += 2
    return vector
