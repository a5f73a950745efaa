"""The content store and garbage collection, without a registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimaran.errors import Conflict, ImageError, IntegrityError, NotFound
from trimaran.image.assemble import add_manifest
from trimaran.image.content import ContentStore, digest_of
from trimaran.image.gc import collect, prune
from trimaran.image.model import Image
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

DATA = b"some content" * 1000
DIGEST = digest_of(DATA)


class NoLayers:
    """No layer is unpacked."""

    def layers(self) -> list[str]:
        return []

    def remove_layer(self, chain_id: str) -> int:
        raise AssertionError(chain_id)


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def image(store: ImageStore, name: str, mark: str = "") -> Image:
    """An image without layers."""
    config = f'{{"architecture":"amd64","os":"linux","author":"{mark}"}}'.encode()
    with store.lease() as lease:
        lease.protect([digest_of(config)])
        store.content.add(config)
        made = add_manifest(store, lease, config, [])
        made.reference = name
        store.put(made)
    return made


def test_an_ingest_goes_on_where_the_last_one_stopped(content: ContentStore) -> None:
    with content.ingest(DIGEST, len(DATA)) as first:
        first.write(DATA[:5000])
    assert content.size(DIGEST) is None
    with content.ingest(DIGEST, len(DATA)) as second:
        assert b"".join(second.resume()) == DATA[:5000]
        second.write(DATA[5000:])
        second.commit()
    assert content.read(DIGEST, 1 << 20) == DATA
    assert list(content.partials()) == []
    assert content.ingest(DIGEST, len(DATA)).complete


def test_wrong_content_is_never_visible(content: ContentStore) -> None:
    with content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[::-1])
        with pytest.raises(IntegrityError):
            ingest.commit()
    assert content.size(DIGEST) is None
    with content.ingest(DIGEST, len(DATA)) as again:
        assert again.offset == 0
        with pytest.raises(IntegrityError, match="too long"):
            again.write(DATA + b"x")


def test_only_one_writes(content: ContentStore) -> None:
    class Waited(Exception):
        pass

    def waiting() -> None:
        raise Waited

    with content.ingest(DIGEST, len(DATA)), pytest.raises(Waited):
        content.ingest(DIGEST, len(DATA), waiting)
    assert not content.ingest(DIGEST, len(DATA), waiting).complete


def test_a_temporary_blob_appears_by_its_digest_or_not_at_all(content: ContentStore) -> None:
    dropped = content.temporary()
    dropped.write(b"x")
    dropped.close()
    kept = content.temporary()
    kept.write(DATA)
    kept.commit(DIGEST)
    kept.close()
    assert list(content.walk()) == [(DIGEST, len(DATA))]


def test_paths_are_made_of_digests_only(content: ContentStore) -> None:
    for text in ("sha256:../../etc/passwd", "../x", "sha256:" + "0" * 63, "md5:" + "0" * 32):
        with pytest.raises(ImageError):
            content.path(text)


def test_damage_is_found_and_taken_away(content: ContentStore) -> None:
    content.add(DATA)
    path = Path(content.path(DIGEST))
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(IntegrityError):
        content.read(DIGEST, 1 << 20)
    with pytest.raises(IntegrityError, match="damaged"):
        content.verify(DIGEST)
    with pytest.raises(NotFound):
        content.open(DIGEST)


def test_a_lease_protects_what_is_not_an_image_yet(store: ImageStore) -> None:
    with store.lease() as lease:
        lease.protect([DIGEST])
        store.content.add(DATA)
        store.content.add(b"unprotected")
        assert collect(store, NoLayers(), lease_seconds=0).blobs == 1
        assert store.content.size(DIGEST) == len(DATA)
    assert collect(store, NoLayers()).blobs == 1
    assert list(store.content.walk()) == []


def test_what_an_interruption_leaves_is_kept_for_a_day_but_not_from_prune(store: ImageStore) -> None:
    def interrupted() -> None:
        with store.lease() as lease:
            lease.protect([DIGEST])
            store.content.add(DATA)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert collect(store, NoLayers()).blobs == 0
    assert prune(store, NoLayers()).blobs == 1


def test_names(store: ImageStore) -> None:
    made = image(store, "h.example/a:1")
    store.tag("h.example/a:1", "h.example/b:2")
    assert store.names(made.digest) == ["h.example/a:1", "h.example/b:2"]
    with pytest.raises(Conflict, match="several names"):
        store.remove(made.id)
    assert store.remove("h.example/a:1") == ["untagged: h.example/a:1"]
    assert store.remove(made.id)[-1] == f"deleted: {made.digest}"
    assert store.list() == []


def test_a_held_image_stays(store: ImageStore) -> None:
    made = image(store, "h.example/a:1")
    store.hold(made.digest, "container")
    with pytest.raises(Conflict, match="in use"):
        store.remove("h.example/a:1")
    store.remove("h.example/a:1", force=True)
    assert prune(store, NoLayers(), all=True).images == []
    assert store.get(made.digest).reference == ""
    store.release("container")
    assert prune(store, NoLayers()).images == [made.digest]


def test_a_name_that_moves_leaves_a_nameless_image(store: ImageStore) -> None:
    old, new = image(store, "h.example/a:1", "old"), image(store, "h.example/a:1", "new")
    assert store.get("h.example/a:1").digest == new.digest
    assert [each.reference for each in store.list() if each.digest == old.digest] == [""]
    assert prune(store, NoLayers()).images == [old.digest]


def test_ids_may_be_short_but_not_ambiguous(store: ImageStore) -> None:
    made = image(store, "h.example/a:1")
    assert store.get(made.id.partition(":")[2][:12]).digest == made.digest
    for text in ("", "abc", "%", "____", "sha256:"):
        with pytest.raises(NotFound):
            store.get(text)


def test_looking_an_image_up_imports_no_client() -> None:
    heavy = (
        "ssl",
        "http.client",
        "isal",
        "zstandard",
        "concurrent.futures",
        "trimaran.image.client",
        "typing",
    )
    program = f"import sys, trimaran.image.store; print([m for m in {heavy} if m in sys.modules])"
    path = next(entry for entry in sys.path if Path(entry, "trimaran", "image").is_dir())
    program = f"import sys; sys.path.append({path!r}); {program}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
