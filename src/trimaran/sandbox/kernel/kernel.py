"""The kernel itself: who runs, which call means what, and what happens next."""

from __future__ import annotations

import errno as E
import os
import select
import time
from _heapq import heappop, heappush

from trimaran.linux import _sys
from trimaran.sandbox import abi
from trimaran.sandbox.kernel import execution, family, locks, tty
from trimaran.sandbox.kernel.outcome import Answered, Block, Continue, Fail
from trimaran.sandbox.kernel.signals import Signals
from trimaran.sandbox.kernel.socket.policy import Network
from trimaran.sandbox.kernel.table import PREFETCH, build_table
from trimaran.sandbox.kernel.task import Process, Task
from trimaran.sandbox.kernel.waiting import Parked, WaitQueue
from trimaran.sandbox.tracee.stub import Stub

SIGKILL = 9

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from trimaran.sandbox.kernel.settings import Settings
    from trimaran.sandbox.kernel.table import Handler
    from trimaran.sandbox.kernel.vfs.mounts import Namespace

LISTENER_KEY = 1 << 63
IDLE_MS = 60_000
DENIALS_LIMIT = 1000


class Kernel:
    """One sandbox. Single-threaded: :meth:`turn` takes one call or event at a time and never waits in it."""

    def __init__(self, settings: Settings, namespace: Namespace) -> None:
        self.settings = settings
        self.namespace = namespace
        self.stub = Stub()
        self.vdso = settings.vdso
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}
        self.by_pid: dict[int, Process] = {}
        self.orphans: list[Task] = []
        self.table: list[Handler | None] = build_table()
        self.signals = Signals(self)
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self.timer_count = 0
        self.epoll = select.epoll()
        self.listeners: set[int] = set()
        self.watched: dict[int, Callable[[int], None]] = {}
        self.counts: dict[int, int] = {}
        self.unknown: dict[str, int] = {}
        self.faults = 0
        self.current: Task | None = None
        self.network = Network()
        self.denials: list[str] = []
        self.on_exit: Callable[[Process, int], None] | None = None
        self.on_executed: Callable[[Process], None] | None = None
        self.log: Callable[[str], None] = lambda text: None
        self.started = time.monotonic_ns()

    # What subsystems use.

    def random_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def put(self, task: Task, address: int, data: bytes) -> None:
        """Write to the task's memory. Raises Fail(EFAULT)."""
        if _sys.vm_write(task.tid, address, data) != len(data):
            raise Fail(E.EFAULT)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call CALLBACK with the events of a host descriptor, until :meth:`unwatch`."""
        self.watched[fd] = callback
        _sys.epoll_add(self.epoll.fileno(), fd, events, fd)

    def unwatch(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def after(self, nanoseconds: int, callback: Callable[[], None]) -> None:
        """Call CALLBACK once, that much later."""
        self.at(time.monotonic_ns() + nanoseconds, callback)

    def at(self, deadline: int, callback: Callable[[], None]) -> None:
        self.timer_count += 1
        heappush(self.timers, (deadline, self.timer_count, callback))

    def waiting_since(self, task: Task) -> int:
        """When the call that is handled began to wait, on the monotonic clock."""
        return task.parked.since if task.parked is not None else time.monotonic_ns()

    def denied(self, task: Task, call: str, what: str, why: str) -> None:
        """Keep an explanation of a refusal, for the one who asks."""
        text = f"process {task.process.pid} ({task.process.name()}): {call} {what} denied: {why}"
        if len(self.denials) < DENIALS_LIMIT:
            self.denials.append(text)
        self.log(text)

    # Processes.

    def add_listener(self, listener: int) -> None:
        try:
            _sys.notify_synchronous(listener)
        except OSError:
            self.log("this kernel wakes callers on any processor: calls take longer")
        self.listeners.add(listener)
        _sys.epoll_add(self.epoll.fileno(), listener, select.EPOLLIN, LISTENER_KEY | listener)

    def add_process(self, process: Process) -> None:
        self.processes[process.host] = process
        self.by_pid[process.pid] = process
        self.watch(process.pidfd, select.EPOLLIN, lambda events: self.died(process))

    def executed(self, process: Process) -> None:
        if self.on_executed is not None:
            self.on_executed(process)

    def destroy(self, process: Process) -> None:
        """Kill a process that broke the protocol."""
        self.log(f"process {process.pid} entered the stub by itself: killed")
        _sys.send_signal(process.pidfd, SIGKILL)

    def settle_all(self) -> None:
        """Bind every child that was made and has not called yet."""
        for task in list(self.tasks.values()):
            if task.pending:
                family.settle(self, task, returned=False)

    def forget_task(self, task: Task) -> None:
        self.unpark(task)
        self.tasks.pop(task.tid, None)
        task.process.tasks.pop(task.tid, None)

    def close_process(self, process: Process) -> None:
        """Give up what a process holds, before anyone can see that it is gone."""
        if process.exited:
            return
        process.exited = True
        execution.drop_request(process)
        tty.leader_died(self, process)
        if process.locked:
            for file in process.files.files.values():
                locks.release_posix(process, file)
        process.files.leave()
        for task in list(process.tasks.values()):
            if task.pending:
                self.orphans.append(task)
            self.forget_task(task)

    def died(self, process: Process) -> None:
        """The host says that a process has ended."""
        self.close_process(process)
        self.unwatch(process.pidfd)
        self.processes.pop(process.host, None)
        self.by_pid.pop(process.pid, None)
        family.leave(self, process)
        for observer in tuple(process.observers):
            observer()
        if process.parent is not None:
            self.signals.suspect(process.parent)
        if self.on_exit is not None:
            self.on_exit(process, process.pidfd)
        os.close(process.pidfd)

    # Waiting.

    def park(self, task: Task, number: int, args: tuple[int, ...], block: Block) -> None:
        parked = task.parked
        if parked is None:
            parked = task.parked = Parked(task, number, args)
        else:
            for queue in parked.queues:
                queue.parked.discard(parked)
        parked.queues = tuple(block.queues)
        parked.interrupted = block.done or -block.restart
        for queue in parked.queues:
            queue.parked.add(parked)
        if block.deadline is not None and block.deadline != parked.deadline:
            parked.deadline = block.deadline
            self.at(block.deadline, lambda: WaitQueue.ready.append(parked))
        # A signal that came while the call was taken is still pending; nobody would look again.
        if task.process.expecting and time.monotonic_ns() < task.process.expecting:
            self.signals.check_task(task)

    def unpark(self, task: Task) -> None:
        parked = task.parked
        if parked is not None:
            task.parked = None
            for queue in parked.queues:
                queue.parked.discard(parked)

    def retry(self, parked: Parked) -> None:
        """Run the handler of a parked call again."""
        task = parked.task
        if task.parked is parked:
            task.call, task.listener = parked.call, parked.listener
            self.perform(task, parked.number, parked.args)

    def interrupt(self, task: Task) -> None:
        """A signal is pending for a parked task: let its call end, so that the host delivers it."""
        parked = task.parked
        if parked is not None:
            self._over(task)
            if parked.listener in self.listeners:
                _sys.notify_answer(parked.listener, parked.call, parked.interrupted)

    def suspend(self, task: Task) -> None:
        """A signal is pending that only this call's own mask lets in: let it in, as the host does."""
        parked = task.parked
        if parked is not None:
            address = task.mask_at
            self._over(task)
            task.call, task.listener = parked.call, parked.listener
            self.call_natively(task, "rt_sigsuspend", (address, 8))

    # Calls.

    def perform(self, task: Task, number: int, args: tuple[int, ...]) -> None:
        """Run the handler of a call and answer."""
        self.current = task
        handler = self.table[number]
        try:
            value = handler(task, *args) if handler is not None else self.missing(task, number, args)
        except Block as block:
            self.park(task, number, args, block)
            return
        except Fail as failure:
            value = -failure.errno
        except Continue:
            self._over(task)
            _sys.notify_continue(task.listener, task.call)
            return
        except Answered:
            self._over(task)
            return
        except OSError as error:
            value = -(error.errno or E.EIO)
        except Exception as error:  # noqa: BLE001 - a fault in one call must not end the sandbox
            self.fault(abi.NAMES.get(number, str(number)), error)
            value = -E.EIO
        self._over(task)
        _sys.notify_answer(task.listener, task.call, value)

    def fault(self, what: str, error: Exception) -> None:
        """A handler is wrong: count it and say where."""
        trace, where = error.__traceback__, ""
        while trace is not None:
            where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
            trace = trace.tb_next
        self.faults += 1
        self.log(f"fault in {what} at {where}: {error!r}")

    def _over(self, task: Task) -> None:
        """The call ends: forget what it kept."""
        if task.parked is not None:
            self.unpark(task)
        task.state = task.mask = None

    def call_natively(
        self, task: Task, name: str, args: tuple[int, ...], then: Callable[[int], int] | None = None
    ) -> None:
        """Let the host execute a native call in the place of this one; its result is the caller's.

        THEN is given the result first, and what it returns is the caller's.
        """
        args = (*args, 0, 0, 0, 0, 0)[:5]
        task.then = then
        where = self.stub.report if then is not None else self.stub.call
        _sys.task_call(task.listener, task.call, task.tid, where, abi.NUMBERS[name], args)

    def missing(self, task: Task, number: int, args: tuple[int, ...]) -> int:
        """A call that this kernel does not have: said once."""
        name = abi.NAMES.get(number, f"call {number}")
        if name not in self.unknown:
            self.log(f"not implemented: {name}({', '.join(hex(a) for a in args)})")
        self.unknown[name] = self.unknown.get(name, 0) + 1
        return -E.ENOSYS

    def take(self, call: tuple[int, int, int, int, int, tuple[int, ...], object, object]) -> None:
        """One notification."""
        listener, identity, tid, number, ip, args, first, second = call
        task = self.tasks.get(tid)
        if task is None:
            task = family.adopt(self, tid, listener)
            if task is None:
                _sys.notify_answer(listener, identity, -E.ENOSYS)
                return
        if task.pending:
            family.settle(self, task)
        task.call, task.listener, task.ip = identity, listener, ip
        task.first, task.second = first, second  # type: ignore[assignment]
        if 0 <= number < 512:
            self.counts[number] = self.counts.get(number, 0) + 1
            self.perform(task, number, args)
        else:
            self._special(task, number, args)

    def _special(self, task: Task, number: int, args: tuple[int, ...]) -> None:
        value = -E.ENOSYS
        self.current = task
        in_stub = self.stub.start <= task.ip < self.stub.end + 16
        try:
            if number == abi.HELLO and in_stub:
                value = execution.hello(task, *args)
            elif number == abi.REPORT and in_stub and task.then is not None:
                then, task.then = task.then, None
                value = then(args[0])
            elif number == abi.IMAGE and in_stub:
                value = execution.load(task, *args)
        except Answered:
            return
        except (Fail, OSError) as failure:
            value = -(failure.errno or E.EIO)
        _sys.notify_answer(task.listener, task.call, value)

    def turn(self) -> None:
        """Wait for one call or event, and deal with everything that follows from it."""
        events, call = _sys.notify_next(self.epoll.fileno(), self._timeout(), PREFETCH)
        for key, mask in events:
            if key & LISTENER_KEY:
                self._hung_up(key & 0xFFFFFFFF)
                continue
            callback = self.watched.get(key)
            if callback is not None:
                self.guarded(callback, mask)
        if call is not None:
            self.guarded(self.take, call)
        while True:
            while WaitQueue.ready:
                for parked in [WaitQueue.ready.pop() for _ in range(len(WaitQueue.ready))][::-1]:
                    self.guarded(self.retry, parked)
            if not self.timers or not self._run_timers():
                break

    def guarded(self, function: Callable[..., None], *args: object) -> None:
        """Run what an event has to do: a fault in it must not end the sandbox."""
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001
            self.fault(getattr(function, "__name__", "event"), error)

    def _run_timers(self) -> bool:
        now, ran = time.monotonic_ns(), False
        while self.timers and self.timers[0][0] <= now:
            self.guarded(heappop(self.timers)[2])
            ran = True
        return ran

    def _timeout(self) -> int:
        if not self.timers:
            return IDLE_MS
        return max(0, min(IDLE_MS, -(-(self.timers[0][0] - time.monotonic_ns()) // 1_000_000)))

    def _hung_up(self, listener: int) -> None:
        """No task is left under this filter."""
        if listener in self.listeners:
            self.listeners.discard(listener)
            self.epoll.unregister(listener)
            os.close(listener)
