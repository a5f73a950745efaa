"""From a stream to a visible layer: the applier and a snapshotter behind the contract that a pull knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from trimaran.image.layer import LayerResult, LayerUnpacker, UnpackOptions
from trimaran.snapshot import Draft, LayerFacts, Snapshotter
from trimaran.snapshot.drafts import remove


class UnpackedLayer:
    """One layer in the making (:class:`trimaran.image.layers.LayerSink`)."""

    def __init__(self, snapshotter: Snapshotter, draft: Draft, options: UnpackOptions | None) -> None:
        self._snapshotter = snapshotter
        self._draft = draft
        self._options = options
        self._result: LayerResult | None = None
        # Opened when content comes: an image may have more layers than a process may have descriptors.
        self._unpacker: LayerUnpacker | None = None

    def _open(self) -> LayerUnpacker:
        fd = os.open(self._draft.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return LayerUnpacker(fd, self._options)
        finally:
            os.close(fd)

    def feed(self, data: memoryview) -> None:
        """Take the next part of the uncompressed tar stream, without the GIL."""
        if self._unpacker is None:
            self._unpacker = self._open()
        self._unpacker.feed(data)

    def finish(self) -> None:
        """The stream has ended. Raises ImageError if it is cut off."""
        if self._unpacker is None:
            self._unpacker = self._open()
        self._result = self._unpacker.finish()

    def restart(self) -> None:
        """Forget what was fed: the stream begins anew."""
        self._close()
        self._result = None
        for name in os.listdir(self._draft.path):
            remove(self._draft.path, name)

    def commit(self, *, sync: bool = True) -> None:
        """Make the layer visible; its parent is. Raises ImageError for a hard link that leads nowhere."""
        if self._result is None:
            raise ValueError("the layer is not finished")
        result = self._result
        facts = LayerFacts(
            result.size, result.entries, result.implicit, result.links, result.whiteouts, result.opaque
        )
        self._snapshotter.commit_layer(self._draft, facts, sync=sync)

    def abort(self) -> None:
        """Remove what has been made; idempotent."""
        self._close()
        self._snapshotter.abort_layer(self._draft)

    def _close(self) -> None:
        if self._unpacker is not None:
            self._unpacker.close()
            self._unpacker = None


class UnpackedLayers:
    """The layers of a snapshotter (:class:`trimaran.image.layers.LayerStore`)."""

    def __init__(self, snapshotter: Snapshotter, options: UnpackOptions | None = None) -> None:
        self._snapshotter = snapshotter
        self._options = options

    def begin(
        self, chain_id: str, parent: str | None, waiting: Callable[[], None] | None = None
    ) -> UnpackedLayer | None:
        """Begin to unpack a layer; None if it is there. See :class:`trimaran.image.layers.LayerStore`."""
        draft = self._snapshotter.prepare_layer(chain_id, parent, waiting)
        return UnpackedLayer(self._snapshotter, draft, self._options) if draft else None

    def layers(self) -> Sequence[str]:
        """The chain IDs of all layers, children before their parents."""
        return self._snapshotter.layers()

    def remove_layer(self, chain_id: str) -> int:
        """Remove a layer that nothing uses; returns the bytes that its stream had."""
        return self._snapshotter.remove_layer(chain_id)
