"""Checking the store, every blob against its digest, every image against what it needs; and healing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trimaran.errors import ImageError, IntegrityError, NotFound, TrimaranError
from trimaran.image.assemble import unpack_image
from trimaran.image.client import Transport
from trimaran.image.layers import LayerStore
from trimaran.image.model import Image
from trimaran.image.pull import PullOptions, pull
from trimaran.image.reference import Reference
from trimaran.image.store import ImageStore


class CheckedLayers(LayerStore, Protocol):
    """What checking needs of the snapshotter."""

    def layers(self) -> Sequence[str]:
        """The chain IDs of all unpacked layers."""


@dataclass(slots=True)
class Report:
    """What a check has found, a line each: what is wrong, and what has been healed."""

    blobs: int = 0
    images: int = 0
    problems: list[str] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.problems


def check(
    store: ImageStore,
    layers: CheckedLayers,
    *,
    transport: Transport | None = None,
    progress: Callable[[str], None] = lambda digest: None,
) -> Report:
    """Verify everything. With ``transport``, what is damaged or missing is fetched and unpacked again.

    Damaged blobs are removed in any case: nothing may be made of them.
    """
    report = Report()
    for digest, _ in list(store.content.walk()):
        progress(digest)
        report.blobs += 1
        try:
            store.content.verify(digest)
        except IntegrityError as error:
            report.problems.append(str(error))
        except NotFound:
            report.blobs -= 1  # removed by somebody else meanwhile
    unpacked = set(layers.layers())
    seen: set[str] = set()
    for image in store.list():
        if image.digest not in seen:
            seen.add(image.digest)
            report.images += 1
            missing = _missing(store, image, unpacked)
            report.problems += missing
            if missing and transport:
                _heal(store, layers, transport, image, report)
    if transport and not any(_missing(store, image, set(layers.layers())) for image in store.list()):
        report.problems.clear()
    return report


def _missing(store: ImageStore, image: Image, unpacked: set[str]) -> list[str]:
    name = image.reference or image.digest
    blobs = [image.target, image.digest, image.id, *(layer.digest for layer in image.layers)]
    found = [f"{name} lacks the content {blob}" for blob in blobs if store.content.size(blob) is None]
    chains = image.chain_ids if image.config else []
    return found + [f"{name} lacks the unpacked layer {chain}" for chain in chains if chain not in unpacked]


def _heal(store: ImageStore, layers: LayerStore, transport: Transport, image: Image, report: Report) -> None:
    """Unpack again what is here; else fetch the image by its digest, from where its name says."""
    name = image.reference or image.digest
    blobs = [image.target, image.digest, image.id, *(layer.digest for layer in image.layers)]
    try:
        if any(store.content.size(blob) is None for blob in blobs):
            if not image.reference:
                raise ImageError("it has no name, so there is no registry to fetch it from")
            source = Reference.parse(image.reference).with_digest(image.target)
            options = PullOptions(platform=image.platform, record=False)
            pull(str(source), store, transport, layers, options=options)
        else:
            with store.lease() as lease:
                lease.protect(image.chain_ids)
                unpack_image(store, image, layers)
        report.healed.append(name)
    except TrimaranError as error:
        report.problems.append(f"{name} cannot be healed: {error}")
