"""V1: a hostile driver in the guest. Every device refuses, stops until reset, and touches nothing else."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.virtio import DATA, INDIRECT, MEMORY, NEXT, WRITE, Descriptor, Driver

from trimaran.vm.vmm.memory import GuestFault, GuestMemory
from trimaran.vm.vmm.virtio.balloon import Balloon
from trimaran.vm.vmm.virtio.block import Block
from trimaran.vm.vmm.virtio.console import Console
from trimaran.vm.vmm.virtio.device import Device
from trimaran.vm.vmm.virtio.net import Net
from trimaran.vm.vmm.virtio.rng import Rng

PAGE = 4096
SECTORS = 16


@pytest.fixture
def memory() -> GuestMemory:
    return GuestMemory(MEMORY)


@pytest.fixture
def rng(memory: GuestMemory) -> Driver:
    return Driver(memory, Rng(memory))


@pytest.fixture
def disk_file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"".join(bytes([number]) * 512 for number in range(SECTORS)))
    return path


@pytest.fixture
def disk(memory: GuestMemory, disk_file: Path) -> Iterator[Driver]:
    device = Block(memory, str(disk_file), read_only=True, serial="one")
    yield Driver(memory, device)
    device.close()


def request(kind: int, sector: int) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([(DATA, 16, WRITE | NEXT, 0)], id="a loop of one"),
        pytest.param([(DATA, 16, WRITE | NEXT, 1), (DATA, 16, WRITE | NEXT, 0)], id="a loop of two"),
        pytest.param([(DATA, 0, WRITE | NEXT, 0)], id="a loop of nothing"),
        pytest.param([(DATA, 16, WRITE | NEXT, 8)], id="a descriptor beyond the table"),
        pytest.param([(DATA, 16, WRITE | NEXT, 0xFFFF)], id="a descriptor far beyond the table"),
        pytest.param([(MEMORY, 16, WRITE, 0)], id="an address after the memory"),
        pytest.param([(MEMORY - 8, 16, WRITE, 0)], id="a part that runs out of the memory"),
        pytest.param([(2**64 - 8, 16, WRITE, 0)], id="an address that wraps"),
        pytest.param([(0xD0000000, 16, WRITE, 0)], id="a device's registers"),
        pytest.param([(0, 2**32 - 1, WRITE, 0)], id="a huge length"),
        pytest.param([(DATA, 16, INDIRECT, 0)], id="an indirect table, which was not offered"),
        pytest.param([(DATA, 16, INDIRECT | NEXT, 0)], id="an indirect loop"),
        pytest.param([(DATA, 16, WRITE | NEXT, 1), (DATA, 16, 0, 0)], id="readable after writable"),
    ],
)
def test_a_chain_that_cannot_be_stops_the_device(rng: Driver, chain: list[Descriptor]) -> None:
    before = rng.memory.read(0, DATA)
    rng.describe(0, *chain)
    rng.offer(0)
    expected = rng.memory.read(0, DATA)
    rng.notify(0)
    assert rng.broken
    assert rng.memory.read(0, DATA) == expected != before
    rng.send(0, (DATA, 16, WRITE, 0))
    assert not any(rng.memory.read(DATA, 16))


def test_a_device_works_again_after_a_reset(rng: Driver) -> None:
    rng.send(0, (MEMORY, 16, WRITE, 0))
    assert rng.broken
    rng.set(0x70, 0)
    rng.memory.write(rng.rings(0)[1], bytes(64))
    again = Driver(rng.memory, rng.transport.device)
    again.send(0, (DATA, 16, WRITE, 0))
    assert not again.broken
    assert any(rng.memory.read(DATA, 16))


@pytest.mark.parametrize("offset", [0x38, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4, 0x44])
def test_an_active_queue_cannot_be_moved(rng: Driver, offset: int) -> None:
    """CVE-2026-5747."""
    rng.set(0x30, 0)
    for value in (0, 1, 3, 0x7FFF0000, 0xFFFFFFFF):
        rng.set(offset, value)
    rng.send(0, (DATA, 16, WRITE, 0))
    assert not rng.broken
    assert rng.used(0) == 1
    assert any(rng.memory.read(DATA, 16))


def test_a_ready_queue_cannot_be_moved_before_the_device_starts(memory: GuestMemory) -> None:
    driver = Driver(memory, Rng(memory), queues=0)
    driver.set(0x70, 0)
    for status in (1, 3, 11):
        driver.set(0x70, status)
    driver.make_queue(0)
    for offset in (0x80, 0x90, 0xA0, 0x84, 0x94, 0xA4):
        driver.set(offset, 0xFFFFFFF0)
    driver.set(0x38, 0x8000)
    driver.set(0x70, 15)
    driver.send(0, (DATA, 16, WRITE, 0))
    assert driver.used(0) == 1


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        *[(0x38, size) for size in (0, 3, 512, 0x10000, 0xFFFFFFFF)],
        *[(low, MEMORY - 2) for low in (0x90, 0xA0)],
        *[(low, 0xFFFFFFF0) for low in (0x80, 0x90, 0xA0)],
        *[(high, 0xFFFFFFFF) for high in (0x84, 0x94, 0xA4)],
        *[(0x80, 8), (0x90, 1), (0xA0, 2)],
    ],
)
def test_a_queue_that_cannot_be_is_refused(memory: GuestMemory, offset: int, value: int) -> None:
    driver = Driver(memory, Rng(memory), queues=0)
    driver.set(0x70, 0)
    for status in (1, 3, 11):
        driver.set(0x70, status)
    driver.set(0x38, 8)
    for register, address in zip((0x80, 0x90, 0xA0), driver.rings(0), strict=True):
        driver.set(register, address)
    driver.set(offset, value)
    driver.set(0x44, 1)
    assert driver.get(0x44) == 0
    assert driver.broken


def test_more_requests_than_the_queue_holds_are_refused(rng: Driver) -> None:
    rng.describe(0, (DATA, 16, WRITE, 0))
    rng.offer(0, count=9)
    rng.notify(0)
    assert rng.broken
    assert rng.used(0) == 0


def test_what_one_notification_causes_is_bounded(rng: Driver) -> None:
    rng.describe(0, (DATA, 1 << 20, WRITE, 0))
    for _ in range(8):
        rng.offer(0)
    rng.notify(0)
    assert rng.used(0) == 8
    assert rng.written(0) == PAGE
    assert rng.interrupts == 1
    for _ in range(1000):
        rng.notify(0)
    assert rng.interrupts == 1


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("offset", [0, 0x50, 0x70, 0xFC, 0x100, 0x1FC, 0xFF8, 0xFFF])
def test_registers_take_any_width(rng: Driver, offset: int, size: int) -> None:
    rng.transport.write(offset, b"\xff" * size)
    assert len(rng.transport.read(offset, size)) == size


def test_notifying_a_device_without_queues_does_nothing(memory: GuestMemory) -> None:
    near, far = socket.socketpair()
    with near:
        console = Console(memory, [("agent", far.detach())])
        devices: list[Device] = [Rng(memory), Balloon(memory), console]
        for device in devices:
            driver = Driver(memory, device, queues=0)
            for number in (*range(len(device.queues) + 2), 0xFFFFFFFF):
                driver.notify(number)
            assert not driver.broken
            assert driver.interrupts == 0
        console.close()


class TestDisk:
    def test_reads_what_is_there(self, disk: Driver) -> None:
        disk.memory.write(DATA, request(0, 3))
        disk.send(0, (DATA, 16, NEXT, 1), (DATA + PAGE, 1024, WRITE | NEXT, 2), (DATA + 64, 1, WRITE, 0))
        assert disk.memory.read(DATA + PAGE, 1024) == b"\3" * 512 + b"\4" * 512
        assert disk.memory.read(DATA + 64, 1) == b"\0"

    @pytest.mark.parametrize("sector", [SECTORS, SECTORS - 1, 2**55, 2**64 - 1])
    def test_nothing_beyond_its_end(self, disk: Driver, sector: int) -> None:
        disk.memory.write(DATA, request(0, sector))
        disk.send(0, (DATA, 16, NEXT, 1), (DATA + PAGE, 1024, WRITE | NEXT, 2), (DATA + 64, 1, WRITE, 0))
        assert disk.memory.read(DATA + 64, 1) == b"\1"
        assert not any(disk.memory.read(DATA + PAGE, 1024))

    @pytest.mark.parametrize("kind", [1, 11, 13])
    def test_read_only_is_the_hosts_word(self, disk: Driver, disk_file: Path, kind: int) -> None:
        before = disk_file.read_bytes()
        disk.memory.write(DATA, request(kind, 0))
        disk.memory.write(DATA + PAGE, struct.pack("<QII", 0, 1, 1).ljust(512, b"x"))
        disk.send(0, (DATA, 16, NEXT, 1), (DATA + PAGE, 512, NEXT, 2), (DATA + 64, 1, WRITE, 0))
        assert disk.memory.read(DATA + 64, 1) == b"\1"
        assert disk_file.read_bytes() == before

    @pytest.mark.parametrize(
        "chain",
        [
            [(DATA, 16, 0, 0)],
            [(DATA, 15, NEXT, 1), (DATA + 64, 1, WRITE, 0)],
            [(DATA + 64, 1, WRITE, 0)],
            [(DATA, 16, NEXT, 1), (DATA + 64, 0, WRITE, 0)],
        ],
    )
    def test_an_incomplete_request_is_given_back(self, disk: Driver, chain: list[Descriptor]) -> None:
        disk.send(0, *chain)
        assert disk.used(0) == 1
        assert disk.written(0) == 0

    def test_a_kind_that_is_not_known(self, memory: GuestMemory, disk_file: Path) -> None:
        device = Block(memory, str(disk_file), read_only=False, serial="")
        driver = Driver(memory, device)
        memory.write(DATA, request(77, 0))
        driver.send(0, (DATA, 16, NEXT, 1), (DATA + 64, 1, WRITE, 0))
        assert memory.read(DATA + 64, 1) == b"\2"
        device.close()


def test_a_balloon_takes_no_page_outside_the_memory(memory: GuestMemory) -> None:
    driver = Driver(memory, Balloon(memory))
    memory.write(DATA, b"keep")
    memory.write(DATA - PAGE, struct.pack("<II", 0xFFFFFFFF, DATA // PAGE))
    driver.send(0, (DATA - PAGE, 8, 0, 0))
    assert driver.broken
    assert memory.read(DATA, 4) == b"keep"


def test_a_reported_page_must_be_a_whole_one(memory: GuestMemory) -> None:
    driver = Driver(memory, Balloon(memory))
    memory.write(DATA, b"x" * 3 * PAGE)
    driver.send(2, (DATA + 1, PAGE, WRITE | NEXT, 1), (DATA + PAGE, PAGE, WRITE, 0))
    assert memory.read(DATA, 3 * PAGE) == b"x" * PAGE + bytes(PAGE) + b"x" * PAGE


class TestNetwork:
    """A datagram socket stands for the TAP."""

    @pytest.fixture
    def network(self, memory: GuestMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Driver, Net]]:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        monkeypatch.setattr("trimaran.vm.vmm.virtio.net.fcntl.ioctl", lambda *_: 0)
        device = Net(memory, far.detach(), b"\2\0\0\0\0\1")
        near.setblocking(False)
        self.near = near
        yield Driver(memory, device), device
        device.close()
        near.close()

    @pytest.mark.parametrize("chain", [[(DATA, 64, 0, 0)], [(DATA, 4, WRITE, 0)], [(DATA, 0, WRITE, 0)]])
    def test_a_buffer_without_room(self, network: tuple[Driver, Net], chain: list[Descriptor]) -> None:
        driver, device = network
        self.near.send(b"p" * 100)
        driver.describe(0, *chain)
        driver.offer(0)
        driver.transport.guard(device._receive)
        assert driver.broken

    @pytest.mark.parametrize("size", [0, 12, 70000])
    def test_a_packet_that_cannot_be_is_dropped(self, network: tuple[Driver, Net], size: int) -> None:
        driver, device = network
        driver.send(1, (DATA, size, 0, 0))
        assert device.metrics["dropped"] == 1
        assert driver.used(1) == 1
        with pytest.raises(BlockingIOError):
            self.near.recv(100)


class TestConsole:
    @pytest.fixture
    def console(self, memory: GuestMemory) -> Iterator[tuple[Driver, Console, socket.socket]]:
        near, far = socket.socketpair()
        device = Console(memory, [("agent", far.detach())])
        near.settimeout(5)
        yield Driver(memory, device), device, near
        device.close()
        near.close()

    def test_a_driver_that_takes_no_messages_has_few_kept(
        self, console: tuple[Driver, Console, socket.socket]
    ) -> None:
        driver, device, _ = console
        driver.memory.write(DATA, struct.pack("<IHH", 0, 0, 1))
        driver.describe(3, (DATA, 8, 0, 0))
        for _ in range(1000):
            driver.offer(3)
            driver.notify(3)
        assert len(device._control) <= 64

    def test_more_than_a_port_takes_at_once(self, console: tuple[Driver, Console, socket.socket]) -> None:
        driver, _, _ = console
        driver.send(5, (DATA, 2 << 20, 0, 0))
        assert driver.broken

    def test_input_without_room(self, console: tuple[Driver, Console, socket.socket]) -> None:
        driver, device, near = console
        near.send(b"x")
        driver.describe(4, (DATA, 16, 0, 0))
        driver.offer(4)
        driver.transport.guard(lambda: device._receive(device.ports[0]))
        assert driver.broken

    def test_output_waits_for_the_reader(self, console: tuple[Driver, Console, socket.socket]) -> None:
        driver, _, near = console
        content = os.urandom(1 << 20)
        driver.memory.write(DATA, content)
        driver.describe(5, (DATA, 1 << 20, 0, 0))
        driver.offer(5)
        driver.offer(5)
        driver.notify(5)
        assert driver.used(5) == 1
        received = b""
        while len(received) < 2 << 20:
            received += near.recv(1 << 16)
            driver.notify(5)
        assert received == content * 2


def test_memory_outside_is_never_given(memory: GuestMemory) -> None:
    for address, length in ((MEMORY, 1), (MEMORY - 1, 2), (2**64 - 1, 1), (0, MEMORY + 1)):
        with pytest.raises(GuestFault):
            memory.view(address, length)
        with pytest.raises(GuestFault):
            memory.discard(address, length)


def test_garbage_in_rings_and_registers(memory: GuestMemory, tmp_path: Path) -> None:
    """Nothing but a stopped device comes of it, and the disk's file stays as it is."""
    file = tmp_path / "disk"
    file.write_bytes(b"d" * 8192)
    near, far = socket.socketpair()
    disk = Block(memory, str(file), read_only=True, serial="x")
    console = Console(memory, [("agent", far.detach())])
    rounds = 20000 if os.environ.get("TRIMARAN_SOAK") else 400
    stopped = 0
    chance = random.Random(9)
    for device in (Rng(memory), Balloon(memory), disk, console):
        for _ in range(rounds):
            driver = Driver(memory, device)
            for queue in range(len(device.queues)):
                for ring in driver.rings(queue):
                    memory.write(ring, chance.randbytes(64))
                if chance.random() < 0.8:  # else the index shows more requests than there can be
                    used = device.queues[queue].save()["next_available"]
                    memory.write(driver.rings(queue)[1] + 2, struct.pack("<H", used + chance.randrange(9)))
                table = [
                    (
                        chance.randrange(MEMORY + PAGE),
                        chance.randrange(300),
                        chance.choice((0, 1, 2, 3, 4)),
                        1,
                    )
                    for _ in range(8)
                ]
                driver.describe(queue, *table)
                driver.notify(queue)
            stopped += driver.broken
            for _ in range(4):
                driver.set(chance.randrange(0, 0x200, 4), chance.getrandbits(32))
            driver.set(0x70, 0)
    assert 0 < stopped < 4 * rounds
    assert file.read_bytes() == b"d" * 8192
    disk.close()
    console.close()
    near.close()
