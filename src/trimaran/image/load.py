"""Loading images from archives: OCI layouts (directory or tar), and what `docker save` writes.

Everything is treated as if it came from a registry: limits, digests, diff IDs. In an archive of docker's old
form layers are named by paths and have no digests of their own; their diff IDs are in the configuration.
"""

from __future__ import annotations

import json
from typing import IO, Any

from trimaran.errors import ImageError, InvalidReference
from trimaran.image import media
from trimaran.image.assemble import LayerBlob, add_manifest, unpack_image
from trimaran.image.bundle import COPY_BYTES, Bundle, read
from trimaran.image.config import MAX_CONFIG_BYTES, diff_ids, parse_config
from trimaran.image.content import digest_of
from trimaran.image.describe import make_image
from trimaran.image.fields import optional, typed
from trimaran.image.layers import LayerStore
from trimaran.image.manifest import (
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from trimaran.image.model import Image
from trimaran.image.platform import Platform
from trimaran.image.reference import Reference
from trimaran.image.store import ImageStore, Lease

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
MAX_IMAGES = 1000


def load(
    bundle: Bundle, store: ImageStore, layers: LayerStore, platform: Platform | None = None
) -> list[Image]:
    """Load every image of an archive that is for this machine (or ``platform``), and unpack it.

    Raises ImageError or IntegrityError; images before the faulty one stay.
    """
    tags = _docker_tags(bundle)
    with store.lease() as lease:
        loader = _Loader(bundle, store, lease, layers, tags, platform or Platform.host())
        if bundle.has("index.json"):
            return loader.oci()
        if bundle.has("manifest.json"):
            return loader.docker()
    raise ImageError("this is no image archive", why="it has neither index.json nor manifest.json")


def _docker_entries(bundle: Bundle) -> list[dict[str, Any]]:
    try:
        document = json.loads(read(bundle, "manifest.json", MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise ImageError("manifest.json in the archive is not valid JSON", why=str(error)) from error
    entries = typed(document, list, "manifest.json $")
    if len(entries) > MAX_IMAGES:
        raise ImageError("the archive has too many images", why=f"more than {MAX_IMAGES}")
    return [typed(entry, dict, "manifest.json $[]") for entry in entries]


def _docker_tags(bundle: Bundle) -> dict[str, list[str]]:
    """Names by the configuration's digest: docker writes them here, in an OCI layout as well."""
    if not bundle.has("manifest.json"):
        return {}
    tags: dict[str, list[str]] = {}
    for entry in _docker_entries(bundle):
        config = typed(entry.get("Config"), str, "manifest.json $[].Config")
        names = [typed(tag, str, "manifest.json $[].RepoTags") for tag in entry.get("RepoTags") or []]
        tags.setdefault(_hex_of(config), []).extend(names)
    return tags


def _hex_of(path: str) -> str:
    """The digits in ``blobs/sha256/HEX`` or ``HEX.json``."""
    return path.rpartition("/")[2].removesuffix(".json")


class _Loader:
    def __init__(
        self,
        bundle: Bundle,
        store: ImageStore,
        lease: Lease,
        layers: LayerStore,
        tags: dict[str, list[str]],
        platform: Platform,
    ) -> None:
        self.bundle = bundle
        self.store = store
        self.lease = lease
        self.layers = layers
        self.tags = tags
        self.platform = platform

    def oci(self) -> list[Image]:
        index = parse_manifest(read(self.bundle, "index.json", MAX_MANIFEST_BYTES))
        if not isinstance(index, Index):
            raise ImageError("index.json in the archive is no index")
        if len(index.manifests) > MAX_IMAGES:
            raise ImageError("the archive has too many images", why=f"more than {MAX_IMAGES}")
        wanted = [item for item in index.manifests if item.media_type in media.ACCEPT]
        if len(wanted) > 1:
            ranked = [item for item in wanted if not item.platform or item.platform.rank(self.platform) >= 0]
            wanted = ranked or wanted
        return [image for item in wanted for image in self._oci_image(item)]

    def _oci_image(self, item: Descriptor) -> list[Image]:
        data, parsed = self._manifest(item)
        top = item.digest
        if isinstance(parsed, Index):
            chosen = parsed.select(self.platform)
            if chosen is None:
                raise ImageError(f"the archive has no image for {self.platform}")
            data, parsed = self._manifest(chosen)
            item = Descriptor(item.media_type, chosen.digest, chosen.size, annotations=item.annotations)
        if not isinstance(parsed, Manifest):
            raise ImageError("the archive has an index within an index")
        for blob in (parsed.config, *parsed.layers):
            self._blob(blob)
        config = self.store.content.read(parsed.config.digest, MAX_CONFIG_BYTES)
        names = self._names(item, parsed)
        image = make_image(
            "", parsed, digest=item.digest, target=top, manifest_size=len(data), config_data=config
        )
        return self._add(image, names)

    def _names(self, item: Descriptor, manifest: Manifest) -> list[str]:
        name = item.annotations.get(CONTAINERD_NAME) or item.annotations.get(REF_NAME, "")
        # A bare word is a tag of some repository that the layout does not name.
        full = [name] if "/" in name or ":" in name else []
        return full or self.tags.get(manifest.config.digest.partition(":")[2], [])

    def _add(self, image: Image, names: list[str]) -> list[Image]:
        self.lease.protect(image.chain_ids)
        if image.config:
            unpack_image(self.store, image, self.layers)
        added = []
        for name in names or [""]:
            try:
                image.reference = str(Reference.parse(name)) if name else ""
            except InvalidReference as error:
                raise ImageError("the archive names an image wrongly", why=str(error)) from error
            self.store.put(image)
            added.append(image.reference)
        return [self.store.get(name or image.digest) for name in added]

    def _manifest(self, item: Descriptor) -> tuple[bytes, Manifest | Index]:
        if item.size > MAX_MANIFEST_BYTES:
            raise ImageError(f"the manifest {item.digest} is too large", why=f"{item.size} bytes")
        self._blob(item)
        data = self.store.content.read(item.digest, MAX_MANIFEST_BYTES)
        return data, parse_manifest(data, item.media_type)

    def _blob(self, blob: Descriptor) -> None:
        """Copy a blob into the store, verified."""
        self.lease.protect([blob.digest])
        algorithm, _, value = blob.digest.partition(":")
        with self.store.content.ingest(blob.digest, blob.size) as ingest:
            if ingest.complete:
                return
            ingest.restart()
            with self.bundle.open(f"blobs/{algorithm}/{value}") as file:
                while data := file.read(COPY_BYTES):
                    ingest.write(data)
            ingest.commit()

    def docker(self) -> list[Image]:
        return [image for entry in _docker_entries(self.bundle) for image in self._docker_image(entry)]

    def _docker_image(self, entry: dict[str, Any]) -> list[Image]:
        where = "manifest.json $[]"
        name = typed(entry.get("Config"), str, f"{where}.Config")
        config = read(self.bundle, name, MAX_CONFIG_BYTES)
        paths = optional(entry, "Layers", list, where) or []
        diffs = diff_ids(parse_config(config))
        if len(paths) != len(diffs) or len(paths) > MAX_LAYERS:
            raise ImageError("the archive is inconsistent", why=f"{len(paths)} layers, {len(diffs)} diff IDs")
        layers = [self._docker_layer(typed(path, str, f"{where}.Layers")) for path in paths]
        self.lease.protect([digest_of(config)])
        self.store.content.add(config)
        image = add_manifest(self.store, self.lease, config, layers)
        return self._add(image, self.tags.get(_hex_of(name), []))

    def _docker_layer(self, path: str) -> Descriptor:
        """Into the store: compressed if it is not. Whether it has its diff ID, unpacking finds out."""
        with self.bundle.open(path) as file:
            head = file.read(4)
            compression = media.sniff(head)
            file.seek(0)
            if compression == "none":
                return self._compressed(file)
        temporary = self.store.content.temporary()
        try:
            with self.bundle.open(path) as file:
                digest, size = temporary.copy(file)
            self.lease.protect([digest])
            temporary.commit(digest)
        finally:
            temporary.close()
        return Descriptor(f"{media.OCI_LAYER}+{compression}", digest, size)

    def _compressed(self, file: IO[bytes]) -> Descriptor:
        blob = LayerBlob(self.store, self.lease)
        try:
            while data := file.read(COPY_BYTES):
                blob.write(data)
            return blob.finish()[0]
        finally:
            blob.close()
