"""Pulling from Debian's docker-registry what skopeo has pushed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import images
from tests.support.registry import Registry, push, registry

from trimaran.errors import NotFound
from trimaran.image.client import Transport
from trimaran.image.pull import pull
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

pytestmark = pytest.mark.peer("docker-registry", "skopeo")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(str(tmp_path_factory.mktemp("registry"))) as running:
        push(f"{images.busybox()}:latest", f"{running.host}/busybox:1")
        push(f"{images.five_layers()}:latest", f"{running.host}/five:1")
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def test_pulls_by_tag_and_finds_it_again(server: Registry, store: ImageStore) -> None:
    image = pull(f"{server.host}/five:1", store, Transport())
    assert len(image.layers) == 5
    assert image.run_config["Cmd"] == ["sh"]
    for name in (f"{server.host}/five:1", image.digest, image.id, image.id[7:19]):
        assert store.get(name).digest == image.digest
    assert all(store.content.size(layer.digest) == layer.size for layer in image.layers)


def test_shared_layers_are_fetched_once(server: Registry, store: ImageStore) -> None:
    pull(f"{server.host}/five:1", store, Transport())
    before = server.log().count("GET /v2/busybox/blobs/")
    image = pull(f"{server.host}/busybox:1", store, Transport())
    assert server.log().count("GET /v2/busybox/blobs/") == before + 1, "only the configuration is new"
    assert image.layers[0].digest == store.get(f"{server.host}/five:1").layers[0].digest


def test_says_what_is_not_there(server: Registry, store: ImageStore) -> None:
    with pytest.raises(NotFound, match="none:1 is not in the registry"):
        pull(f"{server.host}/none:1", store, Transport())
    assert store.list() == []
    assert list(store.content.walk()) == []
