"""Manifests, indexes and image configurations: parsed from foreign bytes, within limits.

OCI image specification 1.1 (https://github.com/opencontainers/image-spec): "Image Index", "Image
Manifest", "Image Configuration", "Descriptors". What is not understood is kept, since a manifest is only
ever passed on as the bytes it came in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trimaran.errors import ImageError, InvalidInput
from trimaran.image import media
from trimaran.image.fields import optional, parse_json, strings, typed
from trimaran.image.platform import Platform
from trimaran.image.reference import is_digest

MAX_MANIFEST_BYTES = 4 << 20
MAX_LAYERS = 1024
MAX_MANIFESTS = 4096
MAX_SIZE = 1 << 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a blob is: its type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, with the keys in the specification's order."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            out["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                out["platform"]["variant"] = self.platform.variant
        if self.annotations:
            out["annotations"] = self.annotations
        if self.urls:
            out["urls"] = list(self.urls)
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        return out


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, or one artifact: a configuration and layers."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """Whether it can be run, as against an artifact of another kind."""
        return self.config.media_type in media.CONFIGS


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests for several platforms, or of several kinds."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    def select(self, wanted: Platform) -> Descriptor | None:
        """The manifest that serves a platform best; the first of equals; None if there is none."""
        ranked = [
            (item.platform.rank(wanted) if item.platform else 100, position, item)
            for position, item in enumerate(self.manifests)
            if item.media_type in media.ACCEPT and not _is_attestation(item)
        ]
        served = [entry for entry in ranked if entry[0] >= 0]
        return min(served)[2] if served else None

    def platforms(self) -> list[str]:
        """The platforms that it serves, for messages."""
        return sorted({str(item.platform) for item in self.manifests if item.platform})


def _is_attestation(item: Descriptor) -> bool:
    return bool(item.platform and item.platform.os == "unknown")


def parse_manifest(data: bytes, media_type: str = "") -> Manifest | Index:
    """Parse a manifest or an index; ``media_type`` is what its source called it.

    Raises :class:`~trimaran.errors.ImageError`, also where the document could be read both ways
    (CVE-2021-41190), and for Docker's schema 1, which cannot be verified.
    """
    document = parse_json(data, "manifest", MAX_MANIFEST_BYTES)
    if document.get("schemaVersion") != 2:
        raise ImageError(
            f"the manifest has schema version {str(document.get('schemaVersion'))[:20]}",
            why="only version 2 is supported",
            hint="push the image again with a current tool",
        )
    stated = optional(document, "mediaType", str, "manifest $") or media_type
    has_manifests, has_layers = "manifests" in document, "layers" in document or "config" in document
    if has_manifests == has_layers:
        raise ImageError("the manifest is ambiguous", why="it must be either an index or an image manifest")
    known = media.INDEXES if has_manifests else media.MANIFESTS
    if stated and stated not in known:
        raise ImageError("the manifest's media type lies", why=f"{stated[:100]!r} for what is {known[0]}")
    if media_type in media.ACCEPT and media_type not in known:
        raise ImageError("the manifest's media type lies", why=f"{media_type!r} for what is {known[0]}")
    common: dict[str, Any] = {
        "media_type": stated or known[0],
        "artifact_type": optional(document, "artifactType", str, "manifest $") or "",
        "annotations": strings(document, "annotations", "manifest $"),
        "subject": _descriptor(document["subject"], "$.subject") if document.get("subject") else None,
    }
    if has_manifests:
        manifests = _list(document, "manifests", _descriptor, MAX_MANIFESTS)
        return Index(manifests=manifests, **common)
    if "config" not in document:
        raise ImageError("the manifest has no config")
    layers = _list(document, "layers", _descriptor, MAX_LAYERS)
    return Manifest(config=_descriptor(document["config"], "$.config"), layers=layers, **common)


def _list(document: dict[str, Any], key: str, parse: Callable[[Any, str], T], limit: int) -> tuple[T, ...]:
    items = optional(document, key, list, "manifest $") or []
    if len(items) > limit:
        raise ImageError(f"the manifest has {len(items)} {key}", why=f"at most {limit} are allowed")
    return tuple(parse(item, f"$.{key}[{i}]") for i, item in enumerate(items))


def _descriptor(value: Any, path: str) -> Descriptor:
    where = f"manifest {path}"
    document = typed(value, dict, where)
    digest = typed(document.get("digest"), str, f"{where}.digest")
    size = typed(document.get("size"), int, f"{where}.size")
    if not is_digest(digest):
        raise ImageError(f"{where}.digest", why=f"{digest[:80]!r} is no sha256 or sha512 digest")
    if not 0 <= size <= MAX_SIZE:
        raise ImageError(f"{where}.size", why=f"{size} is no size")
    platform = optional(document, "platform", dict, where)
    return Descriptor(
        media_type=typed(document.get("mediaType"), str, f"{where}.mediaType"),
        digest=digest,
        size=size,
        platform=parse_platform(platform, f"{where}.platform") if platform else None,
        annotations=strings(document, "annotations", where),
        urls=tuple(typed(url, str, f"{where}.urls") for url in optional(document, "urls", list, where) or ()),
        artifact_type=optional(document, "artifactType", str, where) or "",
    )


def parse_platform(document: dict[str, Any], where: str) -> Platform:
    """The ``os``, ``architecture`` and ``variant`` of a platform object or an image configuration."""
    system = optional(document, "os", str, where) or "linux"
    architecture = optional(document, "architecture", str, where) or Platform.host().architecture
    variant = optional(document, "variant", str, where) or ""
    try:
        if "/" in system + architecture + variant:
            raise InvalidInput("a part of it has a slash")
        parsed = Platform.parse("/".join(filter(None, (system, architecture, variant))))
    except InvalidInput as error:
        raise ImageError(f"{where} is no platform", why=str(error)) from error
    parsed.os_version = optional(document, "os.version", str, where) or ""
    return parsed
