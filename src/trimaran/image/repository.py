"""The distribution specification's verbs on one repository at one endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin

from trimaran.errors import IntegrityError, NotFound, RegistryError
from trimaran.image import media
from trimaran.image.client import Session
from trimaran.image.content import check, digest_of
from trimaran.image.http import Response
from trimaran.image.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, parse_manifest
from trimaran.image.reference import is_digest, is_tag

MAX_LIST_BYTES = 8 << 20
MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest as it came: its bytes, what the registry calls it, and its verified digest."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """A repository at an endpoint. Methods raise NotFound, Unauthorized, RegistryError, Cancelled."""

    def __init__(self, session: Session, path: str) -> None:
        self.session = session
        self.path = path
        self.pull_scope = f"repository:{path}:pull"
        self.push_scope = f"repository:{path}:pull,push"
        self.delete_scope = f"repository:{path}:delete,pull"

    @property
    def name(self) -> str:
        """The repository for messages."""
        return f"{self.session.endpoint.host}/{self.path}"

    def url(self, kind: str, item: str) -> str:
        """The URL of ``manifests/X``, ``blobs/X``, ..."""
        return self.session.url(f"{self.path}/{kind}/{item}")

    def manifest(self, which: str) -> Fetched:
        """A manifest by tag or digest, verified against the digest asked for, or the one announced."""
        response = self.session.request(
            "GET",
            self.url("manifests", which),
            scope=self.pull_scope,
            headers={"Accept": ", ".join(media.ACCEPT)},
            what=self._named(which),
        )
        media_type = response.header("Content-Type").partition(";")[0].strip()
        announced = response.header("Docker-Content-Digest")
        data = response.read_all(MAX_MANIFEST_BYTES, "manifest")
        expected = which if is_digest(which) else announced
        if is_digest(expected):
            check(data, expected)
        return Fetched(data, media_type, expected if is_digest(expected) else digest_of(data))

    def _named(self, which: str) -> str:
        return f"{self.name}{'@' if is_digest(which) else ':'}{which}"

    def has_manifest(self, which: str) -> str | None:
        """The digest of a manifest, without fetching it; None if it is not there."""
        try:
            response = self.session.request(
                "HEAD",
                self.url("manifests", which),
                scope=self.pull_scope,
                headers={"Accept": ", ".join(media.ACCEPT)},
                what=self._named(which),
            )
        except NotFound:
            return None
        response.close()
        announced = response.header("Docker-Content-Digest")
        return announced if is_digest(announced) else None

    def blob(self, digest: str, offset: int = 0) -> tuple[Response, int]:
        """A blob's content from ``offset``, and where it really starts (0 if ranges are not served)."""
        response = self.session.request(
            "GET",
            self.url("blobs", digest),
            scope=self.pull_scope,
            headers={"Range": f"bytes={offset}-"} if offset else {},
            ok=(200, 206),
            what=f"{self.name}@{digest}",
        )
        if response.status == 200 or not offset:
            return response, 0
        if not response.header("Content-Range").startswith(f"bytes {offset}-"):
            response.close()
            raise RegistryError(f"{self.name} answers with another part of {digest} than was asked for")
        return response, offset

    def has_blob(self, digest: str, scope: str = "") -> bool:
        """Whether a blob is there."""
        try:
            response = self.session.request(
                "HEAD",
                self.url("blobs", digest),
                scope=scope or self.pull_scope,
                what=f"{self.name}@{digest}",
            )
        except NotFound:
            return False
        response.close()
        return True

    def put_manifest(self, which: str, data: bytes, media_type: str) -> str:
        """Upload a manifest under a tag or its digest; returns the digest."""
        digest = digest_of(data)
        response = self.session.request(
            "PUT",
            self.url("manifests", which),
            scope=self.push_scope,
            headers={"Content-Type": media_type},
            body=lambda: data,
            ok=(200, 201, 202),
            what=self._named(which),
        )
        response.read_all(MAX_MANIFEST_BYTES, "answer")
        announced = response.header("Docker-Content-Digest")
        if announced and announced != digest:
            raise IntegrityError(
                f"{self.name} stored another manifest", why=f"{announced} instead of {digest}"
            )
        return digest

    def delete(self, kind: str, which: str) -> None:
        """Delete ``manifests/X`` (by tag or digest) or ``blobs/DIGEST``; the registry may not allow it."""
        response = self.session.request(
            "DELETE",
            self.url(kind, which),
            scope=self.delete_scope,
            ok=(200, 202, 204),
            what=self._named(which),
        )
        response.read_all(MAX_LIST_BYTES, "answer")

    def tags(self) -> Iterator[str]:
        """Every tag, page by page."""
        for document in self._pages(self.session.url(f"{self.path}/tags/list?n=1000"), self.name):
            for tag in document.get("tags") or []:
                if isinstance(tag, str) and is_tag(tag):
                    yield tag

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """What refers to a manifest (signatures, SBOMs): the referrers API, or its tag as a fall-back."""
        query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
        url = self.session.url(f"{self.path}/referrers/{digest}{query}")
        found: list[Descriptor] = []
        try:
            for document in self._pages(url, f"{self.name}@{digest}"):
                found += _index(json.dumps(document).encode())
        except NotFound:
            try:
                found = _index(self.manifest(digest.replace(":", "-", 1)).data)
            except NotFound:
                return []
        return [item for item in found if not artifact_type or item.artifact_type == artifact_type]

    def _pages(self, url: str, what: str) -> Iterator[dict[str, Any]]:
        for _ in range(MAX_PAGES):
            response = self.session.request("GET", url, scope=self.pull_scope, what=what)
            link = response.header("Link")
            try:
                document = json.loads(response.read_all(MAX_LIST_BYTES, "list"))
                if not isinstance(document, dict):
                    raise ValueError("it is no object")
            except (ValueError, RecursionError) as error:
                raise RegistryError(f"{self.name} answers nonsense", why=str(error)) from error
            yield document
            following = next_link(link)
            if not following:
                return
            target = urljoin(url, following)
            if target.split("/")[:3] != url.split("/")[:3]:
                raise RegistryError(f"{self.name} continues its list on another host")
            url = target
        raise RegistryError(f"{self.name} has a list without end", why=f"more than {MAX_PAGES} pages")


def _index(data: bytes) -> list[Descriptor]:
    parsed = parse_manifest(data)
    return list(parsed.manifests) if isinstance(parsed, Index) else []


def next_link(header: str) -> str:
    """The target of a ``Link: <...>; rel="next"`` header (RFC 8288); empty if there is none."""
    for part in header.split(","):
        target, _, parameters = part.strip().partition(";")
        if 'rel="next"' in parameters.replace(" ", "") or "rel=next" in parameters.replace(" ", ""):
            return target.strip().strip("<>")
    return ""
