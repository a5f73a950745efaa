"""Podman, with its default runtime, crun."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.engine import Engine, Network


class Podman(Engine):
    name = "podman"
    program = "podman"

    def base(self) -> list[str]:
        return [
            *("podman", "--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run"),
            *("--tmpdir", f"{self.directory}/tmp", "--cgroup-manager", "cgroupfs"),
            *("--events-backend", "none", "--network-config-dir", f"{self.directory}/networks"),
        ]

    def run_command(
        self,
        reference: str,
        command: Sequence[str],
        *,
        name: str = "",
        detach: bool = False,
        network: Network = "none",
    ) -> list[str]:
        full = super().run_command(reference, command, name=name, detach=detach, network=network)
        at = full.index("run") + 1
        # Podman raises these limits by default, which a root without CAP_SYS_RESOURCE may not.
        return [*full[:at], "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", *full[at:]]

    def remove_command(self, names: Sequence[str]) -> list[str]:
        # Docker's rm -f kills at once; Podman's waits ten seconds for the program to take a hint.
        return [*self.base(), "rm", "-f", "-t", "0", *names]

    def pull_command(self, reference: str) -> list[str]:
        return [*self.base(), "pull", "--quiet", "--tls-verify=false", reference]
