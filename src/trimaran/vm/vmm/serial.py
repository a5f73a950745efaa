"""A 16550A serial port, as far as Linux's 8250 driver wants one: what the guest writes goes to a descriptor.

The guest can write without end, so the descriptor's reader decides what is kept; a full pipe loses output
rather than holding the guest up.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_DATA, _IER, _IIR_FCR, _LCR, _MCR, _LSR, _MSR, _SCRATCH = range(8)
_DLAB = 0x80
_IER_THRE = 0x02
_IIR_NONE, _IIR_THRE = 0x01, 0x02
_FIFO_ENABLED = 0xC0
_LSR_EMPTY = 0x60
_MSR_READY = 0xB0


class Serial:
    """The registers. ``interrupt`` is called when the guest is to look."""

    def __init__(self, output: int, interrupt: Callable[[], None]) -> None:
        self._output = output
        self._interrupt = interrupt
        self._registers = bytearray(8)
        self._divisor = bytearray((12, 0))
        self._pending = False

    def read(self, offset: int, size: int) -> bytes:
        """See :class:`trimaran.vm.vmm.bus.Registers`."""
        value = self._registers[offset & 7]
        if offset < 2 and self._registers[_LCR] & _DLAB:
            value = self._divisor[offset]
        elif offset == _DATA:
            value = 0
        elif offset == _IIR_FCR:
            value = _FIFO_ENABLED | (_IIR_THRE if self._pending else _IIR_NONE)
            self._pending = False
        elif offset == _LSR:
            value = _LSR_EMPTY
        elif offset == _MSR:
            value = _MSR_READY
        return bytes([value]).ljust(size, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`trimaran.vm.vmm.bus.Registers`."""
        value = data[0]
        if offset < 2 and self._registers[_LCR] & _DLAB:
            self._divisor[offset] = value
        elif offset == _DATA:
            self._send(value)
        elif offset in (_IER, _LCR, _MCR, _SCRATCH):
            self._registers[offset] = value
            if offset == _IER and value & _IER_THRE:
                self._raise()

    def _send(self, value: int) -> None:
        try:
            os.write(self._output, bytes([value]))
        except (BlockingIOError, BrokenPipeError):
            self._registers[_DATA] = 0
        if self._registers[_IER] & _IER_THRE:
            self._raise()

    def _raise(self) -> None:
        self._pending = True
        self._interrupt()

    def save(self) -> bytes:
        """The state for a snapshot."""
        return bytes(self._registers) + bytes(self._divisor)

    def restore(self, state: bytes) -> None:
        """What :meth:`save` gave."""
        self._registers[:], self._divisor[:] = state[:8], state[8:10]


class ResetPort:
    """The keyboard controller's port 0x64, where the guest asks for a reset (``reboot=k``)."""

    def __init__(self, reset: Callable[[str], None]) -> None:
        self._reset = reset

    def read(self, offset: int, size: int) -> bytes:
        """Nothing is waiting."""
        return bytes(size)

    def write(self, offset: int, data: bytes) -> None:
        """Command 0xFE pulses the CPU's reset line."""
        if offset == 4 and data[0] == 0xFE:
            self._reset("reset")
