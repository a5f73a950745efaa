"""Keeps one machine: ``python -m trimaran.vm.keeper.main DIRECTORY``, with descriptor 3 to say it is up.

The directory holds ``machine.json``, which the hull wrote; the socket ``sock`` is made
there. Monitors may connect before the guest has booted: they wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from typing import Any

from trimaran.errors import GuestError, KernelError, TrimaranError, Unsupported
from trimaran.vm.agent import Agent
from trimaran.vm.hypervisors import make
from trimaran.vm.keeper import network
from trimaran.vm.keeper.client import SOCKET
from trimaran.vm.keeper.containers import Guest
from trimaran.vm.keeper.service import Connection, Service, report
from trimaran.vm.limits import CONTROLLERS
from trimaran.vm.machine import Disk, Machine, MachineSpec
from trimaran.vm.protocol import Op
from trimaran.vm.qemu.driver import QemuHypervisor
from trimaran.vm.templates import PRELOADED, ensure, personalise
from trimaran.vm.translate import CGROUPS

RECORD = "machine.json"
_UP_FD = 3
_BOOT_SECONDS = 60.0
_SYNC_SECONDS = 10.0
_IDLE_STEP = 0.05


class Keeper:
    """One machine from its start to its end."""

    def __init__(self, directory: str, record: dict[str, Any]) -> None:
        self._directory = directory
        self._record = record
        self._machine: Machine | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._nic = network.make_nic() if record["network"] is not None else None

    async def run(self) -> None:
        """Everything, until the machine has ended."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        listener.setblocking(False)
        with listener, contextlib.ExitStack() as stack:
            os.chdir(self._directory)  # a socket's path may have 107 bytes only
            listener.bind(SOCKET)
            stack.callback(os.unlink, SOCKET)
            listener.listen(64)
            os.close(_UP_FD)
            try:
                guest = await self._boot()
            except TrimaranError as error:
                await self._refuse(listener, error)
                return
            await self._serve(listener, guest)

    async def _serve(self, listener: socket.socket, guest: Guest) -> None:
        assert self._machine is not None
        requests = {"shutdown": self._shutdown, "machine": self._describe}
        service = Service(self._directory, guest, requests)
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(service.serve(listener)),
            asyncio.ensure_future(self._machine.wait()),
            asyncio.ensure_future(self._idle(guest)),
            self._over,
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(TrimaranError):
            await guest.agent.call(Op.SYNC, seconds=_SYNC_SECONDS)
        for task in tasks:
            task.cancel()
        await self._machine.kill()
        guest.agent.close()
        guest.relay.close()
        await service.finish()

    async def _idle(self, guest: Guest) -> None:
        """Ends when every container that there was has stopped, unless the machine is kept for more."""
        while True:
            await asyncio.sleep(_IDLE_STEP)
            containers = guest.containers.values()
            if self._record.get("keep") or not guest.used:
                continue
            if all(container.status == "stopped" for container in containers):
                return

    async def _boot(self) -> Guest:
        """Start the machine; returns when its agent answers and its cgroups are ready."""
        record = self._record
        spec = MachineSpec(
            directory=self._directory,
            kernel=record["kernel"],
            initramfs=record["initramfs"],
            cpus=record["cpus"],
            memory=record["memory"],
            nic=self._nic,
            disks=[Disk(disk["path"], disk["serial"], disk["read_only"]) for disk in record["disks"]],
        )
        machine = self._machine = await self._start(spec)
        agent_stream, relay_stream = await machine.connect()
        agent, relay = Agent(agent_stream), Agent(relay_stream)
        try:
            if record.get("template"):
                # The agents of a clone were ready when it was saved.
                await agent.call(Op.UNAME, seconds=_BOOT_SECONDS)
                await personalise(agent)
            else:
                await asyncio.wait_for(asyncio.gather(agent.ready, relay.ready), _BOOT_SECONDS)
            await prepare(agent)
        except (GuestError, TimeoutError, KernelError) as error:
            await self._machine.kill()
            console = bytes(self._machine.console[-2000:]).decode("utf-8", "replace").strip()
            last = console.rpartition("\n")[2]
            raise GuestError(
                "the guest did not boot", why=f"{error}; its console ends with: {last!r}"
            ) from error
        return Guest(agent, relay, record["kernel_version"], PRELOADED if record.get("template") else ())

    async def _start(self, spec: MachineSpec) -> Machine:
        """Boot the machine, or clone it from a template where one was asked for and can be had."""
        hypervisor = make(self._record["hypervisor"])
        if self._record.get("template"):
            if not isinstance(hypervisor, QemuHypervisor):
                raise Unsupported(f"the hypervisor {hypervisor.name} has no templates")
            return await hypervisor.restore(spec, await ensure(hypervisor, spec, self._record["cache"]))
        return await hypervisor.boot(spec)

    async def _refuse(self, listener: socket.socket, error: TrimaranError) -> None:
        """Tell whoever connects within a moment that there is no machine."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 5
        with contextlib.suppress(TimeoutError):
            while (left := deadline - loop.time()) > 0:
                accepted, _ = await asyncio.wait_for(loop.sock_accept(listener), left)
                connection = Connection(accepted)
                text, fds = await connection.receive()
                for fd in fds:
                    os.close(fd)
                if text.startswith("{"):
                    kind = {"kind": type(error).__name__, "message": error.message, "why": error.why}
                    connection.send(json.dumps({"error": {**kind, "hint": error.hint, "errno": 0}}))
                else:
                    connection.send(report(error))
                connection.close()

    async def _shutdown(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _describe(self) -> dict[str, Any]:
        assert self._machine is not None
        return {
            "pid": self._machine.pid,
            "keeper": os.getpid(),
            "console": self._machine.console.decode("latin-1"),
        }


async def prepare(agent: Agent) -> None:
    """What every guest needs once: its clock, its loopback interface, controllers for its cgroups."""
    now = time.time_ns()
    await agent.call(Op.CLOCK, now // 1_000_000_000, now % 1_000_000_000)
    await network.loopback(agent)
    wanted = " ".join(f"+{name}" for name in CONTROLLERS)
    await agent.call(Op.WRITE, f"{CGROUPS}/cgroup.subtree_control", 0, 0, wanted.encode())


def main() -> None:
    """The program."""
    directory = sys.argv[1]
    with open(os.path.join(directory, RECORD), encoding="utf-8") as file:
        record = json.load(file)
    if record["network"] is not None:
        network.enter(record["network"])

    async def run() -> None:
        await Keeper(directory, record).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
