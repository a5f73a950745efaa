"""Pseudoterminals and job control (pty(7), ioctl_tty(2), credentials(7) "sessions")."""

from __future__ import annotations

import errno as E
import os
import stat as S
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.discipline import TERMIOS, TOSTOP, VMIN, VTIME, Discipline
from trimaran.sandbox.kernel.family import status
from trimaran.sandbox.kernel.file import POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File
from trimaran.sandbox.kernel.outcome import Block, Fail
from trimaran.sandbox.kernel.signals import masks
from trimaran.sandbox.kernel.vfs.inode import Dentry, Inode
from trimaran.sandbox.kernel.vfs.nodes import Device, Directory
from trimaran.sandbox.kernel.waiting import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.task import Process, Task

O_NOCTTY = 0x100
TCGETS, TCSETS, TCSETSW, TCSETSF, TCSBRK, TCXONC, TCFLSH = (
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x5409,
    0x540A,
    0x540B,
)
TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCGPGRP, TIOCSPGRP, TIOCOUTQ = 0x540C, 0x540D, 0x540E, 0x540F, 0x5410, 0x5411
TIOCGWINSZ, TIOCSWINSZ, FIONREAD, TIOCPKT, TIOCNOTTY, TCSBRKP = 0x5413, 0x5414, 0x541B, 0x5420, 0x5422, 0x5425
TIOCGSID, TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK, TIOCGPTPEER = 0x5429, 0x80045430, 0x40045431, 0x80045439, 0x5441
TCGETS2, TCSETS2, TCSETSW2, TCSETSF2 = 0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D
SIGHUP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH = 1, 21, 22, 18, 28
OUTPUT_LIMIT = 65536
INPUT_LIMIT = 65536


def group_of(process: Process) -> int:
    """The process group, as the program numbers it; 0 if the process is gone."""
    facts = status(process.host)
    return int(facts[b"NSpgid"].split()[-1]) if facts else 0


def session_of(process: Process) -> int:
    facts = status(process.host)
    return int(facts[b"NSsid"].split()[-1]) if facts else 0


class Terminal:
    """A pair of master and slave. ``foreground`` and ``session`` are the program's numbers, 0 for none."""

    def __init__(self, kernel: Kernel, number: int) -> None:
        self.kernel = kernel
        self.number = number
        self.discipline = Discipline(self.print, self.signal)
        self.output = bytearray()
        self.size = struct.pack("=HHHH", 0, 0, 0, 0)
        self.foreground = 0
        self.session = 0
        self.locked = True
        self.slaves = 0
        self.opened = False
        self.hung_up = False
        self.exclusive = False
        self.to_master = WaitQueue()
        self.to_slave = WaitQueue()

    def print(self, data: bytes) -> None:
        """Send to the master."""
        self.output += data
        self.to_master.wake()

    def type(self, data: bytes) -> None:
        """What the master writes."""
        self.discipline.receive(data)
        self.to_slave.wake()
        self.to_master.wake()

    def members(self) -> list[Process]:
        """The processes in the foreground."""
        return [
            p for p in self.kernel.processes.values() if self.foreground and group_of(p) == self.foreground
        ]

    def signal(self, number: int) -> None:
        for process in self.members():
            self.kernel.signals.send(process, number)

    def resize(self, size: bytes) -> None:
        if size != self.size:
            self.size = size
            self.signal(SIGWINCH)

    def hang_up(self) -> None:
        """The master is gone."""
        self.hung_up = True
        self.to_slave.wake()
        leader = self.kernel.by_pid.get(self.session)
        self.signal(SIGHUP)
        if leader is not None and leader.terminal is self:
            self.kernel.signals.send(leader, SIGHUP)
            self.kernel.signals.send(leader, SIGCONT)

    def check_background(self, task: Task, number: int) -> None:
        """Stop a background process that reads (SIGTTIN) or writes and sets (SIGTTOU)."""
        process = task.process
        if process.terminal is not self or not self.foreground:
            return
        group = group_of(process)
        if group == self.foreground:
            return
        facts = status(task.tid)
        ignored = int(facts[b"SigIgn"], 16) if facts else 0
        _thread, _process, blocked = masks(task)
        if (ignored | blocked) >> (number - 1) & 1:
            if number == SIGTTIN:
                raise Fail(E.EIO)
            return
        for member in self.kernel.processes.values():
            if group_of(member) == group:
                self.kernel.signals.send(member, number)
        raise Block(())


class TerminalFile(File):
    """What both ends have in common."""

    __slots__ = ("terminal",)

    def __init__(self, flags: int, inode: Inode, dentry: Dentry | None, terminal: Terminal) -> None:
        super().__init__(flags, inode, dentry)
        self.terminal = terminal

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        terminal, kernel = self.terminal, task.process.kernel
        discipline = terminal.discipline
        if command == TCGETS:
            kernel.put(task, argument, discipline.pack())
        elif command == TCGETS2:
            kernel.put(task, argument, discipline.pack() + struct.pack("=II", 38400, 38400))
        elif command in (TCSETS, TCSETSW, TCSETSF, TCSETS2, TCSETSW2, TCSETSF2):
            data = _sys.vm_read(task.tid, argument, TERMIOS.size)
            self.before_setting(task)
            if command in (TCSETSF, TCSETSF2):
                discipline.flush_input()
            discipline.unpack(data)
            terminal.to_slave.wake()
        elif command == TIOCGWINSZ:
            kernel.put(task, argument, terminal.size)
        elif command == TIOCSWINSZ:
            terminal.resize(_sys.vm_read(task.tid, argument, 8))
        elif command == TCFLSH:
            self.flush(argument)
        elif command in (TCSBRK, TCSBRKP, TCXONC, TIOCPKT):
            pass
        elif command in (TIOCEXCL, TIOCNXCL):
            terminal.exclusive = command == TIOCEXCL
        elif command == TIOCOUTQ:
            kernel.put(task, argument, struct.pack("=i", 0))
        else:
            return self.control_terminal(task, command, argument)
        return 0

    def before_setting(self, task: Task) -> None:
        """A background process must not change the terminal."""

    def flush(self, which: int) -> None:
        if which in (0, 2):
            self.terminal.discipline.flush_input()
        if which in (1, 2):
            self.terminal.output.clear()
        elif which > 2:
            raise Fail(E.EINVAL)

    def control_terminal(self, task: Task, command: int, argument: int) -> int:
        """Sessions and process groups."""
        terminal, process, kernel = self.terminal, task.process, task.process.kernel
        if command == TIOCGPGRP:
            if process.terminal is not terminal and not isinstance(self, MasterFile):
                raise Fail(E.ENOTTY)
            kernel.put(task, argument, struct.pack("=i", terminal.foreground))
        elif command == TIOCSPGRP:
            if process.terminal is not terminal:
                raise Fail(E.ENOTTY)
            group = struct.unpack("=i", _sys.vm_read(task.tid, argument, 4))[0]
            if group < 0:
                raise Fail(E.EINVAL)
            terminal.check_background(task, SIGTTOU)
            members = [p for p in kernel.processes.values() if group_of(p) == group]
            if not members:
                raise Fail(E.ESRCH)
            if session_of(members[0]) != terminal.session:
                raise Fail(E.EPERM)
            terminal.foreground = group
        elif command == TIOCSCTTY:
            acquire(process, terminal, steal=argument == 1)
        elif command == TIOCNOTTY:
            if process.terminal is not terminal:
                raise Fail(E.ENOTTY)
            process.terminal = None
        elif command == TIOCGSID:
            if process.terminal is not terminal and not isinstance(self, MasterFile):
                raise Fail(E.ENOTTY)
            kernel.put(task, argument, struct.pack("=i", terminal.session))
        else:
            raise Fail(E.ENOTTY)
        return 0


def acquire(process: Process, terminal: Terminal, *, steal: bool = False) -> None:
    """Make TERMINAL the controlling terminal of the session that PROCESS leads."""
    if process.terminal is terminal and terminal.session == process.pid:
        return
    if session_of(process) != process.pid or process.terminal is not None:
        raise Fail(E.EPERM)
    if terminal.session and not steal:
        raise Fail(E.EPERM)
    terminal.session = process.pid
    terminal.foreground = group_of(process)
    for member in process.kernel.processes.values():
        if member is process or session_of(member) == process.pid:
            member.terminal = terminal


class SlaveFile(TerminalFile):
    """The side that programs use."""

    __slots__ = ()

    def __init__(self, flags: int, inode: Inode, dentry: Dentry | None, terminal: Terminal) -> None:
        super().__init__(flags, inode, dentry, terminal)
        terminal.slaves += 1
        terminal.opened = True

    def before_setting(self, task: Task) -> None:
        self.terminal.check_background(task, SIGTTOU)

    def read(self, task: Task, size: int) -> bytes:
        terminal = self.terminal
        if terminal.hung_up:
            return b""
        terminal.check_background(task, SIGTTIN)
        discipline = terminal.discipline
        if discipline.ready():
            return discipline.take(size)
        cc = discipline.cc
        if not discipline.canonical and not cc[VMIN]:
            if discipline.readable() or not cc[VTIME]:
                return discipline.take(size)
            return self._timed(task, size, cc[VTIME])
        raise self.would_block(terminal.to_slave)

    def _timed(self, task: Task, size: int, tenths: int) -> bytes:
        import time

        if task.state is None:
            task.state = time.monotonic_ns() + tenths * 100_000_000
        assert isinstance(task.state, int)
        if time.monotonic_ns() >= task.state:
            return b""
        raise Block((self.terminal.to_slave,), task.state)

    def write(self, task: Task, data: bytes) -> int:
        terminal = self.terminal
        if terminal.hung_up:
            raise Fail(E.EIO)
        if terminal.discipline.lflag & TOSTOP:
            terminal.check_background(task, SIGTTOU)
        if terminal.discipline.stopped or len(terminal.output) >= OUTPUT_LIMIT:
            raise self.would_block(terminal.to_master, terminal.to_slave)
        data = data[:4096]
        terminal.print(terminal.discipline.cook(data))
        return len(data)

    def poll(self) -> int:
        terminal = self.terminal
        if terminal.hung_up:
            return POLLHUP | POLLIN | POLLOUT
        mask = POLLIN | POLLRDNORM if terminal.discipline.ready() else 0
        if len(terminal.output) < OUTPUT_LIMIT:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.terminal.to_slave, self.terminal.to_master)

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        if self.terminal.hung_up:
            raise Fail(E.EIO)
        if command == FIONREAD:
            size = self.terminal.discipline.readable()
            task.process.kernel.put(task, argument, struct.pack("=i", size))
            return 0
        return super().ioctl(task, command, argument)

    def describe(self) -> bytes:
        return b"/dev/pts/%d" % self.terminal.number

    def release(self) -> None:
        self.terminal.slaves -= 1
        if not self.terminal.slaves:
            self.terminal.to_master.wake()


class MasterFile(TerminalFile):
    """The side of the terminal emulator."""

    __slots__ = ()

    def read(self, task: Task, size: int) -> bytes:
        output = self.terminal.output
        if output:
            data = bytes(output[:size])
            del output[:size]
            self.terminal.to_slave.wake()
            return data
        if self.terminal.opened and not self.terminal.slaves:
            raise Fail(E.EIO)
        raise self.would_block(self.terminal.to_master)

    def write(self, task: Task, data: bytes) -> int:
        if self.terminal.discipline.readable() >= INPUT_LIMIT:
            raise self.would_block(self.terminal.to_slave)
        data = data[:4096]
        self.terminal.type(data)
        return len(data)

    def poll(self) -> int:
        terminal = self.terminal
        mask = POLLIN | POLLRDNORM if terminal.output else 0
        if terminal.discipline.readable() < INPUT_LIMIT:
            mask |= POLLOUT | POLLWRNORM
        if terminal.opened and not terminal.slaves:
            mask |= POLLHUP
        return mask

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.terminal.to_master, self.terminal.to_slave)

    def ioctl(self, task: Task, command: int, argument: int) -> int:
        kernel = task.process.kernel
        if command == TIOCGPTN:
            kernel.put(task, argument, struct.pack("=I", self.terminal.number))
        elif command == TIOCSPTLCK:
            self.terminal.locked = bool(struct.unpack("=i", _sys.vm_read(task.tid, argument, 4))[0])
        elif command == TIOCGPTLCK:
            kernel.put(task, argument, struct.pack("=i", self.terminal.locked))
        elif command == TIOCGPTPEER:
            return task.install(slave_file(self.terminal, argument, None), cloexec=bool(argument & 0x80000))
        elif command == FIONREAD:
            kernel.put(task, argument, struct.pack("=i", len(self.terminal.output)))
        else:
            return super().ioctl(task, command, argument)
        return 0

    def describe(self) -> bytes:
        return b"/dev/ptmx"

    def release(self) -> None:
        self.terminal.hang_up()
        terminals.pop(self.terminal.number, None)
        if pts is not None:
            pts.children.pop(b"%d" % self.terminal.number, None)


terminals: dict[int, Terminal] = {}
pts: Directory | None = None
"""The devpts of this sandbox: a process runs one sandbox."""


def mount_terminals(directory: Directory) -> None:
    """Where slaves get their names."""
    global pts
    pts = directory


def new_terminal(kernel: Kernel) -> Terminal:
    number = next(n for n in range(1 << 20) if n not in terminals)
    terminal = terminals[number] = Terminal(kernel, number)
    return terminal


def name_terminal(terminal: Terminal, uid: int, gid: int) -> Device:
    """Put the slave into devpts."""
    assert pts is not None
    node = Device(pts.fs, S.S_IFCHR | 0o620, uid, gid, rdev=os.makedev(136, terminal.number))
    pts.children[b"%d" % terminal.number] = node
    return node


def open_master(task: Task, flags: int, dentry: Dentry) -> File:
    if pts is None:
        raise Fail(E.ENODEV)
    terminal = new_terminal(task.process.kernel)
    name_terminal(terminal, task.process.cred.fsuid, task.process.cred.fsgid)
    return MasterFile(flags, dentry.inode, dentry, terminal)


def slave_file(terminal: Terminal, flags: int, dentry: Dentry | None) -> SlaveFile:
    assert pts is not None
    inode = dentry.inode if dentry else pts.children[b"%d" % terminal.number]
    return SlaveFile(flags, inode, dentry, terminal)


def open_slave(task: Task, number: int, flags: int, dentry: Dentry) -> File:
    terminal = terminals.get(number)
    if terminal is None or terminal.hung_up:
        raise Fail(E.EIO)
    if terminal.locked:
        raise Fail(E.EIO)
    process = task.process
    if not flags & O_NOCTTY and process.terminal is None and not terminal.session:
        if session_of(process) == process.pid:
            acquire(process, terminal)
    return slave_file(terminal, flags, dentry)


def open_controlling(task: Task, flags: int) -> File:
    terminal = task.process.terminal
    if terminal is None:
        raise Fail(E.ENXIO)
    return slave_file(terminal, flags, None)


def leader_died(kernel: Kernel, process: Process) -> None:
    """A session leader ends: its terminal's foreground is hung up, and the terminal is free."""
    terminal = process.terminal
    if terminal is None or terminal.session != process.pid:
        return
    terminal.signal(SIGHUP)
    terminal.signal(SIGCONT)
    terminal.session = terminal.foreground = 0
    for member in kernel.processes.values():
        if member.terminal is terminal:
            member.terminal = None
