"""I6: what is rare in layers, but right, must not fall victim to the defences."""

from __future__ import annotations

import os
import stat
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.layers import directory, hard_link, member, stream, symlink

from trimaran.image.layer import LayerUnpacker
from trimaran.image.layer_store import UnpackedLayer, UnpackedLayers
from trimaran.snapshot import AREA, snapshotter
from trimaran.state import Database

pytestmark = pytest.mark.root


def test_layers_in_parallel_with_whiteouts_and_opaque_directories(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "state.db"), [AREA])
    snapshots = snapshotter(str(tmp_path), database)
    many = [member(f"d/{n}") for n in range(500)]
    half = [member(f"d/.wh.{n}") for n in range(0, 500, 2)]
    streams = [
        stream(directory("d"), *many, symlink("link", "d"), directory("o"), member("o/x")),
        stream(directory("d"), *half, member("link", data=b"file")),
        stream(directory("o"), member("o/.wh..wh..opq"), directory("link"), member("link/in")),
        stream(member("d", data=b"file in place of a directory"), member("o/y")),
    ]
    store = UnpackedLayers(snapshots)

    def run(number: int) -> UnpackedLayer:
        layer = store.begin(str(number), str(number - 1) if number else None)
        assert layer
        for start in range(0, len(streams[number]), 1000):
            layer.feed(memoryview(streams[number])[start : start + 1000])
        layer.finish()
        return layer

    with ThreadPoolExecutor(len(streams)) as pool:
        for layer in pool.map(run, range(len(streams))):
            layer.commit()
    root = snapshots.open_chain("3")
    try:
        assert sorted(os.listdir(root)) == ["d", "link", "o"]
        assert os.stat("d", dir_fd=root).st_size == 28
        assert os.path.isdir(f"/proc/self/fd/{root}/link")
        assert os.listdir(f"/proc/self/fd/{root}/o") == ["y"]
    finally:
        os.close(root)
    second = snapshots.open_chain("1")
    try:
        assert len(os.listdir(f"/proc/self/fd/{second}/d")) == 250
    finally:
        os.close(second)
        database.close()


def test_one_file_of_many_names(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with LayerUnpacker(fd) as unpacker:
        unpacker.feed(
            stream(member("a", data=b"x"), *(hard_link(f"d{n % 7}/{n}", "./a") for n in range(1000)))
        )
        unpacker.finish()
    os.close(fd)
    assert (tmp_path / "a").stat().st_nlink == 1001


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_longest_names(tmp_path: Path, format: int) -> None:
    deep = "/".join(["n" * 255] * 15)
    target = "t" * 4095
    fd = os.open(tmp_path, os.O_RDONLY)
    with LayerUnpacker(fd) as unpacker:
        unpacker.feed(stream(member(deep, data=b"deep"), symlink("link", target), format=format))
        unpacker.finish()
    os.close(fd)
    assert os.readlink(tmp_path / "link") == target
    os.chdir(tmp_path)
    for _ in range(14):
        os.chdir("n" * 255)
    try:
        assert stat.S_ISREG(os.stat("n" * 255).st_mode)
    finally:
        os.chdir("/")
