"""The contract between what fetches layers and what keeps them unpacked."""

from __future__ import annotations

from typing import Protocol


class LayerSink(Protocol):
    """A layer in the making. After :meth:`finish` either :meth:`commit` or :meth:`abort` is called."""

    def feed(self, data: memoryview) -> None:
        """Take the next part of the uncompressed tar stream. Does not hold the GIL."""

    def finish(self) -> None:
        """The stream has ended, and its digest is right. Raises ImageError for a broken archive."""

    def commit(self) -> None:
        """Make the layer visible under its chain ID; the one below is visible already."""

    def abort(self) -> None:
        """Remove what has been made. Idempotent, and allowed at any time before :meth:`commit`."""


class LayerStore(Protocol):
    """Unpacked layers by chain ID."""

    def begin(self, chain_id: str, parent: str | None) -> LayerSink | None:
        """Begin to unpack a layer that lies on ``parent``; None if it is there, whole.

        Waits while another process unpacks the same layer.
        """
