"""Where things are in the guest's physical address space, and which interrupt lines there are."""

from __future__ import annotations

GDT = 0x500
START_INFO = 0x6000
ZERO_PAGE = 0x7000
PAGE_TABLES = 0x9000
COMMAND_LINE = 0x20000
COMMAND_LINE_SIZE = 0x1000
MEMORY_MAP = 0x22000
MODULES = 0x23000
ACPI = 0xE0000
ACPI_SIZE = 0x20000
KERNEL = 0x100000

MMIO = 0xD000_0000
MMIO_SLOT = 0x1000
FIRST_INTERRUPT = 5
MAX_DEVICES = 19  # lines 5 to 23 of the I/O APIC

LOCAL_APIC = 0xFEE0_0000
IO_APIC = 0xFEC0_0000
SERIAL_PORT = 0x3F8
SERIAL_INTERRUPT = 4


def device_address(slot: int) -> int:
    """Where a virtio device's registers are."""
    return MMIO + slot * MMIO_SLOT


def device_interrupt(slot: int) -> int:
    """The line that a virtio device raises."""
    return FIRST_INTERRUPT + slot
