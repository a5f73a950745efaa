"""Starts QEMU, and drives it over QMP (https://qemu.readthedocs.io/projects/python-qemu-qmp).

QEMU inherits its sockets as descriptors, so nothing of it has a name that others could open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Any

from trimaran.errors import GuestError, Unsupported
from trimaran.linux import _sys
from trimaran.vm.machine import MachineSpec
from trimaran.vm.qemu.command import AGENT_FD, QMP_FD, SHARE_FD, STATE_FD, TAP_FD, arguments

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

MEMORY_FILE = "memory"
STATE_FILE = "state"
_CONSOLE_KEPT = 64 << 10
_MIGRATION_STEP = 0.01


class QemuMachine:
    """A running QEMU process."""

    def __init__(
        self,
        process: tuple[int, int],
        streams: tuple[socket.socket, socket.socket],
        qmp: socket.socket,
        console: int,
    ) -> None:
        self.pid, self._pidfd = process
        self._streams: tuple[socket.socket, socket.socket] | None = streams
        self._qmp_socket = qmp
        self._qmp: QMPClient | None = None
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
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
        await self.execute("stop")

    async def resume(self) -> None:
        """Let them go on."""
        await self.execute("cont")

    async def snapshot(self, directory: str) -> None:
        """Save the devices' state. The memory is the shared file that the machine was started with."""
        await self.execute(
            "migrate-set-capabilities", {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
        )
        path = os.path.join(directory, "migration.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.setblocking(False)
            copy = asyncio.ensure_future(self._save(listener, os.path.join(directory, STATE_FILE)))
            try:
                await self.execute("migrate", {"uri": f"unix:{path}"})
                await copy
                await self.migrated()
            finally:
                copy.cancel()
                os.unlink(path)

    async def _save(self, listener: socket.socket, path: str) -> None:
        connection, _ = await self._loop.sock_accept(listener)
        with connection, open(path, "wb") as file:
            while data := await self._loop.sock_recv(connection, 1 << 20):
                file.write(data)

    async def migrated(self) -> None:
        """Wait until the state has been saved, or taken over."""
        while True:
            answer = await self.execute("query-migrate")
            if answer.get("status") == "completed":
                return
            if answer.get("status") in ("failed", "cancelled"):
                raise GuestError("the machine could not be saved", why=str(answer.get("error-desc", "")))
            await asyncio.sleep(_MIGRATION_STEP)

    async def wait(self) -> int:
        """How the process ended: its exit code, or minus a signal."""
        return await asyncio.shield(self._ended)

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        if not self._ended.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        await self.wait()
        await self._disconnect()

    async def _disconnect(self) -> None:
        """Let the client of QMP take note that QEMU is gone."""
        client, self._qmp = self._qmp, None
        if client is not None:
            with contextlib.suppress(EOFError, OSError):
                await client.disconnect()

    async def execute(self, command: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """One command of QMP. Raises :class:`GuestError`."""
        from qemu.qmp import QMPClient, QMPError

        try:
            if self._qmp is None:
                client = QMPClient("trimaran")
                await client.connect(self._qmp_socket)
                self._qmp = client
            answer = await self._qmp.execute(command, parameters)
        except (QMPError, OSError) as error:
            raise GuestError(f"QEMU refused {command}", why=str(error)) from error
        return answer if isinstance(answer, dict) else {}

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
        for stream in self._streams or ():
            stream.close()
        self._ended.set_result(code)


class QemuHypervisor:
    """Makes microvms. ``accelerator`` is ``kvm`` or ``tcg``. Raises :class:`Unsupported` without QEMU."""

    name = "qemu"

    def __init__(self, accelerator: str = "tcg", program: str | None = None) -> None:
        path = program or shutil.which("qemu-system-x86_64")
        if path is None:
            raise Unsupported(
                "no hypervisor for microVMs", why="QEMU is not installed", hint="install qemu-system-x86"
            )
        self.program = path
        self.accelerator = "tcg,thread=multi" if accelerator == "tcg" else accelerator

    async def boot(self, spec: MachineSpec, memory_file: str | None = None) -> QemuMachine:
        """Start a machine; with MEMORY_FILE, one that can be saved as a template."""
        command = arguments(
            self.program,
            spec,
            accelerator=self.accelerator,
            tsc_khz=_sys.tsc_khz(),
            memory_file=memory_file,
            memory_shared=True,
            template=memory_file is not None,
        )
        return self._start(spec, command)

    async def restore(self, spec: MachineSpec, directory: str) -> QemuMachine:
        """Start a clone: its memory is a private mapping of the saved one."""
        command = arguments(
            self.program,
            spec,
            accelerator=self.accelerator,
            tsc_khz=_sys.tsc_khz(),
            memory_file=os.path.join(directory, MEMORY_FILE),
            template=True,
            incoming="defer",
        )
        state = os.open(os.path.join(directory, STATE_FILE), os.O_RDONLY | os.O_CLOEXEC)
        try:
            machine = self._start(spec, command, state)
        finally:
            os.close(state)
        capability = {"capability": "x-ignore-shared", "state": True}
        await machine.execute("migrate-set-capabilities", {"capabilities": [capability]})
        await machine.execute("migrate-incoming", {"uri": f"fd:{STATE_FD}"})
        await machine.migrated()
        # It was saved while paused, and that is part of its state.
        await machine.resume()
        return machine

    def _start(self, spec: MachineSpec, command: list[str], state: int = -1) -> QemuMachine:
        agent, agent_end = socket.socketpair()
        share, share_end = socket.socketpair()
        qmp, qmp_end = socket.socketpair()
        console, console_end = os.pipe()
        os.set_blocking(console, False)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        executable = os.open(self.program, os.O_PATH | os.O_CLOEXEC)
        fds = [null, console_end, console_end]
        passed = {AGENT_FD: agent_end, SHARE_FD: share_end, QMP_FD: qmp_end}
        fds += [passed[number].fileno() for number in sorted(passed)]
        if spec.nic:
            fds[TAP_FD:] = [spec.nic.tap]
        if state >= 0:
            fds += [null] * (STATE_FD - len(fds)) + [state]
        environment = [b"PATH=/usr/sbin:/usr/bin:/sbin:/bin", b"LC_ALL=C"]
        try:
            process = _sys.spawn(
                executable,
                [os.fsencode(word) for word in command],
                environment,
                fds,
                new_session=True,
                death_signal=signal.SIGKILL,
            )
        finally:
            for end in passed.values():
                end.close()
            for fd in (console_end, null, executable):
                os.close(fd)
        return QemuMachine(process, (agent, share), qmp, console)
