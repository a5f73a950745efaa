"""containerd, driven by ctr, with a daemon of our own."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import Failure, quiet
from bench.peers.engine import Engine, Network

CONFIG = """\
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/c.sock"
"""


class Containerd(Engine):
    name = "containerd"
    program = "containerd"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.count = 0

    def base(self) -> list[str]:
        return ["ctr", "--address", f"{self.directory}/c.sock"]

    def start(self) -> None:
        config = self.directory / "config.toml"
        config.write_text(CONFIG.format(self.directory))
        self.serve(["containerd", "--config", str(config)], [*self.base(), "version"])

    def run_command(
        self,
        reference: str,
        command: Sequence[str],
        *,
        name: str = "",
        detach: bool = False,
        network: Network = "none",
    ) -> list[str]:
        if network != "none":
            raise Failure("ctr makes no network without CNI configuration")
        self.count += 1
        wanted = "-d" if detach else "--rm"
        return [*self.base(), "run", wanted, reference, name or f"c{self.count}", *command]

    def exec_command(self, name: str, command: Sequence[str]) -> list[str]:
        self.count += 1
        return [*self.base(), "tasks", "exec", "--exec-id", f"e{self.count}", name, *command]

    def list_command(self) -> list[str]:
        return [*self.base(), "containers", "list"]

    def remove_command(self, names: Sequence[str]) -> list[str]:
        # ctr has no command that ends and removes; a shell strings the two together.
        script = 'ctr=$1; shift; for n; do $ctr tasks rm -f "$n" && $ctr containers rm "$n" || exit 1; done'
        return ["sh", "-c", script, "sh", " ".join(self.base()), *names]

    def logs_command(self, name: str) -> list[str]:
        raise Failure("ctr keeps no logs")

    def pull_command(self, reference: str) -> list[str]:
        return [*self.base(), "images", "pull", "--plain-http", reference]

    def drop_image(self, reference: str) -> None:
        quiet([*self.base(), "images", "rm", "--sync", reference])
