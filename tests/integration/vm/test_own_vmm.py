"""Tiny guests of hand-written machine code (32-bit, flat) under the VMM of our own, on /dev/kvm."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimaran.errors import Conflict, GuestError, InvalidInput
from trimaran.vm.machine import MachineSpec
from trimaran.vm.vmm import layout, snapshot
from trimaran.vm.vmm.boot import Entry
from trimaran.vm.vmm.config import MachineConfig, make
from trimaran.vm.vmm.driver import KvmHypervisor, KvmMachine
from trimaran.vm.vmm.machine import VirtualMachine
from trimaran.vm.vmm.vcpu import accept_kicks

pytestmark = pytest.mark.root

CODE = 0x10000
COUNTER = 0x2000
MEMORY = 16 << 20
SECONDS = 20

SERIAL = b"\x66\xba\xf8\x03"  # mov dx, 0x3f8
RESET = b"\xb0\xfe\xe6\x64"  # mov al, 0xfe; out 0x64, al
HALT = b"\xf4\xeb\xfd"  # hlt; jmp back
CRASH = b"\x0f\x0b"  # ud2, without an interrupt table: a triple fault
# eax's four bytes to the serial port: mov ecx, 4; out dx, al; shr eax, 8; loop
SEND_EAX = b"\xb9\4\0\0\0\xee\xc1\xe8\x08\xe2\xfa"


def say(text: bytes) -> bytes:
    return SERIAL + b"".join(b"\xb0" + bytes([byte]) + b"\xee" for byte in text)


def load_eax(address: int) -> bytes:
    return b"\xa1" + struct.pack("<I", address)


def store(address: int, value: int) -> bytes:
    return b"\xc7\x05" + struct.pack("<II", address, value)


_PROBE = f"""
import os, sys
sys.path.insert(0, os.getcwd())
from tests.integration.vm.test_own_vmm import *
accept_kicks()
machine = make(MachineConfig(memory=MEMORY, balloon=False), os.open(os.devnull, os.O_WRONLY))
machine.memory.write(CODE, RESET + HALT)
machine.vcpus[0].prepare(Entry(CODE, False, 0))
machine.start()
os._exit(0 if machine.wait({SECONDS}) and machine.ended.reason == "reset" else 1)
"""


@pytest.fixture(scope="module")
def kvm() -> None:
    """Skips where no guest runs at all; asked in a process of its own, as a broken KVM may never return."""
    if os.uname().machine != "x86_64":
        pytest.skip("needs x86-64: the guests are made of its machine code")
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"needs /dev/kvm: {error.strerror}")
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("needs KVM that runs guests: a guest of four bytes did not end")
    if "ioctl" in done.stderr or "OSError" in done.stderr:
        pytest.skip(f"needs KVM that runs guests: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


class Guest:
    """Runs machine code; ``output`` is what it sent."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.machines: list[VirtualMachine] = []
        accept_kicks()

    def make(self, code: bytes, **config: object) -> VirtualMachine:
        machine = make(MachineConfig(**{"memory": MEMORY, "balloon": False, **config}), self._write)
        self.machines.append(machine)
        machine.memory.write(CODE, code)
        machine.vcpus[0].prepare(Entry(CODE, False, 0))
        return machine

    def load(self, directory: Path) -> VirtualMachine:
        machine = snapshot.load(MachineConfig(balloon=False), self._write, str(directory))
        self.machines.append(machine)
        return machine

    def run(self, code: bytes) -> str:
        machine = self.make(code)
        machine.start()
        assert machine.wait(SECONDS), "the guest did not end"
        return machine.ended.reason

    def output(self) -> bytes:
        received = b""
        while select.select([self._read], [], [], 0)[0]:
            received += os.read(self._read, 1 << 16)
        return received

    def close(self) -> None:
        for machine in self.machines:
            machine.stop()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def guest(kvm: None) -> Iterator[Guest]:
    made = Guest()
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def counter(machine: VirtualMachine) -> int:
    return int.from_bytes(machine.memory.read(COUNTER, 4), "little")


def test_what_a_guest_says_and_how_it_ends(guest: Guest) -> None:
    assert guest.run(say(b"hello") + RESET + HALT) == "reset"
    assert guest.output() == b"hello"


def test_a_triple_fault_ends_the_guest(guest: Guest) -> None:
    assert guest.run(say(b"x") + CRASH) == "reset"


def test_a_guest_that_halts_can_be_stopped(guest: Guest) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    machine = guest.make(say(b"h") + HALT)
    machine.start()
    assert not machine.wait(0.2)
    begin = time.monotonic()
    guest.machines.remove(machine)
    machine.stop()
    assert time.monotonic() - begin < SECONDS
    assert guest.output() == b"h"
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_guest_reads_a_virtio_devices_registers(guest: Guest) -> None:
    registers = layout.device_address(0)
    code = SERIAL + load_eax(registers) + SEND_EAX + load_eax(registers + 8) + SEND_EAX + RESET + HALT
    assert guest.run(code) == "reset"
    assert guest.output() == b"virt" + struct.pack("<I", 4)


def test_an_address_without_device_reads_as_ones(guest: Guest) -> None:
    code = SERIAL + load_eax(layout.device_address(18)) + SEND_EAX + RESET + HALT
    assert guest.run(code) == "reset"
    assert guest.output() == b"\xff" * 4


def test_a_guest_drives_the_entropy_device(guest: Guest) -> None:
    """Negotiation, a queue, a notification, which wakes the device's thread, and the answer in memory."""
    registers = layout.device_address(0)
    rings = (0x4000, 0x5000, 0x6000)
    buffer = 0x7000
    writes = [(0x70, 1), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x30, 0), (0x38, 8)]
    writes += list(zip((0x80, 0x90, 0xA0), rings, strict=True))
    writes += [(0x44, 1), (0x70, 15), (0x50, 0)]
    code = b"".join(store(registers + offset, value) for offset, value in writes)
    # until the used index is one: mov eax, [index]; test ax, ax; jz back
    code += load_eax(rings[2] + 2) + b"\x66\x85\xc0\x74\xf6" + RESET + HALT
    machine = guest.make(code)
    machine.memory.write(rings[0], struct.pack("<QIHH", buffer, 64, 2, 0))
    machine.memory.write(rings[1], struct.pack("<HHH", 0, 1, 0))
    machine.start()
    assert machine.wait(SECONDS)
    assert machine.ended.reason == "reset"
    assert machine.memory.read(rings[2], 12) == struct.pack("<HHII", 0, 1, 0, 64)
    assert len(set(machine.memory.read(buffer, 64))) > 8


# Reads a device's register and counts, for ever; says F and resets if it read something else:
# mov eax, [magic]; cmp eax, "virt"; jne +8; inc ebx; mov [COUNTER], ebx; jmp back
COUNTING = load_eax(layout.device_address(0)) + b"\x3dvirt\x75\x09\x43\x89\x1d"
COUNTING += struct.pack("<I", COUNTER) + b"\xeb\xeb"
COUNTING += say(b"F") + RESET + HALT


def test_a_paused_guest_does_nothing(guest: Guest) -> None:
    machine = guest.make(COUNTING)
    machine.start()
    until(lambda: counter(machine) > 10)
    for _ in range(20):
        machine.pause()
        at = counter(machine)
        time.sleep(0.005)
        assert counter(machine) == at
        machine.resume()
        until(lambda at=at: counter(machine) > at)
    assert not machine.wait(0)
    assert guest.output() == b""


def test_clones_go_on_where_the_guest_was_saved(guest: Guest, tmp_path: Path) -> None:
    """Each on its own. The register that was being read when the guest was paused has its value."""
    machine = guest.make(COUNTING)
    machine.start()
    for number in range(4):
        until(lambda: counter(machine) > 10)
        machine.pause()
        directory = tmp_path / str(number)
        directory.mkdir()
        snapshot.save(machine, str(directory))
        saved = counter(machine)
        machine.resume()
        clones = [guest.load(directory) for _ in range(2)]
        assert [counter(clone) for clone in clones] == [saved, saved]
        clones[0].start()
        until(lambda clones=clones, saved=saved: counter(clones[0]) > saved + 10)
        clones[0].pause()
        assert counter(clones[1]) == saved
        clones[1].start()
        until(lambda clones=clones, saved=saved: saved < counter(clones[1]))
        assert not any(one.wait(0) for one in (machine, *clones))
    assert guest.output() == b""


def test_a_running_guest_is_not_saved(guest: Guest, tmp_path: Path) -> None:
    machine = guest.make(COUNTING)
    machine.start()
    with pytest.raises(Conflict):
        snapshot.save(machine, str(tmp_path))


@pytest.mark.parametrize("damage", [b"{}", b"nothing", b'{"version": 1, "memory": 4096}', b"\xff"])
def test_a_damaged_snapshot_is_refused(guest: Guest, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / snapshot.STATE).write_bytes(damage)
    (tmp_path / snapshot.MEMORY).write_bytes(bytes(4096))
    with pytest.raises(InvalidInput):
        guest.load(tmp_path)


def elf(code: bytes, *, pvh: bool) -> bytes:
    """A kernel whose first segment is loaded at 1 MiB; with the note that PVH wants, or for 64-bit mode."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", layout.KERNEL) if pvh else b""
    headers = 64 + 2 * 56
    body = code + note
    start, after = headers, headers + len(code)
    table = struct.pack("<IIQQQQQQ", 1, 5, start, layout.KERNEL, layout.KERNEL, len(code), len(code), 4096)
    table += struct.pack("<IIQQQQQQ", 4, 4, after, 0, 0, len(note), len(note), 4)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, layout.KERNEL, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    return ident + header + table + body


@pytest.mark.usefixtures("kvm")
class TestProcess:
    """Through the process of a machine, as a keeper drives it."""

    @staticmethod
    def spec(directory: Path, code: bytes, *, pvh: bool) -> MachineSpec:
        kernel, initramfs = directory / "kernel", directory / "initramfs"
        kernel.write_bytes(elf(code, pvh=pvh))
        initramfs.write_bytes(b"start")
        return MachineSpec(str(directory), str(kernel), str(initramfs), memory=MEMORY)

    @staticmethod
    async def printed(machine: KvmMachine, text: bytes) -> None:
        async with asyncio.timeout(SECONDS):
            while text not in machine.console:
                await asyncio.sleep(0.005)

    @pytest.mark.parametrize("pvh", [True, False], ids=["pvh", "64-bit"])
    def test_a_kernel_finds_what_the_protocol_says(self, tmp_path: Path, pvh: bool) -> None:
        # mov eax, [ebx]: the magic of the start info; mov eax, [rsi + 0x202]: that of the boot parameters
        look = b"\x8b\x03" if pvh else b"\x8b\x86\x02\x02\0\0"
        spec = self.spec(tmp_path, SERIAL + look + SEND_EAX + say(b".") + RESET + HALT, pvh=pvh)

        async def check() -> None:
            machine = await KvmHypervisor().boot(spec)
            try:
                assert await asyncio.wait_for(machine.wait(), SECONDS) == 0
                assert machine.console == (b"\x78\xc5\x6e\x33." if pvh else b"HdrS.")
            finally:
                await machine.kill()

        asyncio.run(check())

    def test_a_machine_is_paused_saved_and_cloned(self, tmp_path: Path) -> None:
        # inc ebx; test ebx, 0xfff; jnz back; mov al, '.'; out dx, al; jmp to the start
        code = say(b"on") + b"\x43\xf7\xc3\xff\x0f\0\0\x75\xf7\xb0.\xee\xeb\xf2"
        spec = self.spec(tmp_path, code, pvh=True)

        async def check() -> None:
            hypervisor = KvmHypervisor()
            machine = await hypervisor.boot(spec)
            clone = None
            try:
                await self.printed(machine, b"on...")
                with pytest.raises(GuestError):
                    await machine.snapshot(str(tmp_path))
                await machine.pause()
                await machine.snapshot(str(tmp_path))
                clone = await hypervisor.restore(spec, str(tmp_path))
                await self.printed(clone, b"...")
                assert b"on" not in clone.console
                await machine.resume()
            finally:
                await machine.kill()
                if clone is not None:
                    await clone.kill()

        asyncio.run(check())

    def test_a_kernel_that_is_none_is_refused(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, HALT, pvh=True)
        (tmp_path / "kernel").write_bytes(b"no kernel" * 100)

        async def check() -> None:
            with pytest.raises(GuestError):
                await KvmHypervisor().boot(spec)

        asyncio.run(check())

    def test_it_ends_with_its_keeper(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, HALT, pvh=True)

        async def check() -> None:
            machine = await KvmHypervisor().boot(spec)
            machine._control.shutdown(socket.SHUT_RDWR)
            assert await asyncio.wait_for(machine.wait(), SECONDS) == 2

        asyncio.run(check())
