"""Devices of the VMM under drivers that keep to the rules, and the tables that a kernel finds."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.virtio import DATA, MEMORY, NEXT, WRITE, Driver

from trimaran.vm.vmm import acpi, boot, layout
from trimaran.vm.vmm.events import Events
from trimaran.vm.vmm.memory import HOLE_END, HOLE_START, GuestMemory, save
from trimaran.vm.vmm.serial import Serial
from trimaran.vm.vmm.virtio.balloon import Balloon
from trimaran.vm.vmm.virtio.block import Block, Limiter
from trimaran.vm.vmm.virtio.console import Console

GIB = 1 << 30
STATUS = DATA + 64


@pytest.fixture
def memory() -> GuestMemory:
    return GuestMemory(MEMORY)


class TestDisk:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "disk"
        path.write_bytes(b"d" * 64 * 1024)
        return path

    @pytest.fixture
    def disk(self, memory: GuestMemory, file: Path) -> Iterator[Driver]:
        device = Block(memory, str(file), read_only=False, serial="serial-of-the-disk-is-long")
        yield Driver(memory, device)
        device.close()

    @staticmethod
    def ask(disk: Driver, kind: int, sector: int, address: int, size: int, flags: int = 0) -> int:
        disk.memory.write(DATA, struct.pack("<IIQ", kind, 0, sector))
        disk.send(0, (DATA, 16, NEXT, 1), (address, size, flags | NEXT, 2), (STATUS, 1, WRITE, 0))
        return disk.memory.read(STATUS, 1)[0]

    def test_what_is_written_is_read(self, disk: Driver, file: Path) -> None:
        content = random.Random(1).randbytes(4096)
        disk.memory.write(DATA + 4096, content)
        assert self.ask(disk, 1, 8, DATA + 4096, 4096) == 0
        assert file.read_bytes() == b"d" * 4096 + content + b"d" * (56 * 1024)
        assert self.ask(disk, 0, 8, DATA + 8192, 4096, WRITE) == 0
        assert disk.memory.read(DATA + 8192, 4096) == content

    def test_its_size_and_serial_number(self, disk: Driver) -> None:
        assert disk.get(0x100) == 128
        assert self.ask(disk, 8, 0, DATA + 4096, 20, WRITE) == 0
        assert disk.memory.read(DATA + 4096, 20) == b"serial-of-the-disk-i"

    @pytest.mark.parametrize("kind", [11, 13])
    def test_discarded_sectors_read_as_zeros(self, disk: Driver, file: Path, kind: int) -> None:
        disk.memory.write(DATA + 4096, struct.pack("<QII", 8, 8, kind == 13))
        assert self.ask(disk, kind, 0, DATA + 4096, 16) == 0
        assert file.read_bytes() == b"d" * 4096 + bytes(4096) + b"d" * (56 * 1024)

    def test_a_limit_holds_requests_back_with_one_timer(self, memory: GuestMemory, file: Path) -> None:
        events = Events(pytest.fail)
        device = Block(memory, str(file), read_only=True, serial="", operations_limit=Limiter(20, 1))
        device.attach(events)
        driver = Driver(memory, device)
        memory.write(DATA, struct.pack("<IIQ", 4, 0, 0))
        driver.describe(0, (DATA, 16, NEXT, 1), (STATUS, 1, WRITE, 0))
        for _ in range(3):
            driver.offer(0)
        for _ in range(100):
            driver.notify(0)
        assert driver.used(0) == 1
        assert device.metrics["throttled"] == 1
        done = threading.Event()
        events.later(0.4, done.set)
        events.start()
        assert done.wait(5)
        events.stop()
        assert driver.used(0) == 3
        device.close()


class TestConsole:
    def test_its_ports_are_named_and_carry_bytes(self, memory: GuestMemory) -> None:
        near, far = socket.socketpair()
        device = Console(memory, [("agent", far.detach())])
        driver = Driver(memory, device)
        driver.describe(2, *[(DATA + 0x10000 + 256 * i, 256, WRITE, 0) for i in range(8)])
        for head in range(8):
            driver.offer(2, head)
        driver.memory.write(DATA, struct.pack("<IHH", 0, 0, 1))
        driver.send(3, (DATA, 8, 0, 0))
        assert memory.read(DATA + 0x10000, 8) == struct.pack("<IHH", 1, 1, 1)
        driver.memory.write(DATA, struct.pack("<IHH", 1, 3, 1))
        driver.offer(3)
        driver.notify(3)
        assert memory.read(DATA + 0x10100, 13) == struct.pack("<IHH", 1, 7, 1) + b"agent"
        assert memory.read(DATA + 0x10200, 8) == struct.pack("<IHH", 1, 6, 1)
        driver.memory.write(DATA + 4096, b"to the host")
        driver.send(5, (DATA + 4096, 11, 0, 0))
        assert near.recv(100) == b"to the host"
        near.send(b"to the guest")
        driver.describe(4, (DATA + 8192, 100, WRITE, 0))
        driver.offer(4)
        driver.transport.guard(lambda: device._receive(device.ports[0]))
        assert memory.read(DATA + 8192, 13) == b"to the guest\0"
        assert driver.written(4) == 12
        device.close()
        near.close()


def test_a_balloon_gives_pages_back(memory: GuestMemory) -> None:
    driver = Driver(memory, Balloon(memory))
    memory.write(DATA, b"x" * 8192)
    memory.write(DATA + 65536, struct.pack("<I", DATA // 4096))
    driver.send(0, (DATA + 65536, 4, 0, 0))
    assert not driver.broken
    assert memory.read(DATA, 8192) == bytes(4096) + b"x" * 4096


def test_state_survives_saving(memory: GuestMemory) -> None:
    driver = Driver(memory, Balloon(memory))
    driver.send(1, (DATA, 4, 0, 0))
    state = driver.transport.save()
    clone = Driver(memory, Balloon(memory), queues=0)
    clone.transport.restore(state)
    assert clone.transport.save() == state
    clone.made = driver.made
    clone.offer(1)
    clone.notify(1)
    assert clone.used(1) == 2


class TestSerial:
    def test_a_full_pipe_loses_output_and_holds_nobody_up(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        raised: list[int] = []
        serial = Serial(write, lambda: raised.append(1))
        for _ in range(70000):
            serial.write(0, b"x")
        assert len(os.read(read, 1 << 20)) == 65536
        serial.write(1, b"\2")
        assert raised == [1]
        assert serial.read(2, 1)[0] & 15 == 2
        assert serial.read(2, 1)[0] & 15 == 1
        os.close(read)
        os.close(write)

    def test_the_divisor_is_not_data(self) -> None:
        serial = Serial(-1, lambda: None)
        serial.write(3, b"\x80")
        serial.write(0, b"\x01")
        assert serial.read(0, 1) == b"\x01"
        serial.write(3, b"\x03")
        assert serial.read(0, 1) == b"\0"


@pytest.mark.parametrize(("cpus", "devices"), [(1, 0), (4, 3), (32, layout.MAX_DEVICES)])
def test_acpi_tables_have_checksums_and_fit(cpus: int, devices: int) -> None:
    data, rsdp = acpi.tables(cpus, range(devices), layout.ACPI)
    assert len(data) <= layout.ACPI_SIZE
    assert rsdp == layout.ACPI
    assert data[:8] == b"RSD PTR "
    assert sum(data[:20]) & 0xFF == sum(data[:36]) & 0xFF == 0

    def table(address: int) -> bytes:
        at = address - layout.ACPI
        content = data[at : at + int.from_bytes(data[at + 4 : at + 8], "little")]
        assert sum(content) & 0xFF == 0
        return content

    xsdt = table(int.from_bytes(data[24:32], "little"))
    fadt, madt = (table(address) for (address,) in struct.iter_unpack("<Q", xsdt[36:]))
    dsdt = table(int.from_bytes(fadt[140:148], "little"))
    assert (fadt[:4], madt[:4], dsdt[:4]) == (b"FACP", b"APIC", b"DSDT")
    assert len(madt) == 44 + 8 * cpus + 12
    assert dsdt.count(b"LNRO0005") == devices


@pytest.mark.parametrize("size", [64 << 20, 3 * GIB, 3 * GIB + 4096, 8 * GIB])
def test_the_memory_map_spares_the_devices(size: int) -> None:
    entries = boot.memory_map(size)
    usable = [(start, start + length) for start, length, kind in entries if kind == 1]
    assert sum(end - start for start, end in usable) == size - (layout.KERNEL - 0x9FC00)
    assert all(end <= HOLE_START or start >= HOLE_END for start, end in usable)


def test_saved_memory_has_holes_and_is_mapped_privately(memory: GuestMemory, tmp_path: Path) -> None:
    memory.write(DATA, b"content")
    path = tmp_path / "memory"
    save(memory, str(path))
    assert path.stat().st_size == MEMORY
    assert path.stat().st_blocks * 512 <= 2 << 20
    with open(path, "rb") as file:
        clone = GuestMemory(MEMORY, file.fileno())
    assert clone.read(DATA, 7) == b"content"
    clone.write(DATA, b"changed")
    assert path.read_bytes()[DATA : DATA + 7] == b"content"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_device_that_fails_ends_the_machine() -> None:
    reasons: list[str] = []
    ended = threading.Event()

    def failed(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    def broken() -> None:
        raise SystemExit

    events = Events(failed)
    events.call(broken)
    events.start()
    assert ended.wait(5)
    events.pause()
    events.stop()
    assert reasons == ["a device failed: SystemExit()"]
