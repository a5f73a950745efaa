"""Repeatable runs: a clock of one's own, and randomness from a seed.

Both take calls out of the table of native ones, so settings are made before the sandbox is:

    settings = Settings()
    prepare(settings)
    sandbox = Sandbox(settings, namespace)
    clock = VirtualClock(sandbox.kernel, start=0)
    seed_randomness(sandbox.kernel, b"seed")
"""

from __future__ import annotations

import errno as E
import hashlib
import struct
import time

from trimaran.sandbox.abi import NUMBERS
from trimaran.sandbox.kernel.outcome import Block, Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.kernel import Kernel
    from trimaran.sandbox.kernel.settings import Settings
    from trimaran.sandbox.kernel.task import Task

CLOCK_CALLS = frozenset(
    ("clock_gettime", "gettimeofday", "time", "nanosleep", "clock_nanosleep", "clock_getres")
)
RANDOM_CALLS = frozenset(("getrandom",))
REALTIME, MONOTONIC = 0, 1
TIMER_ABSTIME = 1
LARGEST = 1 << 20


def prepare(settings: Settings) -> None:
    """Bring clocks and randomness to the supervisor: without vDSO, without native calls."""
    settings.vdso = False
    settings.without_native |= CLOCK_CALLS | RANDOM_CALLS


class VirtualClock:
    """A clock that begins at ``start`` (nanoseconds since 1970) and goes ``step`` further at each look.

    A sleep does not take real time: it moves the clock. CPU clocks stay what they are not: they read as the
    same clock.
    """

    def __init__(self, kernel: Kernel, *, start: int = 0, step: int = 1000) -> None:
        self.kernel = kernel
        self.start = start
        self.passed = 0
        self.step = step
        table = kernel.table
        table[NUMBERS["clock_gettime"]] = self._gettime
        table[NUMBERS["clock_getres"]] = self._getres
        table[NUMBERS["gettimeofday"]] = self._timeofday
        table[NUMBERS["nanosleep"]] = self._nanosleep
        table[NUMBERS["clock_nanosleep"]] = self._clock_nanosleep
        if "time" in NUMBERS:
            table[NUMBERS["time"]] = self._time

    def read(self, clock: int = REALTIME) -> int:
        """The time of CLOCK, which goes on by this look."""
        self.passed += self.step
        return self.passed + (self.start if clock == REALTIME else 10**9)

    def advance(self, nanoseconds: int) -> None:
        """Let time pass."""
        self.passed += max(0, nanoseconds)

    def _gettime(self, task: Task, clock: int, address: int, *_: int) -> int:
        self.kernel.put(task, address, struct.pack("=qq", *divmod(self.read(clock & 0xFFFFFFFF), 10**9)))
        return 0

    def _getres(self, task: Task, clock: int, address: int, *_: int) -> int:
        if address:
            self.kernel.put(task, address, struct.pack("=qq", 0, 1))
        return 0

    def _timeofday(self, task: Task, address: int, zone: int, *_: int) -> int:
        seconds, rest = divmod(self.read(), 10**9)
        if address:
            self.kernel.put(task, address, struct.pack("=qq", seconds, rest // 1000))
        return 0

    def _time(self, task: Task, address: int, *_: int) -> int:
        seconds = self.read() // 10**9
        if address:
            self.kernel.put(task, address, struct.pack("=q", seconds))
        return seconds

    def _sleep(self, task: Task, address: int, clock: int, absolute: bool) -> int:
        from trimaran.linux import _sys

        if task.state is not None:
            return 0
        seconds, rest = struct.unpack("=qq", _sys.vm_read(task.tid, address, 16))
        if seconds < 0 or not 0 <= rest < 10**9:
            raise Fail(E.EINVAL)
        wanted = seconds * 10**9 + rest
        self.advance(wanted - self.read(clock) if absolute else wanted)
        # Others get their turn, as they would while this one sleeps.
        task.state = True
        raise Block((), time.monotonic_ns())

    def _nanosleep(self, task: Task, address: int, left: int, *_: int) -> int:
        return self._sleep(task, address, MONOTONIC, False)

    def _clock_nanosleep(self, task: Task, clock: int, flags: int, address: int, *_: int) -> int:
        return self._sleep(task, address, clock & 0xFFFFFFFF, bool(flags & TIMER_ABSTIME))


def seed_randomness(kernel: Kernel, seed: bytes) -> None:
    """Make getrandom, /dev/urandom, the canary and the layout of memory follow from SEED.

    Each process has a stream of its own, so that it does not matter which of several comes first.
    """
    streams: dict[int, list[bytes]] = {}

    def random_bytes(size: int) -> bytes:
        pid = kernel.current.process.pid if kernel.current else 0
        state = streams.setdefault(pid, [hashlib.sha256(seed + b"%d" % pid).digest(), b""])
        while len(state[1]) < size:
            state[0] = hashlib.sha256(state[0]).digest()
            state[1] += state[0]
        data, state[1] = state[1][:size], state[1][size:]
        return data

    def getrandom(task: Task, address: int, size: int, flags: int, *_: int) -> int:
        size = min(size, LARGEST)
        kernel.put(task, address, random_bytes(size))
        return size

    kernel.random_bytes = random_bytes  # type: ignore[method-assign]
    kernel.table[NUMBERS["getrandom"]] = getrandom
