"""I2: somebody swaps directories of the layer for links while it is being unpacked (CVE-2025-47290)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.support.layers import directory, member, snapshot, stream

from trimaran.errors import TrimaranError
from trimaran.image.layer import LayerUnpacker
from trimaran.linux import _sys

ROUNDS = 150


def swap_until(stop: threading.Event, layer: Path, outside: Path) -> None:
    """Make the directory "d" a link to the outside and a directory again, as fast as can be."""
    number = 0
    while not stop.is_set():
        number += 1
        try:
            os.rename(layer / "d", layer / f"was{number}")
            os.symlink(outside, layer / "d")
            os.unlink(layer / "d")
            os.mkdir(layer / "d")
        except OSError:
            continue


def test_nothing_outside_is_touched(tmp_path: Path) -> None:
    outside, layer = tmp_path / "outside", tmp_path / "layer"
    (outside / "e").mkdir(parents=True)
    (outside / "kept").write_text("kept")
    layer.mkdir()
    before = snapshot(str(outside))
    files = [member(f"d/e/{n}", data=b"x") for n in range(20)]
    removals = [member("d/.wh.kept"), member("d/.wh..wh..opq")]
    data = stream(directory("d"), directory("d/e"), *files, member("d/kept"), *removals)
    stop = threading.Event()
    swapper = threading.Thread(target=swap_until, args=(stop, layer, outside))
    swapper.start()
    try:
        fd = os.open(layer, os.O_RDONLY)
        for _ in range(ROUNDS):
            try:
                with LayerUnpacker(fd) as unpacker:
                    unpacker.feed(data)
                    unpacker.finish()
            except TrimaranError:
                continue
        os.close(fd)
    finally:
        stop.set()
        swapper.join()
    assert snapshot(str(outside)) == before
    assert list(layer.glob("was*")), "nothing was swapped"


def test_nothing_outside_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    stop = threading.Event()
    layer = tmp_path / "layer"
    layer.mkdir()
    swapper = threading.Thread(target=swap_until, args=(stop, layer, outside))
    parent = os.open(tmp_path, os.O_RDONLY)
    swapper.start()
    try:
        for _ in range(ROUNDS):
            try:
                layer.mkdir(exist_ok=True)
                (layer / "d").mkdir()
            except FileExistsError:
                pass
            try:
                _sys.remove_tree(parent, b"layer")
            except OSError:
                continue
    finally:
        stop.set()
        swapper.join()
        os.close(parent)
    assert os.listdir(outside) == ["kept"]
