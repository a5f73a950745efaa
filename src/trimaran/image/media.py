"""Media types of images (OCI image specification, "Media types"; Docker image manifest v2, schema 2)."""

from __future__ import annotations

from trimaran.errors import ImageError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
ACCEPT = (*INDEXES, *MANIFESTS)

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"

_COMPRESSION = {
    OCI_LAYER: "none",
    OCI_LAYER + "+gzip": "gzip",
    OCI_LAYER + "+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER + ".gzip": "gzip",
    DOCKER_LAYER + ".zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "none",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


def is_layer(media_type: str) -> bool:
    """Whether blobs of this type are file system layers."""
    return media_type in _COMPRESSION


def is_foreign(media_type: str) -> bool:
    """Whether blobs of this type may not be pushed, and are fetched from their own URLs."""
    return ".nondistributable." in media_type or ".foreign." in media_type


def compression(media_type: str) -> str:
    """``gzip``, ``zstd`` or ``none``. Raises :class:`~trimaran.errors.ImageError` for another blob."""
    try:
        return _COMPRESSION[media_type]
    except KeyError:
        raise ImageError(
            f"a layer has the media type {media_type!r}",
            why="this is no file system layer that Trimaran knows",
            hint="it may be an artifact that is not meant to be run",
        ) from None


def sniff(head: bytes) -> str:
    """What the first four bytes of a stream say of its compression."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC) or (head[1:4] == ZSTD_SKIPPABLE and head[:1] and head[0] & 0xF0 == 0x50):
        return "zstd"
    return "none"
