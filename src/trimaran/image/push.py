"""Pushing: an image from the store to a registry, each blob in the cheapest way that works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from trimaran.errors import ImageError, NotFound, RegistryError, Unauthorized
from trimaran.image import media
from trimaran.image.client import Transport
from trimaran.image.content import ContentStore
from trimaran.image.http import TRANSIENT
from trimaran.image.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, parse_manifest
from trimaran.image.model import Image
from trimaran.image.progress import DONE, EXISTS, MOUNTED, PUSHING, RETRYING, WAITING, Progress, Quiet
from trimaran.image.reference import Reference
from trimaran.image.repository import Repository
from trimaran.image.store import ImageStore

PARALLEL_BLOBS = 3
# Registries' proxies often refuse bodies that are larger; a chunk is also what a failure costs.
CHUNK_BYTES = 8 << 20
SEND_BYTES = 1 << 18


def push(
    source: str,
    target: str,
    store: ImageStore,
    transport: Transport,
    progress: Progress | None = None,
    *,
    all_platforms: bool = False,
) -> str:
    """Push the image ``source`` as ``target`` (a reference with a tag, or a bare repository).

    With ``all_platforms`` the whole index is pushed, if all of it is here. Returns the digest at the
    registry. Raises NotFound, Unauthorized, RegistryError, ImageError.
    """
    image = store.get(source)
    reference = Reference.parse(target)
    endpoint = transport.registries.primary(reference, insecure=transport.insecure)
    repository = Repository(transport.session(endpoint), endpoint.path)
    work = _Push(store, repository, transport, progress or Quiet(), _origins(store, image, reference))
    root = image.target if all_platforms else image.digest
    return work.run(root, reference.tag or root)


def _origins(store: ImageStore, image: Image, target: Reference) -> list[str]:
    """Repositories at the same registry from which the image's layers can be mounted."""
    layers = {layer.digest for layer in image.layers}
    found: dict[str, None] = {}
    for other in store.list():
        if other.reference and layers.intersection(layer.digest for layer in other.layers):
            reference = Reference.parse(other.reference)
            if reference.domain == target.domain and reference.path != target.path:
                found[reference.path] = None
    return list(found)


class _Push:
    """One push to one repository."""

    def __init__(
        self,
        store: ImageStore,
        repository: Repository,
        transport: Transport,
        progress: Progress,
        origins: list[str],
    ) -> None:
        self.content: ContentStore = store.content
        self.repository = repository
        self.transport = transport
        self.progress = progress
        self.origins = origins

    def run(self, root: str, which: str) -> str:
        data = self.content.read(root, MAX_MANIFEST_BYTES)
        parsed = parse_manifest(data)
        if isinstance(parsed, Index):
            for item in parsed.manifests:
                if self.content.size(item.digest) is None:
                    raise NotFound(
                        f"the image for {item.platform or item.digest} is not here",
                        hint="pull with --all-platforms first, or push without it",
                    )
                self.run(item.digest, item.digest)
        else:
            self._blobs(parsed)
        digest = self.repository.put_manifest(which, data, parsed.media_type)
        self.progress.update(f"{self.repository.name}:{which}", DONE)
        return digest

    def _blobs(self, manifest: Manifest) -> None:
        blobs = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
        wanted = [blob for blob in blobs.values() if not media.is_foreign(blob.media_type)]
        executor = ThreadPoolExecutor(PARALLEL_BLOBS, "trimaran-push")
        try:
            for blob in wanted:
                self.progress.update(blob.digest, WAITING, 0, blob.size)
            for future in [executor.submit(self._blob, blob) for blob in wanted]:
                future.result()
        except BaseException:
            self.transport.cancel()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            self.transport.http.resume()

    def _blob(self, blob: Descriptor) -> None:
        if self.repository.has_blob(blob.digest, self.repository.push_scope):
            self.progress.update(blob.digest, EXISTS, blob.size, blob.size)
            return
        if self.content.size(blob.digest) != blob.size:
            raise ImageError(
                f"the content {blob.digest} is not here",
                hint="pull the image again, or `trimaran check --repair`",
            )
        upload = Upload(self.repository, self.content, blob, self.progress)
        if upload.start(self.origins):
            upload.send()
            self.progress.update(blob.digest, DONE, blob.size, blob.size)
        else:
            self.progress.update(blob.digest, MOUNTED, blob.size, blob.size)


class Upload:
    """One blob on its way to a repository, chunk by chunk, going on after interruptions."""

    def __init__(
        self, repository: Repository, content: ContentStore, blob: Descriptor, progress: Progress
    ) -> None:
        self._repository = repository
        self._session = repository.session
        self._content = content
        self._blob = blob
        self._progress = progress
        self._url = ""
        self._offset = 0

    def start(self, origins: list[str]) -> bool:
        """Mount the blob from one of the repositories ``origins``, or open an upload.

        Returns whether there is something to send.
        """
        for origin in origins:
            if self._open(f"?mount={self._blob.digest}&from={origin}", origin):
                return False
            if self._url:
                return True
        return not self._open("", "")

    def _open(self, query: str, origin: str) -> bool:
        """POST to ``blobs/uploads/``; whether the blob was mounted. 202 opens an upload instead."""
        scope = self._repository.push_scope + (f" repository:{origin}:pull" if origin else "")
        try:
            response = self._session.request(
                "POST",
                self._session.url(f"{self._repository.path}/blobs/uploads/{query}"),
                scope=scope,
                headers={"Content-Length": "0"},
                ok=(201, 202),
                what=self._repository.name,
            )
        except (NotFound, Unauthorized):
            if origin:
                return False
            raise
        response.read_all(1 << 16, "answer")
        if response.status == 201:
            return True
        self._follow(response.header("Location"))
        return False

    def _follow(self, location: str) -> None:
        if not location:
            raise RegistryError(f"{self._repository.name} opens an upload, but does not say where")
        self._url = self._session.resolve(self._url or self._session.url(""), location)

    def send(self) -> None:
        """Send what the registry does not have yet, and close the upload with the blob's digest."""
        failures = 0
        while self._offset < self._blob.size:
            try:
                self._chunk(min(CHUNK_BYTES, self._blob.size - self._offset))
                failures = 0
            except (*TRANSIENT, RegistryError) as error:
                failures += 1
                delay = self._session.retry.delay(failures)
                if delay is None or isinstance(error, Unauthorized):
                    raise
                self._progress.update(self._blob.digest, RETRYING, self._offset, self._blob.size)
                self._session.wait(delay)
                self._recover()
        separator = "&" if "?" in self._url else "?"
        self._session.request(
            "PUT",
            f"{self._url}{separator}digest={self._blob.digest}",
            scope=self._repository.push_scope,
            headers={"Content-Length": "0"},
            ok=(200, 201, 204),
            what=f"{self._repository.name}@{self._blob.digest}",
        ).read_all(1 << 16, "answer")

    def _chunk(self, size: int) -> None:
        response = self._session.request(
            "PATCH",
            self._url,
            scope=self._repository.push_scope,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size),
                "Content-Range": f"{self._offset}-{self._offset + size - 1}",
            },
            body=lambda: self._read(self._offset, size),
            ok=(202, 204),
            what=f"{self._repository.name}@{self._blob.digest}",
        )
        response.read_all(1 << 16, "answer")
        self._follow(response.header("Location") or self._url)
        self._offset = _received(response.header("Range"), self._offset + size)

    def _read(self, offset: int, size: int) -> Iterator[bytes]:
        with self._content.open(self._blob.digest) as file:
            file.seek(offset)
            while size and (data := file.read(min(SEND_BYTES, size))):
                size -= len(data)
                offset += len(data)
                self._progress.update(self._blob.digest, PUSHING, offset, self._blob.size)
                yield data

    def _recover(self) -> None:
        """After a failure: ask how much has arrived, or begin anew if the upload is gone."""
        try:
            response = self._session.request(
                "GET", self._url, scope=self._repository.push_scope, ok=(204,), what=self._repository.name
            )
        except NotFound:
            self._url, self._offset = "", 0
            self._open("", "")
            return
        response.read_all(1 << 16, "answer")
        self._follow(response.header("Location") or self._url)
        self._offset = _received(response.header("Range"), 0)


def _received(header: str, default: int) -> int:
    """How many bytes an upload has, from ``Range: 0-LAST``."""
    _, dash, last = header.rpartition("-")
    if not dash or not last.isdigit():
        return default
    # A fresh upload says 0-0, which would be one byte: that byte is then sent again, which registries refuse.
    return int(last) + 1 if int(last) else 0
