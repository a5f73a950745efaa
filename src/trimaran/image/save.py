"""Saving images: one archive that is an OCI layout and docker's form at once, or a plain OCI layout.

`docker load`, `podman load`, `ctr image import` and skopeo read the first; blobs are written as they are in
the store, so all digests stay.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from typing import IO, Any, Protocol

from trimaran.errors import Conflict, NotFound
from trimaran.image.load import CONTAINERD_NAME, REF_NAME
from trimaran.image.media import OCI_INDEX
from trimaran.image.model import Image
from trimaran.image.reference import Reference
from trimaran.image.store import ImageStore

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class _Target(Protocol):
    def add(self, name: str, size: int, content: IO[bytes]) -> None:
        """Write a file."""


class _Tar:
    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, size: int, content: IO[bytes]) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o644
        self._tar.addfile(info, content)

    def close(self) -> None:
        self._tar.close()


class _Directory:
    def __init__(self, path: str) -> None:
        self._path = path

    def add(self, name: str, size: int, content: IO[bytes]) -> None:
        target = os.path.join(self._path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            while data := content.read(1 << 20):
                file.write(data)


def save_archive(store: ImageStore, names: Sequence[str], file: IO[bytes], *, docker: bool = True) -> None:
    """Write images to a tar archive; ``docker`` adds what `docker load` of any age reads."""
    tar = _Tar(file)
    _save(store, names, tar, docker=docker)
    tar.close()


def save_directory(store: ImageStore, names: Sequence[str], path: str) -> None:
    """Write images to an OCI layout in a directory, which must be new or empty."""
    os.makedirs(path, exist_ok=True)
    if os.listdir(path):
        raise Conflict(f"{path} is not empty")
    _save(store, names, _Directory(path), docker=False)


def _save(store: ImageStore, names: Sequence[str], target: _Target, *, docker: bool) -> None:
    written: set[str] = set()
    manifests: list[dict[str, Any]] = []
    entries: dict[str, dict[str, Any]] = {}
    for name in names:
        image = store.get(name)
        for digest in (*(layer.digest for layer in image.layers), image.id, image.digest):
            if digest not in written:
                written.add(digest)
                _blob(store, target, digest)
        manifests.append(_descriptor(store, image))
        entry = entries.setdefault(
            image.id,
            {
                "Config": _path(image.id),
                "RepoTags": [],
                "Layers": [_path(layer.digest) for layer in image.layers],
            },
        )
        if image.reference and Reference.parse(image.reference).tag:
            entry["RepoTags"].append(Reference.parse(image.reference).familiar)
    if docker:
        _add(target, "manifest.json", json.dumps(list(entries.values())).encode())
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    _add(target, "index.json", json.dumps(index).encode())
    _add(target, "oci-layout", LAYOUT)


def _descriptor(store: ImageStore, image: Image) -> dict[str, Any]:
    size = store.content.size(image.digest)
    if size is None:
        raise NotFound(f"the manifest of {image.reference} is not in the store", hint="pull it again")
    out: dict[str, Any] = {"mediaType": image.media_type, "digest": image.digest, "size": size}
    out["platform"] = {"architecture": image.platform.architecture, "os": image.platform.os}
    if image.reference:
        reference = Reference.parse(image.reference)
        out["annotations"] = {CONTAINERD_NAME: str(reference), REF_NAME: reference.tag or "latest"}
    return out


def _blob(store: ImageStore, target: _Target, digest: str) -> None:
    with store.content.open(digest) as file:
        target.add(_path(digest), os.fstat(file.fileno()).st_size, file)


def _path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _add(target: _Target, name: str, data: bytes) -> None:
    target.add(name, len(data), io.BytesIO(data))
