"""Images made here: from a root file system (import), or from an image and a container's changes (commit)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, cast

from trimaran.errors import ImageError
from trimaran.image import media
from trimaran.image.content import digest_of
from trimaran.image.describe import make_image
from trimaran.image.layers import LayerStore
from trimaran.image.manifest import Descriptor, Manifest
from trimaran.image.model import Image
from trimaran.image.platform import Platform
from trimaran.image.reference import Reference
from trimaran.image.store import ImageStore, Lease

GZIP_LEVEL = 1


class LayerBlob:
    """Compresses a layer's tar stream into the store, and unpacks it as well, as it is written.

    The compressed digest is known only at the end, so the blob grows in a nameless ingest.
    """

    def __init__(self, store: ImageStore, lease: Lease) -> None:
        from isal.isal_zlib import DEFLATED, compressobj

        self._store = store
        self._lease = lease
        self._temporary = store.content.temporary()
        # 31 is a window of 2^15 in a gzip frame. ISA-L is several times as fast as zlib.
        self._compressor = compressobj(GZIP_LEVEL, DEFLATED, 31)
        self._diff = hashlib.sha256()
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next part of the uncompressed stream."""
        self._diff.update(data)
        self._put(self._compressor.compress(data))

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._temporary.write(data)

    def finish(self) -> tuple[Descriptor, str]:
        """The blob, now in the store, and its diff ID."""
        self._put(self._compressor.flush())
        digest = f"sha256:{self._digest.hexdigest()}"
        self._lease.protect([digest])
        self._temporary.commit(digest)
        descriptor = Descriptor(f"{media.OCI_LAYER}+gzip", digest, self._size)
        return descriptor, f"sha256:{self._diff.hexdigest()}"

    def close(self) -> None:
        """Drop what was not finished. Idempotent."""
        self._temporary.close()


def add_manifest(store: ImageStore, lease: Lease, config_data: bytes, layers: Sequence[Descriptor]) -> Image:
    """Write the manifest of a configuration and layers that are in the store; the image is not recorded."""
    config = Descriptor(media.OCI_CONFIG, digest_of(config_data), len(config_data))
    manifest = Manifest(media.OCI_MANIFEST, config, tuple(layers))
    data = _encode(
        {
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "config": config.to_json(),
            "layers": [blob.to_json() for blob in layers],
        }
    )
    digest = digest_of(data)
    lease.protect([digest])
    store.content.add(data)
    image = make_image(
        "", manifest, digest=digest, target=digest, manifest_size=len(data), config_data=config_data
    )
    lease.protect(image.chain_ids)
    return image


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def now() -> str:
    """The present time as configurations have it (RFC 3339)."""
    return datetime.fromtimestamp(int(time.time()), UTC).isoformat().replace("+00:00", "Z")


def new_config(platform: Platform, run: Mapping[str, Any], created_by: str, comment: str) -> dict[str, Any]:
    """The configuration of an image with one layer."""
    made = now()
    config: dict[str, Any] = {
        "created": made,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": dict(run),
        "history": [{"created": made, "created_by": created_by, "comment": comment}],
    }
    if platform.variant and platform.architecture != "amd64":
        config["variant"] = platform.variant
    return config


def child_config(
    parent: Mapping[str, Any], run: Mapping[str, Any], created_by: str, comment: str, author: str
) -> dict[str, Any]:
    """The configuration of an image with one layer more than its parent."""
    made = now()
    entry = {"created": made, "created_by": created_by, "comment": comment, "author": author}
    config = {key: value for key, value in parent.items() if key != "rootfs"}
    config["created"] = made
    config["config"] = {**(parent.get("config") or {}), **run}
    if author:
        config["author"] = author
    history = list(parent.get("history") or [])
    config["history"] = [*history, {key: value for key, value in entry.items() if value}]
    return config


def unpack_image(store: ImageStore, image: Image, layers: LayerStore) -> None:
    """Unpack those of an image's layers that are not, from the content store.

    Raises ImageError and IntegrityError; NotFound if a blob is not in the store.
    """
    from trimaran.image.fetch import unpack_stored

    parent: str | None = None
    for layer in image.layers:
        sink = layers.begin(layer.chain_id, parent)
        if sink:
            try:
                blob = Descriptor(layer.media_type, layer.digest, layer.size)
                unpack_stored(store.content, blob, layer.diff_id, sink)
                sink.commit(sync=True)
            except BaseException:
                sink.abort()
                raise
        parent = layer.chain_id


def import_tree(
    store: ImageStore,
    layers: LayerStore,
    file: IO[bytes],
    name: str,
    *,
    platform: Platform,
    run: Mapping[str, Any],
    message: str,
) -> Image:
    """Make an image of one layer from a tar archive, gzip or zstd compressed or not.

    Raises ImageError if it is none; nothing is then left.
    """
    from trimaran.image.decompress import decompression_errors, open_any
    from trimaran.image.source import FileSource

    with store.lease() as lease:
        blob = LayerBlob(store, lease)
        buffer = memoryview(bytearray(1 << 20))
        try:
            reader = open_any(FileSource(cast(BinaryIO, file)))
            while size := reader.readinto(buffer):
                blob.write(buffer[:size])
            layer = blob.finish()
        except decompression_errors() as error:
            raise ImageError("the archive cannot be decompressed", why=str(error)) from error
        finally:
            blob.close()
        config = new_config(platform, run, "trimaran import", message)
        return _add_unpacked(store, lease, layers, name, config, [layer])


def commit_changes(
    store: ImageStore,
    layers: LayerStore,
    parent: Image | None,
    upper: int,
    name: str,
    *,
    run: Mapping[str, Any],
    message: str,
    author: str,
) -> Image:
    """Make an image of a parent (None: an empty one) and the changes in an upper directory of overlayfs."""
    from trimaran.image.layer_writer import write_layer

    with store.lease() as lease:
        if parent:
            lease.protect(layer.digest for layer in parent.layers)
        blob = LayerBlob(store, lease)
        try:
            write_layer(upper, blob)
            layer = blob.finish()
        finally:
            blob.close()
        below = (
            [(Descriptor(x.media_type, x.digest, x.size), x.diff_id) for x in parent.layers] if parent else []
        )
        if parent:
            config = child_config(parent.config, run, "trimaran commit", message, author)
        else:
            config = new_config(Platform.host(), run, "trimaran commit", message)
        return _add_unpacked(store, lease, layers, name, config, [*below, layer])


def _add_unpacked(
    store: ImageStore,
    lease: Lease,
    layers: LayerStore,
    name: str,
    config: Mapping[str, Any],
    blobs: Sequence[tuple[Descriptor, str]],
) -> Image:
    """Unpack before the image gets its name: an archive that cannot be unpacked must not leave one."""
    diffs = [diff for _, diff in blobs]
    data = _encode({**config, "rootfs": {"type": "layers", "diff_ids": diffs}})
    lease.protect([digest_of(data)])
    store.content.add(data)
    image = add_manifest(store, lease, data, [blob for blob, _ in blobs])
    unpack_image(store, image, layers)
    image.reference = str(Reference.parse(name)) if name else ""
    store.put(image)
    return image
