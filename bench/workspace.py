"""What the jobs work on: a directory on tmpfs, programs, a root file system, images and a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from bench.measure import Failure, quiet

HERE = Path(__file__).resolve().parent
PORT = int(os.environ.get("TRIMARAN_BENCH_PORT", "15100"))
REGISTRY = f"127.0.0.1:{PORT}"
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
APPLETS = ("sh", "sleep", "cat", "ls", "seq", "yes", "head", "dd", "ip", "ping", "wget", "httpd", "time")


def architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def layer(files: Mapping[str, bytes], mode: int = 0o755) -> bytes:
    """An uncompressed layer with these files, and their directories, owned by root."""
    out = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    entry = tarfile.TarInfo(str(parent))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            if name.endswith("/"):
                continue
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def links(names: Sequence[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(entry)
    return out.getvalue()


class Workspace:
    """Everything below one directory; made when first asked for, gone with :meth:`close`."""

    def __init__(self) -> None:
        shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.path = Path(tempfile.mkdtemp(prefix="tb-", dir=shared))
        self.registry_process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        if self.registry_process:
            self.registry_process.terminate()
            self.registry_process.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def compiled(self, name: str) -> Path:
        """The static program of ``bench/NAME.c``."""
        target = self.path / name
        if not target.exists():
            compiler = os.environ.get("CC", "gcc")
            quiet([compiler, "-O2", "-static", "-s", "-o", str(target), str(HERE / f"{name}.c")])
        return target

    @cached_property
    def base_layers(self) -> list[bytes]:
        busybox = shutil.which("busybox")
        if not busybox:
            raise Failure("busybox is not installed (package busybox-static)")
        files = {
            "bin/busybox": Path(busybox).read_bytes(),
            "bin/true": self.compiled("true").read_bytes(),
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
            "etc/group": b"root:x:0:\n",
            **dict.fromkeys(("proc/", "sys/", "dev/", "tmp/", "root/"), b""),
        }
        return [layer(files), links(APPLETS)]

    @cached_property
    def rootfs(self) -> Path:
        """The base image's root file system, unpacked."""
        target = self.path / "rootfs"
        for content in self.base_layers:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(target)
        for name in ("proc", "sys", "dev", "tmp", "root"):
            (target / name).mkdir(exist_ok=True)
        return target

    def image(self, name: str, layers: Sequence[bytes]) -> str:
        """Push an image of these layers to the registry; its reference, ``127.0.0.1:PORT/NAME``."""
        layout = self.path / "layouts" / name.replace(":", "-")
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def put(content: bytes, kind: str) -> dict[str, object]:
            digest = hashlib.sha256(content).hexdigest()
            (blobs / digest).write_bytes(content)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

        config = {
            "architecture": architecture(),
            "os": "linux",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(c).hexdigest()}" for c in layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": put(json.dumps(config).encode(), CONFIG),
            "layers": [put(gzip.compress(content, 6, mtime=0), TAR) for content in layers],
        }
        index = {"schemaVersion": 2, "manifests": [put(json.dumps(manifest).encode(), MANIFEST)]}
        (layout / "index.json").write_text(json.dumps(index))
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        reference = f"{self.registry}/{name}"
        quiet(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{reference}"])
        shutil.rmtree(layout)
        return reference

    @cached_property
    def base_image(self) -> str:
        return self.image("bench/base:1", self.base_layers)

    @cached_property
    def registry(self) -> str:
        """The address of a registry on loopback (package docker-registry)."""
        config = self.path / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.path}/registry}}}}\n"
            f"http: {{addr: '{REGISTRY}'}}\n"
        )
        try:
            self.registry_process = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise Failure(f"docker-registry: {error.strerror} (package docker-registry)") from None
        wait_for(lambda: bool(urllib.request.urlopen(f"http://{REGISTRY}/v2/", timeout=5)), "docker-registry")
        return REGISTRY


def wait_for(ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Call ``ready`` until it neither fails nor answers False."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, Failure):
            pass
        time.sleep(0.05)
    raise Failure(f"{what} did not come up within {seconds:.0f} s")
