"""From a manifest and a configuration to an image, as the store keeps it."""

from __future__ import annotations

from typing import Any

from trimaran.errors import ImageError
from trimaran.image.config import chain_ids, diff_ids, parse_config, platform_of
from trimaran.image.manifest import Manifest
from trimaran.image.model import Image, Layer
from trimaran.image.platform import Platform


def make_image(
    reference: str,
    manifest: Manifest,
    *,
    digest: str,
    target: str,
    manifest_size: int,
    config_data: bytes,
    platform: Platform | None = None,
) -> Image:
    """The image that a manifest and its configuration describe; that of an artifact is not looked into.

    Raises :class:`~trimaran.errors.ImageError` if they contradict each other.
    """
    config: dict[str, Any] = {}
    diffs, shown = [blob.digest for blob in manifest.layers], platform or Platform.host()
    if manifest.is_image:
        config = parse_config(config_data)
        diffs, shown = diff_ids(config), platform_of(config)
    if len(diffs) != len(manifest.layers):
        raise ImageError(
            f"the image {reference or digest} is inconsistent",
            why=f"it has {len(manifest.layers)} layers, but {len(diffs)} diff IDs",
        )
    return Image(
        reference=reference,
        digest=digest,
        target=target,
        media_type=manifest.media_type,
        id=manifest.config.digest,
        config=config,
        layers=tuple(
            Layer(blob.digest, blob.size, blob.media_type, diff, chain)
            for blob, diff, chain in zip(manifest.layers, diffs, chain_ids(diffs), strict=True)
        ),
        platform=shown,
        size=manifest_size + manifest.config.size + sum(blob.size for blob in manifest.layers),
    )
