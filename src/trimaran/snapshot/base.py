"""The contract of a snapshotter: what keeps unpacked layers, and makes root file systems of them.

Terms. A *layer* is known by its *chain ID*, which stands for its content on top of all that lie below it,
and is kept once. It is made as a *draft*, a directory that nobody else sees, and becomes visible whole by
:meth:`Snapshotter.commit_layer`, after the layer below it. A *container* has a :class:`Root` made of a chain
and of what it has changed itself. Nothing is mounted on the host, save by :meth:`Snapshotter.mount`.

Any number of threads and processes may use one root directory. A process may be killed at any moment:
:meth:`Snapshotter.recover` removes what it left half done.

Every implementation passes ``tests/contract/test_snapshotter.py``.
"""

from __future__ import annotations

from trimaran.isolation import Root
from trimaran.state import Intent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from dataclasses import dataclass
    from typing import Literal, Protocol
else:
    from trimaran.values import dataclass

    Protocol = object


@dataclass(frozen=True)
class LayerFacts:
    """What unpacking has found out about a layer (see ``trimaran.image.layer.LayerResult``).

    ``implicit`` are directories that take after the layers below, "" being the root; ``links`` are hard links
    (path, target) to files of the layers below; ``whiteouts`` are all that the layer has, needed or not;
    ``opaque`` says that all layers below are hidden.
    """

    size: int = 0
    entries: int = 0
    implicit: Sequence[bytes] = ()
    links: Sequence[tuple[bytes, bytes]] = ()
    whiteouts: Sequence[bytes] = ()
    opaque: bool = False


@dataclass(frozen=True)
class Draft:
    """A layer in the making: ``path`` is a directory to unpack into. It may be abandoned at any time."""

    chain_id: str
    parent: str | None
    name: str
    path: str
    intent: Intent


@dataclass(frozen=True)
class Usage:
    """Space on disk: bytes allocated, and inodes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.bytes + other.bytes, self.inodes + other.inodes)


@dataclass(frozen=True, order=True)
class Change:
    """One difference between a container and its image, as ``docker diff`` tells it."""

    path: bytes
    kind: Literal["added", "changed", "deleted"]


class Snapshotter(Protocol):
    """Unknown chain IDs and containers raise :class:`~trimaran.errors.NotFound`."""

    name: str

    def prepare_layer(
        self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None = None
    ) -> Draft | None:
        """Begin a layer; None if it is there already. ``parent`` need not be there yet.

        While another process or thread makes the same layer this waits for it, and calls ``waiting`` now and
        then, which may raise.
        """

    def commit_layer(self, draft: Draft, facts: LayerFacts, *, sync: bool = True) -> None:
        """Make the layer visible: it is whole, and its parent is visible. With ``sync``, it is on disk first.

        Raises :class:`~trimaran.errors.ImageError` if a hard link leads nowhere.
        """

    def abort_layer(self, draft: Draft) -> None:
        """Remove a draft. Idempotent; also after a failed :meth:`commit_layer`."""

    def layers(self) -> list[str]:
        """Chain IDs of all layers, children before their parents."""

    def remove_layer(self, chain_id: str) -> int:
        """Remove a layer, and return the bytes that its stream had. Conflict if something needs it."""

    def layer_paths(self, chain_id: str) -> list[str]:
        """The directories of a chain, the uppermost first, in the on-disk form of overlayfs."""

    def prepare(self, container_id: str, chain_id: str | None, *, quota: int = 0) -> Root:
        """Make a container's root on top of a chain (None: an empty one).

        ``quota`` limits what it may write, in bytes. Conflict if the container has a root already;
        Unsupported if there can be no such quota.
        """

    def root(self, container_id: str) -> Root:
        """What :meth:`prepare` gave."""

    def remove(self, container_id: str) -> None:
        """Remove a container's root. Idempotent."""

    def usage(self, container_id: str) -> Usage:
        """What the container itself has written."""

    def changes(self, container_id: str) -> Iterable[Change]:
        """How the container differs from its image, in order of the paths."""

    def open_root(self, container_id: str, *, read_only: bool = False) -> int:
        """A descriptor of the container's whole tree.

        Only a container that does not run may be written to so; reading is safe at any time.
        """

    def open_chain(self, chain_id: str) -> int:
        """A descriptor of a chain's whole tree, read-only."""

    def mount(self, chain_id: str, target: str) -> None:
        """Attach a chain's tree, read-only, on the directory ``target`` of the caller's mount namespace."""

    def unmount(self, target: str) -> None:
        """Undo :meth:`mount`."""

    def containers(self) -> Iterator[str]:
        """The ids of all containers that have a root."""

    def recover(self) -> None:
        """Remove what dead processes left half done. Safe at any time."""
