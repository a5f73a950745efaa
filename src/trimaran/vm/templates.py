"""Templates: machines that were saved once their agent was ready, and from which others start.

A template has booted and loaded nothing but what its agent's channel needs: disks and the network interface
are found by their drivers after the clone has begun, so clones may differ in them. A clone's memory is a
private mapping of the template's. What must differ between clones (:func:`personalise`) is set at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import replace

from trimaran.errors import TimedOut
from trimaran.vm.agent import Agent, CallFailed
from trimaran.vm.machine import MachineSpec
from trimaran.vm.protocol import Op
from trimaran.vm.qemu.driver import MEMORY_FILE, QemuHypervisor, QemuMachine

# Loaded before the template is saved: none of them looks for a device.
PRELOADED = ("libcrc32c", "erofs", "overlay", "fuse")
_BOOT_SECONDS = 60.0
_SEED_BYTES = 256


def template_name(hypervisor: QemuHypervisor, spec: MachineSpec) -> str:
    """A name that two machines share only if they can be clones of one template."""
    program = os.stat(hypervisor.program)
    parts = [
        spec.kernel,
        spec.initramfs,
        spec.cpus,
        spec.memory,
        spec.command_line,
        hypervisor.accelerator,
        *PRELOADED,
    ]
    parts += [program.st_size, program.st_mtime_ns]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


async def ensure(hypervisor: QemuHypervisor, spec: MachineSpec, cache: str) -> str:
    """The directory of the template for SPEC, made if it is not there yet: that takes as long as a boot."""
    root = os.path.join(cache, "templates")
    os.makedirs(root, mode=0o700, exist_ok=True)
    target = os.path.join(root, template_name(hypervisor, spec))
    if os.path.isdir(target):
        return target
    lock = os.open(f"{target}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.get_running_loop().run_in_executor(None, fcntl.flock, lock, fcntl.LOCK_EX)
        if not os.path.isdir(target):
            await _make(hypervisor, spec, root, target)
    finally:
        os.close(lock)
    return target


async def _make(hypervisor: QemuHypervisor, spec: MachineSpec, root: str, target: str) -> None:
    partial = tempfile.mkdtemp(prefix=".partial-", dir=root)
    machine: QemuMachine | None = None
    try:
        bare = replace(spec, disks=(), nic=None)
        machine = await hypervisor.boot(bare, os.path.join(partial, MEMORY_FILE))
        streams = await machine.connect()
        agents = [Agent(stream) for stream in streams]
        await asyncio.wait_for(asyncio.gather(*(agent.ready for agent in agents)), _BOOT_SECONDS)
        for name in PRELOADED:
            with contextlib.suppress(CallFailed):  # built in, or not there: a clone that needs it will say so
                await agents[0].call(Op.MODULE, name)
        await machine.pause()
        await machine.snapshot(partial)
        await machine.kill()
        os.rename(partial, target)
    except TimeoutError as error:
        raise TimedOut("the template of a machine did not boot in time") from error
    finally:
        if machine is not None:
            await machine.kill()
        shutil.rmtree(partial, ignore_errors=True)


async def personalise(agent: Agent) -> None:
    """Give a clone randomness of its own. Its clock, names and addresses are set as every machine's are."""
    await agent.call(Op.ENTROPY, os.urandom(_SEED_BYTES))
