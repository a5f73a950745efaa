"""An engine on a directory of its own with the busybox image in it, for tests."""

from __future__ import annotations

import gzip
import json
import os

from tests.support import images

from trimaran import Engine
from trimaran.image.config import chain_ids, diff_ids
from trimaran.image.layer import LayerUnpacker
from trimaran.image.model import Image, Layer
from trimaran.image.platform import Platform
from trimaran.image.reference import Reference
from trimaran.snapshot import LayerFacts, Snapshotter

BUSYBOX = "busybox"


def engine_with_busybox(root: str) -> Engine:
    """An engine on ``root``, where the image ``busybox`` is unpacked."""
    engine = Engine(root)
    install(engine, images.busybox(), BUSYBOX)
    return engine


def install(engine: Engine, layout: str, name: str) -> None:
    """Put the image of an OCI layout into an engine, unpacked, by this name."""
    index = json.loads(_read(os.path.join(layout, "index.json")))
    entry = index["manifests"][0]
    manifest = json.loads(_blob(layout, entry["digest"]))
    config = json.loads(_blob(layout, manifest["config"]["digest"]))
    diffs = diff_ids(config)
    chains = chain_ids(diffs)
    for blob, chain, parent in zip(manifest["layers"], chains, [None, *chains], strict=False):
        data = _blob(layout, blob["digest"])
        tar = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        _unpack(engine.core.snapshots, chain, parent, tar)
    image = Image(
        reference=str(Reference.parse(name)),
        digest=entry["digest"],
        target=entry["digest"],
        media_type=entry["mediaType"],
        id=manifest["config"]["digest"],
        config=config,
        layers=tuple(
            Layer(b["digest"], b["size"], b["mediaType"], diff, chain)
            for b, diff, chain in zip(manifest["layers"], diffs, chains, strict=True)
        ),
        platform=Platform.host(),
        size=sum(b["size"] for b in manifest["layers"]),
    )
    engine.core.images.put(image)


def _unpack(snapshots: Snapshotter, chain: str, parent: str | None, tar: bytes) -> None:
    draft = snapshots.prepare_layer(chain, parent)
    if draft is None:
        return
    fd = os.open(draft.path, os.O_RDONLY | os.O_DIRECTORY)
    unpacker = LayerUnpacker(fd, None)
    os.close(fd)
    unpacker.feed(memoryview(tar))
    done = unpacker.finish()
    facts = LayerFacts(**{f: getattr(done, f) for f in LayerFacts.__dataclass_fields__})
    snapshots.commit_layer(draft, facts, sync=False)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _blob(layout: str, digest: str) -> bytes:
    return _read(os.path.join(layout, "blobs", *digest.split(":")))
