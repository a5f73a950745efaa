"""The cost of unpacking: the same for each file, and nearly for each layer, however many there are."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.layers import member, stream

from trimaran.image.layer import LayerUnpacker
from trimaran.image.layer_store import UnpackedLayers
from trimaran.linux import _sys
from trimaran.snapshot import AREA, snapshotter
from trimaran.state import Database

pytestmark = [pytest.mark.bench, pytest.mark.root, pytest.mark.timeout(600)]

# A shared machine is noisy; what is looked for is a cost that grows with the number.
TOLERANCE = 2.0
# Seconds that a hundred more layers below may add to a layer: they are looked through for its directories.
DEPTH_COSTS = 0.006


@pytest.fixture
def memory() -> Iterator[Path]:
    path = Path(f"/dev/shm/trimaran-cost-{os.getpid()}")
    path.mkdir()
    yield path
    parent = os.open(path.parent, os.O_RDONLY)
    _sys.remove_tree(parent, os.fsencode(path.name))
    os.close(parent)


def block_of(number: int) -> bytes:
    """A hundred files in a directory, a hundred directories in the one above."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in range(100):
            info = tarfile.TarInfo(f"{number // 100}/{number % 100}/file-{file}")
            info.size = 10
            archive.addfile(info, io.BytesIO(b"0123456789"))
    return output.getvalue()[: 100 * 1024]


def seconds_for_files(root: Path, count: int) -> float:
    """CPU time of this thread, which the other tenants of the machine do not add to."""
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    spent = 0.0
    with LayerUnpacker(fd) as unpacker:
        for number in range(count // 100):
            data = block_of(number)
            before = time.thread_time()
            unpacker.feed(data)
            spent += time.thread_time() - before
        before = time.thread_time()
        unpacker.feed(bytes(1024))
        assert unpacker.finish().entries == count
        spent += time.thread_time() - before
    os.close(fd)
    return spent


def test_each_file_costs_the_same(memory: Path) -> None:
    seconds_for_files(memory / "warm", 10_000)
    each = {
        count: seconds_for_files(memory / str(count), count) / count for count in (1000, 30_000, 1_000_000)
    }
    print({count: f"{cost * 1e6:.1f} us" for count, cost in each.items()})
    assert each[1_000_000] < TOLERANCE * min(each.values())


def test_each_layer_costs_nearly_the_same(memory: Path) -> None:
    database = Database(str(memory / "state.db"), [AREA])
    store, parent, costs = UnpackedLayers(snapshotter(str(memory), database)), None, []
    for number in range(120):
        data = stream(*(member(f"usr/share/{number}/{n}") for n in range(50)))
        before = time.thread_time()
        layer = store.begin(str(number), parent)
        assert layer
        layer.feed(memoryview(data))
        layer.finish()
        layer.commit()
        costs.append(time.thread_time() - before)
        parent = str(number)
    database.close()
    first, last = sorted(costs[5:25])[10], sorted(costs[100:120])[10]
    print(f"layers 5 to 24: {first * 1e3:.2f} ms, layers 100 to 119: {last * 1e3:.2f} ms")
    assert last < first + DEPTH_COSTS
