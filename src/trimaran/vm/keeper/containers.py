"""The containers of one machine: root file systems, plans, processes and limits, by way of the agent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimaran.errors import Conflict, GuestError, KernelError, NotFound, PlanError
from trimaran.plan.build import Build, Overlay
from trimaran.plan.compile import create, join
from trimaran.plan.namespaces import FILES, Namespaces
from trimaran.plan.wire import encode
from trimaran.spec.linux import Namespace
from trimaran.spec.resources import Resources
from trimaran.spec.runtime import Config, Process
from trimaran.spec.validate import check, check_process
from trimaran.vm.agent import Agent, CallFailed
from trimaran.vm.keeper import network, shares
from trimaran.vm.keeper.stdio import Streams
from trimaran.vm.limits import cgroup_plan, limits
from trimaran.vm.protocol import Op, decimal
from trimaran.vm.translate import CGROUPS, RUN, Translated, guest_facts, translate, translate_process

_MS_RDONLY = 1
_MNT_DETACH = 2
_OUTPUT_QUIET = 0.2
_KILL_SECONDS = 10.0


@dataclass
class Running:
    """A process in the guest. ``number`` is the agent's name for it, ``pid`` the guest kernel's."""

    number: int
    pid: int
    exit: asyncio.Future[int]
    streams: Streams | None

    async def wait(self) -> int:
        """Its exit code (128 + n for signal n), when its output has been passed on."""
        status = await self.exit
        if self.streams:
            await self.streams.finish(_OUTPUT_QUIET)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


@dataclass
class Container:
    """A container in the guest."""

    id: str
    translated: Translated
    config: Config
    first: Running | None = None
    status: str = "creating"
    mounts: list[str] = field(default_factory=list)
    shared: list[shares.Mounted] = field(default_factory=list)
    execs: dict[str, Running] = field(default_factory=dict)

    @property
    def cgroup(self) -> str:
        """Its directory in the guest."""
        return f"{CGROUPS}/{self.id}"


class Guest:
    """A booted machine with its containers."""

    def __init__(self, agent: Agent, relay: Agent, kernel: str, loaded: Iterable[str] = ()) -> None:
        """LOADED: modules that the guest's kernel has loaded already."""
        self.agent = agent
        self.relay = relay
        self.facts = guest_facts(kernel)
        self.containers: dict[str, Container] = {}
        self.used = False
        self._connected = False
        self._devices: dict[str, str] = {}
        self._modules = set(loaded)

    async def modules(self, *names: str) -> None:
        """Load modules that are not loaded yet, in their order; one that is built in is no error."""
        for name in names:
            if name not in self._modules:
                self._modules.add(name)
                try:
                    await self.agent.call(Op.MODULE, name)
                except CallFailed as error:
                    if error.errno != 2:  # ENOENT: the kernel has it built in
                        raise

    def get(self, id: str) -> Container:
        """A container. Raises :class:`NotFound`."""
        container = self.containers.get(id)
        if container is None:
            raise NotFound(f"no container {id} in this machine")
        return container

    async def create(
        self, request: Mapping[str, Any], open_streams: Callable[[bool], Streams | None]
    ) -> Container:
        """Make a container; its first process waits. All or nothing.

        ``request`` is what the hull wrote: ``id``, ``bundle``, ``config``, ``root``. ``open_streams`` gives
        the first process's streams; its argument says whether they are a terminal.
        """
        id = request["id"]
        if id in self.containers:
            raise Conflict(f"container {id} exists already in this machine")
        translated = translate(request["config"], id, request["bundle"])
        config = Config.parse(translated.config)
        check(config)
        container = self.containers[id] = Container(id, translated, config)
        try:
            overlay = await self._root(container, request["root"])
            await self._shares(container)
            group = cgroup_plan(id, config.linux.resources if config.linux else None)
            build = Build(config, self.facts, id=id, bundle="/", overlay=overlay, cgroups=group.directories)
            plan = create(build, cgroup=group, confinement=None)
            assert config.process is not None
            streams = open_streams(config.process.terminal)
            container.first = await self._process(encode(plan), config.process.terminal, streams)
            container.status = "created"
            self.used = True
        except BaseException:
            await self._clean(container)
            raise
        return container

    async def _process(self, plan: bytes, terminal: bool, streams: Streams | None) -> Running:
        number, exit = self.agent.new_process()
        channels = streams.channels if streams else (0, 0, 0)
        try:
            answer = await self.agent.call(Op.PROCESS, number, plan, int(terminal), *channels)
        except CallFailed as error:
            if streams:
                streams.close()
            raise plan_error(error) from error
        if streams:
            streams.begin()
        return Running(number, decimal(answer), exit, streams)

    async def start(self, container: Container, running: Running) -> None:
        """Let a created process execute its program; returns when it has been executed."""
        if running is container.first and container.status != "created":
            raise Conflict(f"container {container.id} is {container.status}")
        await self._connect()
        size = running.streams.size() if running.streams else None
        if size:
            await self.agent.call(Op.RESIZE, running.number, *size)
        try:
            await self.agent.call(Op.START, running.number)
        except CallFailed as error:
            raise plan_error(error) from error
        if running is container.first:
            container.status = "running"

    async def _connect(self) -> None:
        """Give the guest the interface that has been put into the machine's network namespace, once."""
        link = None if self._connected else network.interface()
        if link is not None:
            self._connected = True
            await self.modules("failover", "net_failover", "virtio_net")
            await network.take_over(self.agent, link)

    async def exec(
        self,
        container: Container,
        exec_id: str,
        process: Mapping[str, Any],
        open_streams: Callable[[bool], Streams | None],
    ) -> Running:
        """Make one more process for a running container; it waits."""
        if container.status not in ("created", "running") or container.first is None:
            raise Conflict(f"container {container.id} is {container.status}")
        parsed = Process.parse(translate_process(process))
        check_process(parsed, "$")
        build = Build(container.config, self.facts, id=container.id, bundle="/", cgroups=[container.cgroup])
        linux = container.config.linux
        kinds = [space.type for space in linux.namespaces] if linux else []
        directory = f"/proc/{container.first.pid}/ns"
        spaces = Namespaces(
            [Namespace(type=kind, path=f"{directory}/{FILES.get(kind, kind)}") for kind in kinds]
        )
        plan = join(build, parsed, spaces=spaces, cgroups=[container.cgroup], confinement=None)
        running = await self._process(encode(plan), parsed.terminal, open_streams(parsed.terminal))
        container.execs[exec_id] = running
        return running

    async def kill(self, container: Container, number: int, *, everything: bool = False) -> None:
        """Signal the first process, or every process of the container."""
        if container.first is None or container.first.exit.done():
            raise Conflict(f"container {container.id} is stopped")
        if everything and number == signal.SIGKILL:
            await self._write(f"{container.cgroup}/cgroup.kill", "1")
            return
        await self.agent.call(Op.SIGNAL, container.first.number, number)

    async def freeze(self, container: Container, frozen: bool) -> None:
        """Freeze or thaw every process of a container; returns when it has happened."""
        await self._write(f"{container.cgroup}/cgroup.freeze", str(int(frozen)))
        while f"frozen {int(frozen)}" not in await self._read(f"{container.cgroup}/cgroup.events"):
            await asyncio.sleep(0.002)
        container.status = "paused" if frozen else "running"

    async def update(self, container: Container, resources: Mapping[str, Any]) -> None:
        """Change limits; what RESOURCES does not name stays."""
        for name, text in limits(Resources.parse(resources, "$.linux.resources")):
            await self._write(f"{container.cgroup}/{name}", text)

    async def processes(self, container: Container) -> list[int]:
        """The guest's PIDs of a container's processes."""
        return [
            decimal(word) for word in (await self._read(f"{container.cgroup}/cgroup.procs")).split()[:100_000]
        ]

    async def stats(self, container: Container) -> dict[str, Any]:
        """The texts of the container's cgroup files, for :func:`trimaran.vm.stats.parse`."""
        result = {}
        for name in (
            "cpu.stat",
            "memory.current",
            "memory.max",
            "memory.stat",
            "memory.events",
            "pids.current",
            "pids.max",
            "io.stat",
        ):
            try:
                result[name] = await self._read(f"{container.cgroup}/{name}")
            except CallFailed:  # a controller that this guest's kernel lacks
                continue
        return result

    async def oom_killed(self, container: Container) -> bool:
        """Whether the guest's kernel has killed a process of the container for memory."""
        try:
            events = await self._read(f"{container.cgroup}/memory.events")
        except KernelError:
            return False
        return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in events.splitlines())

    async def delete(self, container: Container) -> None:
        """Kill what is left of a container, and take its mounts and cgroup away."""
        for running in (container.first, *container.execs.values()):
            if running is not None and not running.exit.done():
                await self._write(f"{container.cgroup}/cgroup.kill", "1")
                await asyncio.wait([running.exit], timeout=_KILL_SECONDS)
        await self._clean(container)

    async def _clean(self, container: Container) -> None:
        self.containers.pop(container.id, None)
        if self.agent.lost.done():
            return
        for target in reversed(container.mounts):
            await self._try(Op.UMOUNT, target, _MNT_DETACH)
        for mounted in container.shared:
            await self._try(Op.UMOUNT, mounted.target, _MNT_DETACH)
        await self._try(Op.RMDIR, container.cgroup)

    async def _try(self, operation: Op, *arguments: str | int) -> None:
        """Clean up as far as possible: what is not there need not go."""
        try:
            await self.agent.call(operation, *arguments)
        except CallFailed:
            return

    async def _root(self, container: Container, root: Mapping[str, Any]) -> Overlay | None:
        """Make the root's parts; the overlay of them, or None if they are one shared directory."""
        base = f"{RUN}/{container.id}"
        await self.agent.call(Op.MKDIR, f"{base}/root", 0o755)
        if "share" in root:
            await self.modules("fuse")
            mounted = await shares.mount(
                self.agent, self.relay, root["share"], f"{base}/root", read_only=bool(root.get("read_only"))
            )
            container.shared.append(mounted)
            return None
        lower = []
        await self.modules("overlay")
        for index, layer in enumerate(root["layers"]):
            lower.append(await self._layer(container, layer, f"{base}/lower/{index}"))
        if not root.get("writable", True):
            return Overlay(lower, "", "", f"{base}/root")
        await self._upper(container, f"{base}/rw", root)
        return Overlay(lower, f"{base}/rw/upper", f"{base}/rw/work", f"{base}/root")

    async def _layer(self, container: Container, layer: Mapping[str, Any], target: str) -> str:
        """One layer: an EROFS image on a disk, or a directory of the host."""
        if "directory" in layer:
            await self.modules("fuse")
            mounted = await shares.mount(self.agent, self.relay, layer["directory"], target, read_only=True)
            container.shared.append(mounted)
            return target
        await self.modules("virtio_blk", "libcrc32c", "erofs")
        await self.agent.call(Op.MKDIR, target, 0o755)
        device = await self.device(layer["disk"])
        await self.agent.call(Op.MOUNT, device, target, "erofs", _MS_RDONLY, "")
        container.mounts.append(target)
        return target

    async def _upper(self, container: Container, target: str, root: Mapping[str, Any]) -> None:
        """Where the container's changes go: a disk of the machine, or the guest's memory."""
        await self.agent.call(Op.MKDIR, target, 0o755)
        if root.get("disk"):
            await self.modules("virtio_blk")
            await self.agent.call(Op.MOUNT, await self.device(root["disk"]), target, "ext4", 0, "discard")
        else:
            size = root.get("size") or "50%"
            await self.agent.call(Op.MOUNT, "tmpfs", target, "tmpfs", 0, f"mode=755,size={size}")
        container.mounts.append(target)
        for name in ("upper", "work"):
            await self.agent.call(Op.MKDIR, f"{target}/{name}", 0o755)

    async def device(self, serial: str) -> str:
        """The device of the disk with a serial number: the order of discovery is the kernel's affair."""
        if serial not in self._devices:
            for letter in "abcdefghijklmnopqrstuvwxyz":
                try:
                    found = await self._read(f"/sys/block/vd{letter}/serial")
                except CallFailed:
                    break
                self._devices[found.strip("\0\n ")] = f"/dev/vd{letter}"
        if serial not in self._devices:
            raise NotFound(f"the guest does not see the disk {serial}")
        return self._devices[serial]

    async def _shares(self, container: Container) -> None:
        if container.translated.shares:
            await self.modules("fuse")
        for share in container.translated.shares:
            mounted = await shares.mount(
                self.agent, self.relay, share.source, share.target, read_only=share.read_only
            )
            container.shared.append(mounted)

    async def _read(self, path: str) -> str:
        return (await self.agent.call(Op.READ, path)).decode("utf-8", "replace")

    async def _write(self, path: str, text: str) -> None:
        await self.agent.call(Op.WRITE, path, 0, 0, text.encode())


def plan_error(error: CallFailed) -> PlanError | CallFailed:
    """The failure of a plan as such: the agent's answer is ``INDEX STEP ERRNO PATH``."""
    words = error.detail.decode("utf-8", "replace").split(" ", 3)
    if len(words) < 3:
        return error
    try:
        index, number = decimal(words[0].removeprefix("-")), decimal(words[2])
    except GuestError:
        return error
    index = -index if words[0].startswith("-") else index
    return PlanError(index, words[1][:64], number, words[3][:4096] if len(words) > 3 else "")
