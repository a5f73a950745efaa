"""Fetching one blob: from the registry into the content store, and for a layer into its directory as well."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.errors import ImageError, IntegrityError, TrimaranError
from trimaran.image.client import Transport
from trimaran.image.content import LOCK_POLL_SECONDS, ContentStore, Ingest, hasher
from trimaran.image.decompress import Source, decompression_errors, open_reader, size_limit
from trimaran.image.http import Cancelled
from trimaran.image.layers import LayerSink
from trimaran.image.manifest import Descriptor
from trimaran.image.progress import RETRYING, UNPACKING, Progress, Quiet
from trimaran.image.relay import Relay
from trimaran.image.repository import Repository
from trimaran.image.source import FileSource, NetworkSource

# Content that does not match its digest is fetched once more: a proxy may have kept a broken copy.
ATTEMPTS = 2


class Fetcher:
    """Fetches blobs of one image. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        repositories: Sequence[Repository],
        content: ContentStore,
        progress: Progress,
        max_layer: int = 0,
    ) -> None:
        self._transport = transport
        self._repositories = repositories
        self._content = content
        self._progress = progress
        self._max_layer = max_layer

    def blob(self, blob: Descriptor) -> None:
        """Fetch a blob that is not unpacked. Raises IntegrityError if it is not what was promised."""
        self.layer(blob, "", None)

    def layer(self, blob: Descriptor, diff_id: str, sink: LayerSink | None) -> None:
        """Fetch a layer's blob if it is not here, and unpack it into ``sink`` if there is one.

        Content goes to the sink before its digest is known; the sink is finished only if both digests are
        right. Raises IntegrityError or ImageError, and what the registry's side raises.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return self._attempt(blob, diff_id, sink)
            except IntegrityError:
                self._progress.update(blob.digest, RETRYING, 0, blob.size)
                if sink:
                    sink.restart()
        return self._attempt(blob, diff_id, sink)

    def waiting(self) -> None:
        """Sleep a little while somebody else works; raises Cancelled when everything is stopped."""
        if self._transport.http.cancelled.wait(LOCK_POLL_SECONDS):
            raise Cancelled

    def _attempt(self, blob: Descriptor, diff_id: str, sink: LayerSink | None) -> None:
        with self._content.ingest(blob.digest, blob.size, self.waiting) as ingest:
            if not ingest.complete:
                return self._download(blob, diff_id, sink, ingest)
        if sink:
            unpack_stored(self._content, blob, diff_id, sink, self._progress, self._max_layer)
        return None

    def _download(self, blob: Descriptor, diff_id: str, sink: LayerSink | None, ingest: Ingest) -> None:
        source = NetworkSource(self._repositories, blob, ingest, self._progress)
        broken: TrimaranError | None = None
        try:
            if sink:
                try:
                    unpack(source, blob, diff_id, sink, self._progress, self._max_layer)
                except ImageError as error:
                    broken = error
            source.drain()
        finally:
            source.close()
        # A wrong digest explains a broken archive, so it is told first.
        ingest.commit()
        if broken:
            raise broken
        if sink:
            sink.finish()


def unpack_stored(
    content: ContentStore,
    blob: Descriptor,
    diff_id: str,
    sink: LayerSink,
    progress: Progress | None = None,
    max_layer: int = 0,
) -> None:
    """Unpack a layer whose blob is in the store. A damaged blob is removed (IntegrityError)."""
    try:
        with content.open(blob.digest) as file:
            unpack(FileSource(file), blob, diff_id, sink, progress or Quiet(), max_layer)
    except ImageError:
        content.verify(blob.digest)
        raise
    sink.finish()


def unpack(
    source: Source, blob: Descriptor, diff_id: str, sink: LayerSink, progress: Progress, max_layer: int = 0
) -> None:
    """Decompress, verify the diff ID, and feed the sink."""
    limit = size_limit(blob.size, max_layer)
    digest = hasher(diff_id)
    size = 0

    def consume(data: memoryview) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            raise ImageError(
                f"the layer {blob.digest} is too large when unpacked",
                why=f"more than {limit} bytes out of {blob.size}",
                hint="if it is meant to be, raise TRIMARAN_MAX_LAYER",
            )
        digest.update(data)
        sink.feed(data)
        progress.update(blob.digest, UNPACKING, size, 0)

    try:
        Relay(consume).run(open_reader(source, blob.media_type))
    except decompression_errors() as error:
        raise ImageError(f"the layer {blob.digest} cannot be decompressed", why=str(error)) from error
    actual = f"{diff_id.partition(':')[0]}:{digest.hexdigest()}"
    if actual != diff_id:
        raise IntegrityError(
            f"the layer {blob.digest} is not what its image promises", why=f"its content has {actual}"
        )
