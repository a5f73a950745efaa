"""The `kvm` hypervisor boots the distribution's kernel to the agent, clones it, and runs containers in it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.integration.vm.conftest import Containers
from tests.support.bundles import make_root

from trimaran.errors import GuestError
from trimaran.vm.agent import Agent
from trimaran.vm.guest.initramfs import ensure_initramfs
from trimaran.vm.guest.kernel import ensure_kernel
from trimaran.vm.hull import VmIsolation
from trimaran.vm.machine import Machine, MachineSpec
from trimaran.vm.protocol import Op
from trimaran.vm.vmm.driver import KvmHypervisor

pytestmark = [pytest.mark.lab, pytest.mark.root]

# KVM under an emulator is slow.
BOOT_SECONDS = 200


async def connect(machine: Machine) -> Agent:
    """The agent of a machine; its relay of shares is left alone."""
    stream, relay = await machine.connect()
    relay.close()
    return Agent(stream)


async def booted(machine: Machine) -> Agent:
    agent = await connect(machine)
    try:
        await asyncio.wait_for(agent.ready, BOOT_SECONDS)
    except (GuestError, TimeoutError) as error:
        pytest.fail(f"the agent did not report: {error!r}; console: {bytes(machine.console)[-3000:]!r}")
    return agent


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    kernel = ensure_kernel(cache=str(tmp_path))
    initramfs = ensure_initramfs(kernel)
    return MachineSpec(str(tmp_path), kernel.vmlinux, initramfs, cpus=2, memory=192 << 20)


@pytest.mark.skipif(
    "TRIMARAN_SOAK" not in os.environ,
    reason="the experimental kvm hypervisor may lose a machine after a snapshot of it: TRIMARAN_SOAK=1",
)
def test_the_kernel_boots_to_its_agent_and_a_clone_goes_on(spec: MachineSpec, tmp_path: Path) -> None:
    async def check() -> None:
        hypervisor = KvmHypervisor()
        machine = await hypervisor.boot(spec)
        try:
            agent = await booted(machine)
            await agent.call(Op.SYNC)
            await machine.pause()
            await machine.snapshot(str(tmp_path))
            await machine.resume()
            await agent.call(Op.SYNC)
            agent.close()
        finally:
            await machine.kill()
        clone = await hypervisor.restore(spec, str(tmp_path))
        try:
            agent = await connect(clone)
            await agent.call(Op.SYNC)
            agent.close()
        finally:
            await clone.kill()

    asyncio.run(check())


def test_a_container_runs_in_it(tmp_path: Path) -> None:
    containers = Containers(VmIsolation(str(tmp_path / "state")), make_root(tmp_path / "layer"), tmp_path)
    try:
        command = "cat /proc/sys/kernel/random/boot_id; exit 7"
        code, output = containers.run("sh", "-c", command, options={"vm.hypervisor": "kvm"})
    finally:
        containers.close()
    assert code == 7
    assert len(output.strip()) == 36
    assert output != Path("/proc/sys/kernel/random/boot_id").read_text()
