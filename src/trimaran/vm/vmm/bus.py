"""Who answers at which address: registers of devices, in memory or at ports."""

from __future__ import annotations

import threading
from typing import Protocol


class Registers(Protocol):
    """A device's registers; offsets count from where it was put."""

    def read(self, offset: int, size: int) -> bytes:
        """SIZE bytes."""

    def write(self, offset: int, data: bytes) -> None:
        """Write DATA."""


class AddressBus:
    """Devices by address. CPUs come from several threads: one access at a time."""

    def __init__(self) -> None:
        self._devices: list[tuple[int, int, Registers]] = []
        self._lock = threading.Lock()

    def add(self, start: int, size: int, device: Registers) -> None:
        """Let DEVICE answer for SIZE bytes from START."""
        self._devices.append((start, start + size, device))

    def read(self, address: int, size: int) -> bytes:
        """What the device there answers; ones where there is none."""
        for start, end, device in self._devices:
            if start <= address < end:
                with self._lock:
                    answer = device.read(address - start, size)
                return answer[:size].ljust(size, b"\0")
        return b"\xff" * size

    def write(self, address: int, data: bytes) -> None:
        """Tell the device there; nothing happens where there is none."""
        for start, end, device in self._devices:
            if start <= address < end:
                with self._lock:
                    device.write(address - start, data)
                return
