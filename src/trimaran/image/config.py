"""Image configurations: what a container of an image runs, and the identities of its layers."""

from __future__ import annotations

import hashlib
from typing import Any

from trimaran.errors import ImageError
from trimaran.image.fields import optional, parse_json
from trimaran.image.manifest import parse_platform
from trimaran.image.platform import Platform
from trimaran.image.reference import is_digest

MAX_CONFIG_BYTES = 8 << 20

_STRINGS = ("User", "WorkingDir", "StopSignal")
_LISTS = ("Env", "Entrypoint", "Cmd", "Shell", "OnBuild")
_MAPS = ("Labels", "Volumes", "ExposedPorts")


def parse_config(data: bytes) -> dict[str, Any]:
    """The configuration as parsed JSON, with the types of what Trimaran uses made sure of.

    Raises :class:`~trimaran.errors.ImageError`.
    """
    document = parse_json(data, "image configuration", MAX_CONFIG_BYTES)
    where = "image configuration $"
    parse_platform(document, where)
    rootfs = optional(document, "rootfs", dict, where) or {}
    for digest in optional(rootfs, "diff_ids", list, f"{where}.rootfs") or []:
        if not isinstance(digest, str) or not is_digest(digest):
            raise ImageError(f"{where}.rootfs.diff_ids", why=f"{str(digest)[:80]!r} is no digest")
    for entry in optional(document, "history", list, where) or []:
        if not isinstance(entry, dict):
            raise ImageError(f"{where}.history", why="must be a list of objects")
    config = optional(document, "config", dict, where) or {}
    for key in _STRINGS:
        optional(config, key, str, f"{where}.config")
    for key in _LISTS:
        for item in optional(config, key, list, f"{where}.config") or []:
            if not isinstance(item, str) or "\0" in item:
                raise ImageError(f"{where}.config.{key}", why="must be a list of strings without NUL")
    for key in _MAPS:
        optional(config, key, dict, f"{where}.config")
    return document


def platform_of(config: dict[str, Any]) -> Platform:
    """The platform that a parsed configuration states."""
    return parse_platform(config, "image configuration $")


def diff_ids(config: dict[str, Any]) -> list[str]:
    """The digests of the uncompressed layers, the lowest first."""
    return list((config.get("rootfs") or {}).get("diff_ids") or [])


def chain_ids(diffs: list[str]) -> list[str]:
    """The identity of each layer on top of those below it (image specification, "Layer ChainID")."""
    chain: list[str] = []
    for diff in diffs:
        if chain:
            digest = hashlib.sha256(f"{chain[-1]} {diff}".encode()).hexdigest()
            chain.append(f"sha256:{digest}")
        else:
            chain.append(diff)
    return chain
