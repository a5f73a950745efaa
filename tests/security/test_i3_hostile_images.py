"""I3: bombs, documents without bounds, digests, sizes, diff IDs and media types that lie.

Each is refused with a clear error, and nothing of it is left: no image, no name, no unpacked layer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import images
from tests.support.fake_registry import FakeRegistry, fake_registry

from trimaran.errors import ImageError, IntegrityError, TrimaranError
from trimaran.image.client import Retry, Transport
from trimaran.image.fields import parse_json
from trimaran.image.gc import prune
from trimaran.image.layers import LayerSink
from trimaran.image.manifest import MAX_LAYERS, MAX_MANIFEST_BYTES, parse_manifest
from trimaran.image.pull import PullOptions, pull
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

OCI = "application/vnd.oci.image"
Change = Callable[[dict[str, Any], dict[str, Any]], None]
ARCHIVE = images.archive([images.regular("hello", b"hello")])


class Sink:
    """Counts what is unpacked, and what is made visible."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.size = 0

    def feed(self, data: memoryview) -> None:
        self.size += len(data)

    def finish(self) -> None:
        self.log.append("finish")

    def restart(self) -> None:
        self.size = 0

    def commit(self, *, sync: bool) -> None:
        self.log.append("commit")

    def abort(self) -> None:
        self.log.append("abort")


class Layers:
    """A layer store that keeps nothing."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sinks: list[Sink] = []

    def begin(
        self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None = None
    ) -> LayerSink | None:
        self.sinks.append(Sink(self.log))
        return self.sinks[-1]

    def layers(self) -> list[str]:
        return []

    def remove_layer(self, chain_id: str) -> int:
        return 0


@pytest.fixture
def layout(tmp_path: Path) -> images.Layout:
    return images.Layout(str(tmp_path / "layout"))


@pytest.fixture
def registry(layout: images.Layout) -> Iterator[FakeRegistry]:
    with fake_registry(layout.path) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def offer(
    layout: images.Layout, change: Callable[[dict[str, Any], dict[str, Any]], None], blob: bytes
) -> None:
    """An image whose manifest and configuration have been changed."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [images.digest(ARCHIVE)]},
    }
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "layers": [layout.blob(blob, f"{OCI}.layer.v1.tar+gzip")],
    }
    change(manifest, config)
    manifest.setdefault("config", layout.json(config, f"{OCI}.config.v1+json"))
    layout.index(layout.json(manifest, manifest["mediaType"]))


def refuse(registry: FakeRegistry, store: ImageStore, match: str, **options: Any) -> Layers:
    """The pull fails in time, and leaves nothing that prune does not take away."""
    layers = Layers()
    transport = Transport(environ={}, retry=Retry(attempts=2, first=0.01), timeout=5.0)
    with pytest.raises(TrimaranError, match=match) as caught:
        pull(registry.image, store, transport, layers, options=PullOptions(**options))
    assert "\n" not in str(caught.value)
    assert "commit" not in layers.log
    assert layers.log.count("abort") == len(layers.sinks)
    assert store.list() == []
    prune(store, layers)
    assert list(store.content.walk()) == []
    assert list(store.content.partials()) == []
    return layers


def nothing(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """Changes nothing."""


def test_the_plain_image_is_accepted(
    layout: images.Layout, registry: FakeRegistry, store: ImageStore
) -> None:
    offer(layout, nothing, images.compress(ARCHIVE))
    layers = Layers()
    pull(registry.image, store, Transport(environ={}), layers)
    assert layers.log == ["finish", "commit"]


def test_bomb(layout: images.Layout, registry: FakeRegistry, store: ImageStore) -> None:
    limit = 1 << 20
    offer(layout, nothing, gzip.compress(bytes(64 << 20)))
    layers = refuse(registry, store, "too large when unpacked", max_layer=limit)
    assert layers.sinks[0].size <= limit


def test_bomb_by_ratio_alone() -> None:
    from trimaran.image.decompress import size_limit

    assert size_limit(10 << 20) < 4 << 30, "10 MiB must not become more than some GiB"


@pytest.mark.parametrize(
    ("match", "blob", "change"),
    [
        ("not what its image promises", images.compress(ARCHIVE[:-512] + b"x" * 512), nothing),
        ("media type lies", ARCHIVE, nothing),
        ("cannot be decompressed", images.compress(ARCHIVE)[:-9], nothing),
        (
            "too long|not what was promised",
            images.compress(ARCHIVE),
            lambda m, c: m["layers"][0].update(size=m["layers"][0]["size"] - 1),
        ),
        (
            "not what was promised|ended early",
            images.compress(ARCHIVE),
            lambda m, c: m["layers"][0].update(size=m["layers"][0]["size"] + 1),
        ),
        (
            "no file system layer",
            images.compress(ARCHIVE),
            lambda m, c: m["layers"][0].update(mediaType="application/x-python"),
        ),
        ("inconsistent", images.compress(ARCHIVE), lambda m, c: c["rootfs"].update(diff_ids=[])),
        ("is no digest", images.compress(ARCHIVE), lambda m, c: c["rootfs"].update(diff_ids=["../../x"])),
        ("must be a list", images.compress(ARCHIVE), lambda m, c: c.update(config={"Env": "A=1"})),
        ("without NUL", images.compress(ARCHIVE), lambda m, c: c.update(config={"Cmd": ["a\0b"]})),
        ("is no sha256", images.compress(ARCHIVE), lambda m, c: m["layers"][0].update(digest="sha256:../x")),
        ("is no size", images.compress(ARCHIVE), lambda m, c: m["layers"][0].update(size=-1)),
        ("ambiguous", images.compress(ARCHIVE), lambda m, c: m.update(manifests=[])),
        (
            "media type lies",
            images.compress(ARCHIVE),
            lambda m, c: m.update(mediaType=f"{OCI}.index.v1+json"),
        ),
        ("schema version", images.compress(ARCHIVE), lambda m, c: m.update(schemaVersion=1)),
        (
            "1025 layers|too many|at most",
            images.compress(ARCHIVE),
            lambda m, c: m.update(layers=m["layers"] * (MAX_LAYERS + 1)),
        ),
    ],
)
def test_lies(
    layout: images.Layout,
    registry: FakeRegistry,
    store: ImageStore,
    match: str,
    blob: bytes,
    change: Change,
) -> None:
    offer(layout, change, blob)
    refuse(registry, store, match)


def test_an_endless_manifest(layout: images.Layout, registry: FakeRegistry, store: ImageStore) -> None:
    def endless(handler: Any) -> bool:
        if "/manifests/" not in handler.path:
            return False
        handler.start(200, {"Content-Type": f"{OCI}.manifest.v1+json", "Transfer-Encoding": "chunked"})
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(MAX_MANIFEST_BYTES // 0x10000 * 10):
            handler.wfile.write(chunk)
        handler.close_connection = True
        return True

    registry.faults.append(endless)
    refuse(registry, store, "too large a manifest")


def test_another_manifest_than_its_digest(
    layout: images.Layout, registry: FakeRegistry, store: ImageStore
) -> None:
    offer(layout, nothing, images.compress(ARCHIVE))

    def other(handler: Any) -> bool:
        if "/manifests/" not in handler.path:
            return False
        headers = {"Content-Type": f"{OCI}.manifest.v1+json", "Docker-Content-Digest": images.digest(b"x")}
        handler.answer(200, b'{"schemaVersion":2}', headers)
        return True

    registry.faults.append(other)
    refuse(registry, store, "not what was promised")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 100_000 + b"}",
        b"{" + b'"a":1,' * 10 + b"}",
        b"\xff\xfe",
        b"null",
        b'{"size": NaN',
    ],
)
def test_documents_without_sense_or_bounds(text: bytes) -> None:
    with pytest.raises(ImageError):
        parse_json(text, "manifest", MAX_MANIFEST_BYTES)


def test_nested_indexes_are_not_followed(
    layout: images.Layout, registry: FakeRegistry, store: ImageStore
) -> None:
    platform = {"platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": []}
    inner = {**layout.json(index, index["mediaType"]), **platform}  # type: ignore[dict-item]
    outer = {**index, "manifests": [inner]}
    layout.index(layout.json(outer, f"{OCI}.index.v1+json"))
    refuse(registry, store, "index within its index|has no image for")


def test_a_manifest_is_checked_against_the_digest_in_the_reference(
    layout: images.Layout, registry: FakeRegistry, store: ImageStore
) -> None:
    offer(layout, nothing, images.compress(ARCHIVE))
    good = registry.index()["manifests"][0]["digest"]
    path = Path(layout.path) / "blobs" / "sha256" / good.partition(":")[2]
    path.write_bytes(path.read_bytes().replace(b"schemaVersion", b"schemaversion"))
    with pytest.raises(IntegrityError):
        pull(f"{registry.host}/app@{good}", store, Transport(environ={}))


def test_duplicate_keys_are_one_value_for_all() -> None:
    """The last one counts, for the check and for the use: there is one parser."""
    digest = images.digest(b"x")
    config = json.dumps({"mediaType": "a", "digest": digest, "size": 1})
    text = f'{{"schemaVersion":2,"config":{{}},"config":{config},"layers":[]}}'
    parsed = parse_manifest(text.encode())
    assert parsed.media_type == f"{OCI}.manifest.v1+json"
