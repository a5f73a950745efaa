"""What the jobs ask of an engine: its commands, its daemon, and what it keeps in memory."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.measure import Failure, quiet
from bench.workspace import Workspace, wait_for

Network = Literal["none", "bridge"]


class Engine:
    """An engine with its state under ``workspace.path/NAME``. Methods that end in ``_command`` only say how.

    Raises :class:`~bench.measure.Failure` for whatever does not work here.
    """

    name = ""
    program = ""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.directory = workspace.path / self.name
        self.directory.mkdir(mode=0o700)
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Bring up what must run beforehand; nothing where there is no daemon."""

    def stop(self) -> None:
        """End the daemon, and wait for it."""
        if self.daemon:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def serve(self, command: Sequence[str], probe: Sequence[str]) -> None:
        """Start a daemon and wait until ``probe`` succeeds."""
        log = (self.directory / "log").open("wb")
        try:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror}") from None
        finally:
            log.close()
        wait_for(lambda: bool(quiet(probe)) or True, command[0])

    def base(self) -> list[str]:
        """The command and the options that lead it to this engine's state."""
        raise NotImplementedError

    def run_command(
        self,
        reference: str,
        command: Sequence[str],
        *,
        name: str = "",
        detach: bool = False,
        network: Network = "none",
    ) -> list[str]:
        """Run a container; one that isn't detached is removed at its end."""
        wanted = ["-d"] if detach else ["--rm"]
        named = ["--name", name] if name else []
        return [*self.base(), "run", *wanted, *named, *self.network_options(network), reference, *command]

    def network_options(self, network: Network) -> list[str]:
        return ["--network", network]

    def exec_command(self, name: str, command: Sequence[str]) -> list[str]:
        return [*self.base(), "exec", name, *command]

    def list_command(self) -> list[str]:
        return [*self.base(), "ps", "-a"]

    def remove_command(self, names: Sequence[str]) -> list[str]:
        return [*self.base(), "rm", "-f", *names]

    def logs_command(self, name: str) -> list[str]:
        return [*self.base(), "logs", name]

    def pull_command(self, reference: str) -> list[str]:
        return [*self.base(), "pull", reference]

    def drop_image(self, reference: str) -> None:
        quiet([*self.base(), "rmi", "-f", reference])

    def pull(self, reference: str) -> None:
        quiet(self.pull_command(reference))

    def resident(self) -> list[int]:
        """The processes that the engine keeps for its containers, its daemon included, the containers not."""
        return [pid for pid, line in command_lines().items() if str(self.directory) in line]


def command_lines() -> Mapping[int, str]:
    lines = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                lines[int(entry)] = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue
    return lines


def proportional_set(pid: int) -> float:
    """The proportional set size of a process in MiB (proc_pid_smaps(5)); 0 if it's gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
