"""The contract between what fetches layers and what keeps them unpacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class LayerSink(Protocol):
    """A layer in the making; ends with :meth:`commit` or :meth:`abort`."""

    def feed(self, data: memoryview) -> None:
        """Take the next part of the uncompressed tar stream. Does not hold the GIL."""

    def finish(self) -> None:
        """The stream has ended, and its digest is right. Raises ImageError for a broken archive."""

    def restart(self) -> None:
        """Forget what was fed: the stream begins anew. The claim on the layer is kept."""

    def commit(self, *, sync: bool) -> None:
        """Make the layer visible; the one below is visible already. ``sync``: on disk first."""

    def abort(self) -> None:
        """Remove what has been made, and give up the claim. Idempotent."""


class LayerStore(Protocol):
    """Unpacked layers by chain ID."""

    def begin(
        self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None = None
    ) -> LayerSink | None:
        """Claim a layer that lies on ``parent``; None if it is there, whole.

        While somebody else has the claim, ``waiting`` is called again and again: to sleep, or to raise.
        """
