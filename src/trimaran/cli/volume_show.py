"""Volumes in docker's words."""

from __future__ import annotations

from trimaran.cli.network_show import created, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.volume.model import Volume


def document(volume: Volume) -> dict[str, Any]:
    """A volume as docker's ``volume inspect`` shows it, and who uses it."""
    return {
        "CreatedAt": created(volume.created),
        "Driver": "local",
        "Labels": dict(volume.labels),
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": dict(volume.options),
        "Scope": "local",
        "Anonymous": volume.anonymous,
        "UsedBy": list(volume.used_by),
    }


def chosen(volume: Volume, filters: list[str]) -> bool:
    """Whether it passes docker's ``--filter`` values."""
    facts = {"name": volume.name, "driver": "local", "dangling": "false" if volume.used_by else "true"}
    return matches(dict(volume.labels), facts, filters)
