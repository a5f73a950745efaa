"""Images for tests, built from Debian packages once a machine and kept in a cache.

Each is an OCI layout directory with the one tag ``latest``.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from typing import Any

CACHE = os.environ.get("TRIMARAN_TEST_CACHE", "/var/cache/trimaran-tests")
TIME = 1_700_000_000
MIRROR = os.environ.get("TRIMARAN_DEBIAN_MIRROR", "")


def busybox() -> str:
    """One layer: Debian's static busybox with links to its common applets. A layout's path."""
    return _cached("busybox", lambda path: write_layout(path, [_busybox_layer()], command=["sh"]))


def five_layers() -> str:
    """busybox and four layers that add to, replace and remove what lies below them."""
    return _cached("five-layers", lambda path: write_layout(path, _five_layers(), command=["sh"]))


def debian() -> str:
    """Debian 12, by mmdebstrap and umoci (needs root and a Debian mirror)."""
    return _cached("debian-12", _build_debian)


def _cached(name: str, build: Callable[[str], None]) -> str:
    os.makedirs(CACHE, exist_ok=True)
    path = os.path.join(CACHE, f"{name}-v1")
    with open(os.path.join(CACHE, f"{name}.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            partial = f"{path}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            os.rename(partial, path)
    return path


def _busybox_layer() -> bytes:
    with open("/bin/busybox", "rb") as file:
        binary = file.read()
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout
    members: list[tuple[tarfile.TarInfo, bytes]] = [
        *(directory(name) for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")),
        directory("tmp", mode=0o1777),
        regular("bin/busybox", binary, mode=0o755),
        regular("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        regular("etc/group", b"root:x:0:\nstaff:x:50:nobody\nnogroup:x:65534:\n"),
        regular("etc/os-release", b'ID=busybox\nPRETTY_NAME="busybox for tests"\n'),
    ]
    members += [link(f"bin/{name}", "busybox") for name in applets.split() if name != "busybox"]
    return archive(members)


def _five_layers() -> list[bytes]:
    return [
        _busybox_layer(),
        archive(
            [directory("opt"), directory("opt/a"), regular("opt/a/one", b"1"), regular("opt/a/two", b"2")]
        ),
        archive([regular("opt/a/.wh.one", b""), regular("opt/a/three", b"3")]),
        archive([directory("opt/a"), regular("opt/a/.wh..wh..opq", b""), regular("opt/a/four", b"4")]),
        archive([regular("etc/os-release", b"ID=five\n"), link("opt/link", "a/four")]),
    ]


def _build_debian(path: str) -> None:
    root = f"{path}.tar"
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar", "bookworm", root]
    subprocess.run([*command, MIRROR] if MIRROR else command, check=True, capture_output=True)
    try:
        with open(root, "rb") as file:
            write_layout(path, [file.read()], command=["bash"])
    finally:
        os.unlink(root)


def directory(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A directory for :func:`archive`."""
    return _member(name, tarfile.DIRTYPE, b"", {"mode": 0o755, **fields})


def regular(name: str, data: bytes, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file for :func:`archive`."""
    return _member(name, tarfile.REGTYPE, data, {"mode": 0o644, **fields})


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link for :func:`archive`."""
    return _member(name, tarfile.SYMTYPE, b"", {"linkname": target, "mode": 0o777})


def _member(name: str, kind: bytes, data: bytes, fields: dict[str, Any]) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), TIME
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def compress(data: bytes) -> bytes:
    """gzip, the same bytes for the same input."""
    return gzip.compress(data, 6, mtime=0)


def digest(data: bytes) -> str:
    """The sha256 digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """An OCI layout in the making: blobs by digest, and an index of them."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.join(path, "blobs", "sha256"))
        self._write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def _write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; returns its descriptor."""
        key = digest(data)
        self._write(os.path.join("blobs", "sha256", key.partition(":")[2]), data)
        return {"mediaType": media_type, "digest": key, "size": len(data)}

    def json(self, document: dict[str, Any], media_type: str) -> dict[str, Any]:
        """Add a JSON document; returns its descriptor."""
        return self.blob(json.dumps(document).encode(), media_type)

    def index(self, *manifests: dict[str, Any], tag: str = "latest") -> None:
        """Write ``index.json``; the first manifest gets the tag."""
        tagged = {**manifests[0], "annotations": {"org.opencontainers.image.ref.name": tag}}
        document = {"schemaVersion": 2, "manifests": [tagged, *manifests[1:]]}
        self._write("index.json", json.dumps(document).encode())


OCI = "application/vnd.oci.image"


def write_image(
    layout: Layout,
    archives: Sequence[bytes],
    *,
    command: Sequence[str] = (),
    pack: Callable[[bytes], bytes] = compress,
    suffix: str = "+gzip",
    architecture: str = "",
) -> dict[str, Any]:
    """Add an image with these layers to a layout; returns its manifest's descriptor."""
    arch = architecture or {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "created": "2023-11-14T22:13:20Z",
        "architecture": arch,
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in archives]},
        "history": [
            {"created": "2023-11-14T22:13:20Z", "created_by": f"layer {n}"} for n in range(len(archives))
        ],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": layout.json(config, f"{OCI}.config.v1+json"),
        "layers": [layout.blob(pack(data), f"{OCI}.layer.v1.tar{suffix}") for data in archives],
    }
    platform = {"architecture": arch, "os": "linux"}
    return {**layout.json(manifest, f"{OCI}.manifest.v1+json"), "platform": platform}


def write_layout(path: str, archives: Sequence[bytes], **options: Any) -> None:
    """A layout with one image."""
    layout = Layout(path)
    layout.index(write_image(layout, archives, **options))
