"""Mounts that a container asks for, and volumes, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["volume", "bind", "tmpfs", "image"]
Propagation = Literal["", "private", "rprivate", "slave", "rslave", "shared", "rshared"]
IdRange = tuple[int, int, int]


@dataclass(frozen=True)
class IdMap:
    """Whose files the container sees as whose: rows of (owner on disk, owner seen, how many).

    Without rows, those of the container's user namespace.
    """

    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()
    recursive: bool = False


@dataclass(frozen=True)
class MountRequest:
    """One mount of a container.

    ``source`` is a volume's name ("": a new one without a name), a path of the host, or an image.
    ``recursive``: mounts below the source come along, and are read-only too where ``read_only`` is
    recursive. ``create_source`` makes a missing directory of the host (``-v`` does, ``--mount`` does not).
    ``flags`` are further mount options: ``noexec``, ``nosuid``, ``nodev``... ``size`` is in bytes.
    """

    kind: Kind
    target: str
    source: str = ""
    read_only: bool = False
    recursive: bool = True
    recursive_read_only: bool = True
    propagation: Propagation = ""
    copy: bool = True
    subpath: str = ""
    create_source: bool = False
    relabel: Literal["", "shared", "private"] = ""
    idmap: IdMap | None = None
    flags: tuple[str, ...] = ()
    size: int = 0
    mode: int | None = None
    driver: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """A volume that exists. ``path`` is the directory of its files; ``created`` is in seconds since 1970."""

    name: str
    path: str
    created: float
    anonymous: bool
    labels: Mapping[str, str]
    options: Mapping[str, str]
    used_by: tuple[str, ...] = ()
