"""The VMM's process under a keeper: ``... main CONTROL_FD``; its first packet describes the machine.

Control is a ``SOCK_SEQPACKET`` socket with JSON each way: requests ``{"do": NAME, ...}``, each answered by
``{"result": ...}`` or ``{"error": {...}}``. The process ends with the guest, or when the keeper closes the
socket. Standard output is the guest's console.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from trimaran.errors import TrimaranError
from trimaran.vm.vmm import config as configs
from trimaran.vm.vmm import snapshot
from trimaran.vm.vmm.machine import VirtualMachine
from trimaran.vm.vmm.vcpu import accept_kicks

_MAX_PACKET = 128 << 10
_CONSOLE_FD = 1
CODE_RESET, CODE_FAILED, CODE_ABANDONED = 0, 1, 2


class Monitor:
    """One machine and its control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._machine: VirtualMachine | None = None
        self._config = configs.MachineConfig()
        self._over = threading.Event()
        self._code = CODE_RESET

    def run(self) -> int:
        """Until the guest or the keeper ends; the exit code."""
        threading.Thread(target=self._serve, name="control", daemon=True).start()
        while not self._over.is_set():
            # Signals' handlers run in this thread only: it must not sleep for ever in one call.
            if self._machine is None:
                self._over.wait(0.005)
            elif self._machine.wait(0.5):
                break
        machine = self._machine
        if machine is not None:
            if machine.ended.reason not in ("reset", "stopped", ""):
                print(f"trimaran vmm: {machine.ended.reason}", file=sys.stderr, flush=True)
                self._code = CODE_FAILED
            machine.stop()
        return self._code

    def _serve(self) -> None:
        try:
            while packet := self._control.recv(_MAX_PACKET):
                self._control.send(json.dumps(self._answer(json.loads(packet))).encode())
        finally:
            self._code = CODE_ABANDONED
            self._over.set()
            if self._machine is not None:
                self._machine.end("stopped")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        methods: dict[str, Callable[..., Any]] = {
            "boot": self._boot,
            "restore": self._restore,
            "pause": self._pause,
            "resume": self._resume,
            "snapshot": self._snapshot,
            "balloon": self._balloon,
        }
        try:
            return {"result": methods[request.pop("do")](**request)}
        except TrimaranError as error:
            return {"error": {"message": error.message, "why": error.why, "hint": error.hint}}

    def _boot(self, config: dict[str, Any]) -> None:
        self._config = configs.MachineConfig.from_json(config)
        machine = configs.make(self._config, _CONSOLE_FD)
        configs.boot(machine, self._config)
        self._begin(machine)

    def _restore(self, config: dict[str, Any], directory: str) -> None:
        self._config = configs.MachineConfig.from_json(config)
        machine = snapshot.load(self._config, _CONSOLE_FD, directory)
        self._begin(machine)

    def _begin(self, machine: VirtualMachine) -> None:
        machine.start()
        self._machine = machine

    def _the_machine(self) -> VirtualMachine:
        if self._machine is None:
            raise TrimaranError("the machine has not been started")
        return self._machine

    def _pause(self) -> None:
        self._the_machine().pause()

    def _resume(self) -> None:
        self._the_machine().resume()

    def _snapshot(self, directory: str) -> None:
        snapshot.save(self._the_machine(), directory)

    def _balloon(self, mebibytes: int) -> None:
        from trimaran.vm.vmm.virtio.balloon import Balloon

        for device in self._the_machine().devices():
            if isinstance(device, Balloon):
                device.resize(mebibytes)


def main() -> None:
    """The program."""
    control = socket.socket(fileno=int(sys.argv[1]))
    accept_kicks()
    monitor = Monitor(control)
    os._exit(monitor.run())


if __name__ == "__main__":
    main()
