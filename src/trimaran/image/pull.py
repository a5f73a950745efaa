"""Pulling: from a reference at a registry to an image in the store and its layers unpacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from trimaran.errors import ImageError, NotFound, RegistryError
from trimaran.image.client import Transport
from trimaran.image.config import MAX_CONFIG_BYTES
from trimaran.image.content import ContentStore
from trimaran.image.describe import make_image
from trimaran.image.fetch import Fetcher
from trimaran.image.layers import LayerSink, LayerStore
from trimaran.image.manifest import Descriptor, Index, Manifest, parse_manifest
from trimaran.image.model import Image
from trimaran.image.platform import Platform
from trimaran.image.progress import DONE, RESOLVING, WAITING, Progress, Quiet
from trimaran.image.reference import Reference
from trimaran.image.repository import Fetched, Repository
from trimaran.image.store import ImageStore, Lease

PARALLEL_LAYERS = 3
Verify = Callable[[Reference, Repository, Fetched], None]


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What a pull may be told.

    ``platform``: None for this machine's. ``max_layer``: bytes that an unpacked layer may have, 0 for the
    default (:func:`~trimaran.image.decompress.size_limit`). ``verify`` raises for a manifest that is not
    to be trusted. Without ``record`` the image's name is not changed: content only is fetched.
    """

    platform: Platform | None = None
    all_platforms: bool = False
    parallel: int = PARALLEL_LAYERS
    max_layer: int = 0
    verify: Verify | None = None
    record: bool = True


def pull(
    text: str,
    store: ImageStore,
    transport: Transport,
    layers: LayerStore | None = None,
    progress: Progress | None = None,
    options: PullOptions | None = None,
) -> Image:
    """Pull an image by the reference that a user typed; returns it as it is in the store.

    Without ``layers`` nothing is unpacked. What an interrupted pull has fetched is used by the next one.
    Raises NotFound, Unauthorized, RegistryError, IntegrityError, ImageError; on any error, Ctrl-C
    included, all threads have ended before it is raised.
    """
    shown = progress or Quiet()
    chosen = options or PullOptions()
    reference, repositories, top = resolve(text, transport, shown)
    if chosen.verify:
        chosen.verify(reference, repositories[0], top)
    with store.lease() as lease:
        return _Pull(reference, store, lease, transport, repositories, layers, shown, chosen).run(top)


def resolve(
    text: str, transport: Transport, progress: Progress
) -> tuple[Reference, list[Repository], Fetched]:
    """What a typed reference means, where it is served, and its index or manifest."""
    candidates = transport.registries.candidates(text)
    for reference in candidates:
        progress.update(str(reference), RESOLVING)
        endpoints = transport.registries.endpoints(reference, insecure=transport.insecure)
        repositories = [Repository(transport.session(e), e.path) for e in endpoints]
        try:
            return reference, repositories, fetch_manifest(repositories, reference.digest or reference.tag)
        except NotFound:
            if reference is candidates[-1]:
                raise
    raise NotFound(f"no registry is configured to find {text!r} in")


def fetch_manifest(repositories: list[Repository], which: str) -> Fetched:
    """From the first endpoint that has it; those before it are taken off the list."""
    while True:
        try:
            return repositories[0].manifest(which)
        except (NotFound, RegistryError):
            if len(repositories) == 1:
                raise
            del repositories[0]


def keep(content: ContentStore, lease: Lease, data: bytes, digest: str) -> None:
    """Put a manifest into the store, protected."""
    lease.protect([digest])
    with content.ingest(digest, len(data)) as ingest:
        if not ingest.complete:
            ingest.restart()
            ingest.write(data)
            ingest.commit()


class _Pull:
    """One pull of one reference."""

    def __init__(
        self,
        reference: Reference,
        store: ImageStore,
        lease: Lease,
        transport: Transport,
        repositories: list[Repository],
        layers: LayerStore | None,
        progress: Progress,
        options: PullOptions,
    ) -> None:
        self.reference = reference
        self.store = store
        self.lease = lease
        self.transport = transport
        self.repositories = repositories
        self.layers = layers
        self.progress = progress
        self.options = options
        self.wanted = options.platform or Platform.host()
        self.fetcher = Fetcher(transport, repositories, store.content, progress, max_layer=options.max_layer)

    def run(self, top: Fetched) -> Image:
        parsed = parse_manifest(top.data, top.media_type)
        keep(self.store.content, self.lease, top.data, top.digest)
        if isinstance(parsed, Manifest):
            return self._image(top, top, parsed)
        images = [self._member(top, item) for item in self._select(parsed)]
        return images[0]

    def _select(self, index: Index) -> Sequence[Descriptor]:
        chosen: Sequence[Descriptor]
        if self.options.all_platforms:
            chosen = [item for item in index.manifests if item.platform and item.platform.os != "unknown"]
        else:
            best = index.select(self.wanted)
            chosen = [best] if best else []
        if not chosen:
            raise NotFound(
                f"{self.reference.familiar} has no image for {self.wanted}",
                why=f"it has {', '.join(index.platforms()[:20]) or 'none for any platform'}",
            )
        return chosen

    def _member(self, top: Fetched, item: Descriptor) -> Image:
        fetched = fetch_manifest(self.repositories, item.digest)
        parsed = parse_manifest(fetched.data, fetched.media_type)
        if not isinstance(parsed, Manifest):
            raise ImageError(f"{self.reference.familiar} has an index within its index")
        keep(self.store.content, self.lease, fetched.data, fetched.digest)
        return self._image(top, fetched, parsed)

    def _image(self, top: Fetched, fetched: Fetched, manifest: Manifest) -> Image:
        self.lease.protect(blob.digest for blob in (manifest.config, *manifest.layers))
        image = self._describe(top, fetched, manifest)
        self.lease.protect(image.chain_ids)
        self._fetch_layers(image, manifest.layers, self.layers if manifest.is_image else None)
        if self.options.record:
            self.store.put(image)
        return image

    def _describe(self, top: Fetched, fetched: Fetched, manifest: Manifest) -> Image:
        if manifest.config.size > MAX_CONFIG_BYTES:
            raise ImageError("the image configuration is too large", why=f"{manifest.config.size} bytes")
        self.fetcher.blob(manifest.config)
        return make_image(
            str(self.reference),
            manifest,
            digest=fetched.digest,
            target=top.digest,
            manifest_size=len(fetched.data),
            config_data=self.store.content.read(manifest.config.digest, MAX_CONFIG_BYTES),
            platform=self.wanted,
        )

    def _fetch_layers(self, image: Image, blobs: Sequence[Descriptor], layers: LayerStore | None) -> None:
        """So many layers at once; they become visible together, when all are whole.

        They are claimed in order, the lowest first, so that two processes that pull the same image never
        wait for each other in a circle.
        """
        sinks: list[LayerSink | None] = []
        executor = ThreadPoolExecutor(self.options.parallel, "trimaran-layer")
        try:
            futures: list[Future[None]] = []
            for layer, blob, parent in zip(image.layers, blobs, [None, *image.chain_ids], strict=False):
                self.progress.update(blob.digest, WAITING, 0, blob.size)
                waiting = self.fetcher.waiting
                sinks.append(layers.begin(layer.chain_id, parent, waiting) if layers else None)
                futures.append(executor.submit(self.fetcher.layer, blob, layer.diff_id, sinks[-1]))
            for future in futures:
                future.result()
            self._commit(sinks)
        except BaseException:
            self.transport.cancel()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            self.transport.http.resume()
            for sink in filter(None, sinks):
                sink.abort()
        for blob in blobs:
            self.progress.update(blob.digest, DONE, blob.size, blob.size)

    def _commit(self, sinks: list[LayerSink | None]) -> None:
        """Make the layers visible; one sync puts all of them on disk before the first is."""
        sync = True
        for position, sink in enumerate(sinks):
            if sink:
                sink.commit(sync=sync)
                sinks[position], sync = None, False
