"""Docker: a dockerd of our own, which starts a containerd of its own."""

from __future__ import annotations

from bench.peers.engine import Engine


class Docker(Engine):
    name = "docker"
    program = "dockerd"

    @property
    def socket(self) -> str:
        return f"unix://{self.directory}/d.sock"

    def base(self) -> list[str]:
        return ["docker", "-H", self.socket]

    def start(self) -> None:
        command = [
            *("dockerd", "--data-root", f"{self.directory}/data", "--exec-root", f"{self.directory}/exec"),
            *("-H", self.socket, "--pidfile", f"{self.directory}/pid", "--storage-driver", "overlay2"),
            *("--config-file", f"{self.directory}/none.json", "--userland-proxy=false"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        ]
        (self.directory / "none.json").write_text("{}")
        self.serve(command, [*self.base(), "version"])
