"""Makes machines of our own VMM, each in a process of its own, for a keeper."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

from trimaran.errors import GuestError
from trimaran.linux import _sys
from trimaran.vm.machine import DISK_SLOTS, MachineSpec
from trimaran.vm.vmm.config import KERNEL_OPTIONS

_CONTROL_FD, _AGENT_FD, _SHARE_FD, _TAP_FD = 3, 4, 5, 6
_LAUNCHER = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from trimaran.vm.vmm.main import main; main()"
)
_CONSOLE_KEPT = 64 << 10
_MAX_ANSWER = 64 << 10


class KvmMachine:
    """A running VMM process."""

    def __init__(
        self,
        process: tuple[int, int],
        streams: tuple[socket.socket, socket.socket],
        control: socket.socket,
        console: int,
    ) -> None:
        self.pid, self._pidfd = process
        self._streams: tuple[socket.socket, socket.socket] | None = streams
        self._control = control
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._lock = asyncio.Lock()
        self.console = bytearray()
        self._loop.add_reader(self._pidfd, self._reap)
        self._loop.add_reader(console, self._read_console)

    async def connect(self) -> tuple[socket.socket, socket.socket]:
        """The streams to the agent and to its relay of shares; once."""
        if self._streams is None:
            raise GuestError("the agent's streams were taken already")
        streams, self._streams = self._streams, None
        return streams

    async def pause(self) -> None:
        """Stop every virtual CPU."""
        await self.ask("pause")

    async def resume(self) -> None:
        """Let them go on."""
        await self.ask("resume")

    async def snapshot(self, directory: str) -> None:
        """Save a paused machine to an existing directory."""
        await self.ask("snapshot", directory=directory)

    async def ask(self, name: str, **arguments: Any) -> Any:
        """One request to the VMM. Raises :class:`GuestError`."""
        async with self._lock:
            try:
                await self._loop.sock_sendall(self._control, json.dumps({"do": name, **arguments}).encode())
                packet = await self._loop.sock_recv(self._control, _MAX_ANSWER)
            except OSError as error:
                raise GuestError("the VMM is gone", why=error.strerror or "") from error
        if not packet:
            raise GuestError("the VMM is gone", why=self.console.decode("utf-8", "replace")[-300:])
        answer = json.loads(packet)
        if "error" in answer:
            told = answer["error"]
            raise GuestError(told["message"], why=told["why"], hint=told["hint"])
        return answer["result"]

    async def wait(self) -> int:
        """How the process ended: its exit code, or minus a signal."""
        return await asyncio.shield(self._ended)

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        if not self._ended.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await self.wait()

    def _read_console(self) -> None:
        try:
            data = os.read(self._console, 64 << 10)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._console)
        self.console += data
        del self.console[:-_CONSOLE_KEPT]

    def _reap(self) -> None:
        code = _sys.reap(self._pidfd)
        if code is None:
            return
        self._loop.remove_reader(self._pidfd)
        self._read_console()
        self._loop.remove_reader(self._console)
        for fd in (self._pidfd, self._console):
            os.close(fd)
        self._control.close()
        for stream in self._streams or ():
            stream.close()
        self._ended.set_result(code)


class KvmHypervisor:
    """Makes machines on ``/dev/kvm``."""

    name = "kvm"

    async def boot(self, spec: MachineSpec) -> KvmMachine:
        """Start a machine from its kernel. Raises :class:`GuestError`."""
        machine = self._start(spec)
        await self._ask(machine, "boot", config=self._config(spec))
        return machine

    async def restore(self, spec: MachineSpec, directory: str) -> KvmMachine:
        """Start a clone. Raises :class:`GuestError`."""
        machine = self._start(spec)
        await self._ask(machine, "restore", config=self._config(spec), directory=directory)
        return machine

    @staticmethod
    async def _ask(machine: KvmMachine, name: str, **arguments: Any) -> None:
        try:
            await machine.ask(name, **arguments)
        except BaseException:
            await machine.kill()
            raise

    @staticmethod
    def _config(spec: MachineSpec) -> dict[str, Any]:
        words = [KERNEL_OPTIONS, spec.command_line]
        return {
            "kernel": spec.kernel,
            "initramfs": spec.initramfs,
            "command_line": " ".join(filter(None, words)),
            "cpus": spec.cpus,
            "memory": spec.memory,
            "disks": [
                {"path": disk.path, "serial": disk.serial, "read_only": disk.read_only}
                for disk in spec.disks[:DISK_SLOTS]
            ],
            "tap": _TAP_FD if spec.nic else -1,
            "mac": spec.nic.mac if spec.nic else "",
            "ports": [["trimaran.agent", _AGENT_FD], ["trimaran.share", _SHARE_FD]],
        }

    @staticmethod
    def _start(spec: MachineSpec) -> KvmMachine:
        pairs = [socket.socketpair() for _ in range(2)]
        control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        console, console_end = os.pipe()
        for end in (console, console_end):
            os.set_blocking(end, False)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        executable = os.open(sys.executable, os.O_PATH | os.O_CLOEXEC)
        ends = [control_end, pairs[0][1], pairs[1][1]]
        fds = [null, console_end, console_end, *(passed.fileno() for passed in ends)]
        if spec.nic:
            fds.append(spec.nic.tap)
        path = ":".join(entry for entry in sys.path if entry)
        words = [sys.executable, "-I", "-S", "-c", _LAUNCHER, path, str(_CONTROL_FD)]
        try:
            process = _sys.spawn(
                executable,
                [os.fsencode(word) for word in words],
                [b"PATH=/usr/bin:/bin", b"LC_ALL=C.UTF-8"],
                fds,
                new_session=True,
                death_signal=signal.SIGKILL,
            )
        finally:
            for passed in ends:
                passed.close()
            for fd in (console_end, null, executable):
                os.close(fd)
        return KvmMachine(process, (pairs[0][0], pairs[1][0]), control, console)
