"""Which process a PID means: PIDs are used again, their start times are not (proc(5), pidfd_open(2))."""

from __future__ import annotations

import os

from trimaran.linux import _sys


def start_time(pid: int) -> int | None:
    """When it started, in clock ticks since boot (proc(5), stat, field 22); None if it is gone or dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, started: int) -> bool:
    """Whether the process that had this PID and start time still runs."""
    return pid > 0 and start_time(pid) == started


def open_pidfd(pid: int, started: int) -> int | None:
    """A descriptor of that very process; None if it is gone."""
    if pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Looked at after the descriptor was made, the start time speaks of the process behind it.
    if start_time(pid) == started:
        return pidfd
    os.close(pidfd)
    return None


def signal(pid: int, started: int, number: int) -> bool:
    """Send a signal to that very process; False if it is gone. Raises OSError (EINVAL, EPERM)."""
    pidfd = open_pidfd(pid, started)
    if pidfd is None:
        return False
    try:
        _sys.send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def wait_gone(pid: int, started: int, seconds: float | None = None) -> bool:
    """Wait until that very process has ended; False if ``seconds`` ran out before."""
    import select

    pidfd = open_pidfd(pid, started)
    if pidfd is None:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else int(seconds * 1000)))
    finally:
        os.close(pidfd)
