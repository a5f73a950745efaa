"""I7: what `load` and `import` read gets the treatment of a registry's answers."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import images

from trimaran.errors import TrimaranError
from trimaran.image.bundle import TarBundle, open_bundle
from trimaran.image.gc import prune
from trimaran.image.layer_store import UnpackedLayers
from trimaran.image.load import load
from trimaran.image.store import AREA, ImageStore
from trimaran.snapshot import AREA as SNAPSHOTS
from trimaran.snapshot import snapshotter
from trimaran.state import Database

pytestmark = pytest.mark.root

ARCHIVE = images.archive([images.regular("hello", b"hello")])
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [images.digest(ARCHIVE)]},
    }
).encode()


class Root:
    """A root directory with its stores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(str(path / "state.db"), [AREA, SNAPSHOTS])
        self.store = ImageStore(str(path), self.database)
        self.layers = UnpackedLayers(snapshotter(str(path), self.database))

    def load(self, archive: bytes) -> list[str]:
        bundle = open_bundle("", self.store.content.root, io.BytesIO(archive))
        return [image.reference for image in load(bundle, self.store, self.layers)]

    def files(self) -> list[Path]:
        return [path for path in (self.path / "content").rglob("*") if path.is_file()]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path)
    yield made
    made.database.close()


def docker_archive(**changes: object) -> bytes:
    """What `docker save` of old wrote."""
    entry = {"Config": "c.json", "RepoTags": ["x.example/a:1"], "Layers": ["l/layer.tar"], **changes}
    return images.archive(
        [
            images.regular("c.json", CONFIG),
            images.regular("l/layer.tar", ARCHIVE),
            images.regular("manifest.json", json.dumps([entry]).encode()),
        ]
    )


def test_the_plain_archive_is_accepted(root: Root) -> None:
    assert root.load(docker_archive()) == ["x.example/a:1"]


@pytest.mark.parametrize(
    "archive",
    [
        docker_archive(Layers=["l/layer.tar", "l/layer.tar"]),
        docker_archive(Layers=["c.json"]),
        docker_archive(Layers=["../../../../etc/passwd"]),
        docker_archive(Layers=["/etc/passwd"]),
        docker_archive(Config="/etc/hostname"),
        docker_archive(RepoTags=["../../x"]),
        docker_archive(RepoTags=[1]),
        docker_archive(Layers="l"),
        images.archive([images.regular("manifest.json", b"[" * 100_000)]),
        images.archive([images.regular("index.json", b"{}")]),
        images.archive([images.regular("other", b"")]),
        images.archive([images.link("manifest.json", "/etc/passwd")]),
        images.archive([images.link("manifest.json", "manifest.json")]),
        images.compress(docker_archive())[:-20],
        docker_archive()[:3000],
        b"",
        b"\0" * 1024,
        b"x" * 5000,
    ],
)
def test_broken_and_hostile_archives(root: Root, archive: bytes) -> None:
    with pytest.raises(TrimaranError) as caught:
        root.load(archive)
    assert "\n" not in str(caught.value)
    assert root.store.list() == []
    prune(root.store, root.layers)
    assert root.files() == []
    assert list(root.layers.layers()) == []


def test_a_layout_that_lies_about_a_digest(root: Root, tmp_path: Path) -> None:
    path = tmp_path / "layout"
    images.write_layout(str(path), [ARCHIVE])
    blob = max((path / "blobs" / "sha256").iterdir(), key=lambda file: file.stat().st_size)
    blob.write_bytes(blob.read_bytes()[::-1])
    bundle = open_bundle(str(path), str(tmp_path))
    with pytest.raises(TrimaranError, match="not what was promised"):
        load(bundle, root.store, root.layers)
    assert root.store.list() == []


def test_a_layout_whose_blobs_are_links_to_the_host(root: Root, tmp_path: Path) -> None:
    path = tmp_path / "layout"
    images.write_layout(str(path), [ARCHIVE])
    for blob in (path / "blobs" / "sha256").iterdir():
        blob.unlink()
        os.symlink("/etc/hostname", blob)
    with pytest.raises(TrimaranError, match="leads out of"):
        load(open_bundle(str(path), str(tmp_path)), root.store, root.layers)


def test_headers_without_bounds() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    data = header.tobuf(tarfile.USTAR_FORMAT) + b"x" * 1024
    with pytest.raises(TrimaranError, match="too large a header"):
        TarBundle(io.BytesIO(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archives_are_errors_and_not_crashes(root: Root, data: st.DataObject) -> None:
    archive = bytearray(docker_archive())
    for _ in range(data.draw(st.integers(1, 8))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        root.load(bytes(archive))
    except TrimaranError:
        return
    assert all(image.diff_ids == [images.digest(ARCHIVE)] or image.id for image in root.store.list())
