"""Questions about network interfaces (netdevice(7))."""

from __future__ import annotations

import _socket
import errno as E
import fcntl
import struct

from trimaran.linux import _sys
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.task import Task

SIOCGIFCONF = 0x8912
ASKED = frozenset((0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942))
IFREQ = 40
LIMIT = 64


def interface_ioctl(task: Task, command: int, argument: int) -> int:
    """Answer SIOCGIF* for the sandbox's own network namespace. Raises Fail(ENOTTY) for anything else."""
    if command == SIOCGIFCONF:
        return _list(task, argument)
    if command not in ASKED:
        raise Fail(E.EPERM if 0x8900 <= command < 0x8A00 else E.ENOTTY)
    request = _sys.vm_read(task.tid, argument, IFREQ)
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(probe.fileno(), command, request)
    finally:
        probe.close()
    task.process.kernel.put(task, argument, answer)
    return 0


def _list(task: Task, argument: int) -> int:
    size, pointer = struct.unpack("=i4xQ", _sys.vm_read(task.tid, argument, 16))
    records = bytearray()
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        for _index, name in _socket.if_nameindex()[:LIMIT]:
            try:
                records += fcntl.ioctl(probe.fileno(), 0x8915, name.encode().ljust(IFREQ, b"\0"))
            except OSError:
                continue
    finally:
        probe.close()
    if pointer:
        records = records[: max(0, size) // IFREQ * IFREQ]
        task.process.kernel.put(task, pointer, bytes(records))
    task.process.kernel.put(task, argument, struct.pack("=i", len(records)))
    return 0
