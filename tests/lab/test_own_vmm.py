"""The `kvm` hypervisor boots the distribution's kernel to the agent, and a clone of it goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from trimaran.vm.agent import Agent
from trimaran.vm.guest.initramfs import ensure_initramfs
from trimaran.vm.guest.kernel import ensure_kernel
from trimaran.vm.machine import Machine, MachineSpec
from trimaran.vm.vmm.driver import KvmHypervisor

pytestmark = [pytest.mark.lab, pytest.mark.root]

# KVM under an emulator is slow.
BOOT_SECONDS = 200


async def ready(machine: Machine) -> None:
    streams = await machine.connect()
    agent = Agent(streams[0])
    try:
        await asyncio.wait_for(agent.ready, BOOT_SECONDS)
    except TimeoutError:
        pytest.fail(f"the agent did not report; console: {bytes(machine.console)[-3000:]!r}")
    finally:
        agent.close()
        streams[1].close()


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    kernel = ensure_kernel(cache=str(tmp_path))
    return MachineSpec(
        str(tmp_path),
        kernel.vmlinux,
        ensure_initramfs(kernel),
        memory=192 << 20,
        command_line=os.environ.get("TRIMARAN_LAB_COMMAND_LINE", ""),
    )


def test_the_kernel_boots_to_its_agent(spec: MachineSpec) -> None:
    async def check() -> None:
        machine = await KvmHypervisor().boot(spec)
        try:
            await ready(machine)
        finally:
            await machine.kill()

    asyncio.run(check())
