"""Pulls through registries and proxies that cut, stall, corrupt, refuse for a while, or serve no ranges."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import fake_registry as fake
from tests.support import images
from tests.support.fake_registry import FakeRegistry, Handler, fake_registry

from trimaran.errors import IntegrityError, RegistryError
from trimaran.image.client import Retry, Transport
from trimaran.image.http import Cancelled
from trimaran.image.model import Image
from trimaran.image.pull import pull
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

SOON = Retry(attempts=3, first=0.01, longest=0.02, patience=2.0)
BIG = 100_000


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FakeRegistry]:
    content = images.archive([images.regular(f"f{n}", str(n).encode() * 50_000) for n in range(9)])
    images.write_layout(str(tmp_path / "layout"), [content], pack=lambda data: data, suffix="")
    with fake_registry(str(tmp_path / "layout")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def fetch(registry: FakeRegistry, store: ImageStore, timeout: float = 5.0) -> Image:
    return pull(registry.image, store, Transport(environ={}, retry=SOON, timeout=timeout))


def blob_requests(registry: FakeRegistry, image: Image) -> int:
    return sum(path.endswith(image.layers[0].digest) for _, path, _ in registry.requests)


def test_goes_on_where_a_cut_left_it(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.cut(BIG, times=2))
    image = fetch(registry, store)
    assert blob_requests(registry, image) == 3
    assert store.content.read(image.layers[0].digest, 1 << 20)


def test_many_cuts_are_fine_as_long_as_there_is_progress(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.cut(70_000, times=6))
    assert fetch(registry, store).layers


def test_gives_up_when_nothing_comes(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.cut(10, times=100))
    with pytest.raises(RegistryError, match="cannot reach the registry"):
        fetch(registry, store)
    assert store.list() == []


def test_a_later_pull_uses_what_is_here(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.cut(BIG, times=100))
    registry.faults.append(fake.status(503, 100))
    with pytest.raises(RegistryError):
        pull(registry.image, store, Transport(environ={}, retry=Retry(attempts=1)))
    registry.faults[:] = [fake.cut(BIG, times=1)]
    with pytest.raises(RegistryError):
        pull(registry.image, store, Transport(environ={}, retry=Retry(attempts=1)))
    begun = [status.st_size for _, _, status in store.content.partials() if status.st_size]
    assert begun == [BIG]
    registry.faults.clear()
    seen: list[str] = []

    def watch(handler: Handler) -> bool:
        seen.append(handler.headers.get("Range", ""))
        return False

    registry.faults.append(watch)
    fetch(registry, store)
    assert f"bytes={BIG}-" in seen


def test_a_server_without_ranges_is_read_again(registry: FakeRegistry, store: ImageStore) -> None:
    def no_ranges(handler: Handler) -> bool:
        if not fake.is_blob(handler, BIG):
            return False
        handler.answer(200, handler.registry.blob(handler.path.rpartition("/")[2]))
        return True

    registry.faults += [fake.cut(BIG, times=1), no_ranges]
    assert fetch(registry, store).layers


def test_a_stall_is_noticed(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.stall(5, times=1))
    begin = time.monotonic()
    fetch(registry, store, timeout=0.3)
    assert time.monotonic() - begin < 3


def test_damage_is_fetched_once_more(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.corrupt(1))
    image = fetch(registry, store)
    assert blob_requests(registry, image) == 2


def test_lasting_damage_is_an_error_and_leaves_nothing(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.corrupt(100, BIG))
    with pytest.raises(IntegrityError, match="not what was promised"):
        fetch(registry, store)
    assert store.list() == []
    assert [status.st_size for _, _, status in store.content.partials()] == [0]


def test_passing_refusals_are_waited_out(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults += [fake.status(503, 1), fake.status(429, 1, {"Retry-After": "1"})]
    assert fetch(registry, store).layers


def test_rate_limits_are_explained(registry: FakeRegistry, store: ImageStore) -> None:
    headers = {"Retry-After": "3600", "RateLimit-Limit": "100;w=21600"}
    registry.faults.append(fake.status(429, 100, headers))
    with pytest.raises(RegistryError, match=r"100 pulls in 6 hours.*wait 3600 seconds, or `trimaran login"):
        fetch(registry, store)


def test_cancelling_ends_a_stalled_pull_at_once(registry: FakeRegistry, store: ImageStore) -> None:
    registry.faults.append(fake.stall(30, times=1))
    transport = Transport(environ={}, retry=SOON, timeout=30.0)
    timer = threading.Timer(0.5, transport.cancel)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        pull(registry.image, store, transport)
    assert time.monotonic() - begin < 5
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("trimaran")] == []
