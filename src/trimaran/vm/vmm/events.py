"""The device thread: an epoll loop over descriptors, timers, and calls from other threads."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Events:
    """Runs everything that devices wait for in one thread."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        """FAILED is called, with the reason, when something that was registered raises an exception."""
        self._failed = failed
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._calls: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, READ)
        self._running = False
        self._thread: threading.Thread | None = None
        self._parked = threading.Event()
        self._go = threading.Event()
        self._go.set()

    def watch(self, fd: int, handler: Callable[[int], None], events: int = READ) -> None:
        """Call HANDLER(events) in the thread whenever FD is ready."""
        known = fd in self._handlers
        self._handlers[fd] = handler
        if known:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget FD. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def on_event(self, fd: int, action: Callable[[], None]) -> None:
        """Call ACTION when the eventfd FD was written to."""

        def handler(_: int) -> None:
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                return
            action()

        self.watch(fd, handler)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Call ACTION in the thread after a while."""
        with self._lock:
            heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), action))
        os.eventfd_write(self._wake, 1)

    def call(self, action: Callable[[], object]) -> None:
        """Call ACTION in the thread, soon."""
        with self._lock:
            self._calls.append(action)
        os.eventfd_write(self._wake, 1)

    def start(self) -> None:
        """Begin."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Let nothing happen until :meth:`resume`; returns when that is so."""
        self._go.clear()
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._parked.wait()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._parked.clear()
        self._go.set()

    def stop(self) -> None:
        """End the thread and wait for it, unless it is the caller."""
        self._running = False
        self._go.set()
        os.eventfd_write(self._wake, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._poll.close()
        os.close(self._wake)

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._failed(f"a device failed: {error!r}")
            raise
        finally:
            self._parked.set()

    def _loop(self) -> None:
        while self._running:
            if not self._go.is_set():
                self._parked.set()
                self._go.wait()
                continue
            for fd, events in self._poll.poll(self._timeout(), 16):
                if fd == self._wake:
                    os.eventfd_read(fd)
                    continue
                # An earlier handler of the batch may have dropped it.
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            self._due()

    def _timeout(self) -> float:
        with self._lock:
            if self._calls:
                return 0
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _due(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                calls.append(heapq.heappop(self._timers)[2])
        for action in calls:
            action()
