"""The ACPI tables of a machine (ACPI specification 6.4): pure. It has no fixed hardware but its devices.

The kernel finds virtio-mmio devices (``LNRO0005``) and the serial port in the DSDT, its CPUs in the MADT.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from trimaran.vm.vmm import layout

_OEM = b"TRIMRN"
_TABLE_ID = b"TRIMARAN"
_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_HW_REDUCED = 1 << 20
_PM_ENABLED = 1


def tables(cpus: int, devices: Sequence[int], address: int) -> tuple[bytes, int]:
    """(all tables, the RSDP's address) to be put at ADDRESS; DEVICES are the slots in use."""
    dsdt = _table(b"DSDT", 2, _dsdt(devices))
    madt = _table(b"APIC", 4, _madt(cpus))
    at_dsdt = address + 64
    at_madt = _aligned(at_dsdt + len(dsdt))
    at_fadt = _aligned(at_madt + len(madt))
    fadt = _table(b"FACP", 6, _fadt(at_dsdt))
    at_xsdt = _aligned(at_fadt + len(fadt))
    xsdt = _table(b"XSDT", 1, struct.pack("<QQ", at_fadt, at_madt))
    result = bytearray(at_xsdt + len(xsdt) - address)
    parts = ((address, _rsdp(at_xsdt)), (at_dsdt, dsdt), (at_madt, madt), (at_fadt, fadt), (at_xsdt, xsdt))
    for at, part in parts:
        result[at - address : at - address + len(part)] = part
    return bytes(result), address


def _aligned(address: int) -> int:
    return address + 15 & ~15


def _checksum(data: bytes | bytearray) -> int:
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    size = _HEADER.size + len(body)
    data = bytearray(_HEADER.pack(signature, size, revision, 0, _OEM, _TABLE_ID, 1, b"TRIM", 1) + body)
    data[9] = _checksum(data)
    return bytes(data)


def _rsdp(xsdt: int) -> bytes:
    data = bytearray(struct.pack("<8sB6sBIIQBxxx", b"RSD PTR ", 0, _OEM, 2, 0, 36, xsdt, 0))
    data[8] = _checksum(data[:20])
    data[32] = _checksum(data)
    return bytes(data)


def _fadt(dsdt: int) -> bytes:
    body = bytearray(276 - _HEADER.size)
    struct.pack_into("<I", body, 112 - 36, _HW_REDUCED | 1 << 4 | 1 << 5)  # no power or sleep button
    struct.pack_into("<H", body, 109 - 36, 1 << 2 | 1 << 3)  # boot architecture: no VGA, no MSI promise
    struct.pack_into("<Q", body, 140 - 36, dsdt)
    body[131 - 36] = 5
    struct.pack_into("<8s", body, 268 - 36, b"TRIMARAN")
    return bytes(body)


def _madt(cpus: int) -> bytes:
    body = struct.pack("<II", layout.LOCAL_APIC, 0)
    for cpu in range(cpus):
        body += struct.pack("<BBBBI", 0, 8, cpu, cpu, _PM_ENABLED)
    body += struct.pack("<BBBBII", 1, 12, 0, 0, layout.IO_APIC, 0)
    return body


def _package_length(size: int) -> bytes:
    """A length that counts itself (section 20.2.4)."""
    if size + 1 < 0x40:
        return bytes([size + 1])
    total = size + 2
    if total < 0x1000:
        return bytes([0x40 | total & 0xF, total >> 4])
    total = size + 3
    return bytes([0x80 | total & 0xF, total >> 4 & 0xFF, total >> 12])


def _name(name: bytes, value: bytes) -> bytes:
    return b"\x08" + name + value


def _integer(value: int) -> bytes:
    return b"\x0c" + struct.pack("<I", value)


def _string(text: bytes) -> bytes:
    return b"\x0d" + text + b"\0"


def _resources(*descriptors: bytes) -> bytes:
    content = b"".join(descriptors) + b"\x79\0"
    size = b"\x0b" + struct.pack("<H", len(content))
    return b"\x11" + _package_length(len(size) + len(content)) + size + content


def _device(name: bytes, *objects: bytes) -> bytes:
    body = name + b"".join(objects)
    return b"\x5b\x82" + _package_length(len(body)) + body


def _interrupt(line: int) -> bytes:
    """Edge-triggered, active high, exclusive (section 6.4.3.6)."""
    return struct.pack("<BHBBI", 0x89, 6, 0x03, 1, line)


def _dsdt(devices: Sequence[int]) -> bytes:
    parts = [
        _device(
            b"COM1",
            _name(b"_HID", _integer(0x0105D041)),  # EISA id PNP0501
            _name(b"_UID", _integer(0)),
            _name(
                b"_CRS",
                _resources(
                    struct.pack("<BBHHBB", 0x47, 1, layout.SERIAL_PORT, layout.SERIAL_PORT, 1, 8),
                    _interrupt(layout.SERIAL_INTERRUPT),
                ),
            ),
        )
    ]
    for slot in devices:
        memory = struct.pack("<BHBII", 0x86, 9, 1, layout.device_address(slot), layout.MMIO_SLOT)
        parts.append(
            _device(
                b"V%03d" % slot,
                _name(b"_HID", _string(b"LNRO0005")),
                _name(b"_UID", _integer(slot)),
                _name(b"_CCA", b"\x01"),
                _name(b"_CRS", _resources(memory, _interrupt(layout.device_interrupt(slot)))),
            )
        )
    body = b"_SB_" + b"".join(parts)
    return b"\x10" + _package_length(len(body)) + body
