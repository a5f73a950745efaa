"""Trees to layers and back."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.layers import directory, hard_link, member, snapshot, stream, symlink

from trimaran.image.layer import LayerUnpacker
from trimaran.image.layer_writer import write_layer, write_tree
from trimaran.image.tar_writer import TarWriter


def pack(root: Path, *, layer: bool = False) -> bytes:
    output = io.BytesIO()
    fd = os.open(root, os.O_RDONLY)
    try:
        (write_layer if layer else write_tree)(fd, output)
    finally:
        os.close(fd)
    return output.getvalue()


def unpack(data: bytes, root: Path) -> None:
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    with LayerUnpacker(fd) as unpacker:
        unpacker.feed(data)
        unpacker.finish()
    os.close(fd)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    long = "n" * 90 + "/" + "m" * 90 + "/" + "o" * 90
    unpack(
        stream(
            directory("./", mode=0o711, mtime=5),
            directory("d", mode=0o700, pax_headers={"mtime": "7.000000001"}),
            member("d/f", data=b"content" * 99, mode=0o4711, pax_headers={"mtime": "-1.5"}),
            hard_link("g", "d/f"),
            symlink("l", "t" * 150),
            member(long, data=b"long", pax_headers={"SCHILY.xattr.user.x": "a\nb=c"}),
            member("pipe", tarfile.FIFOTYPE),
        ),
        root,
    )
    return root


def test_a_tree_comes_back_as_it_was(tree: Path, tmp_path: Path) -> None:
    data = pack(tree)
    unpack(data, tmp_path / "again")
    assert snapshot(str(tmp_path / "again")) == snapshot(str(tree))
    assert pack(tmp_path / "again") == data


def test_python_reads_it(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(tree))) as archive:
        members = {m.name: m for m in archive}
    assert members["d/f"].mode == 0o4711
    assert members["g"].linkname == "d/f"
    assert members["l"].linkname == "t" * 150
    assert members["d"].isdir()
    assert len([name for name in members if name.endswith("o" * 90)]) == 1


def test_changes_become_whiteouts(tmp_path: Path) -> None:
    root = tmp_path / "upper"
    unpack(stream(member("a/.wh.gone"), directory("b"), member("c")), root)
    os.setxattr(root / "b", "user.overlay.opaque", b"y")
    with tarfile.open(fileobj=io.BytesIO(pack(root, layer=True))) as archive:
        names = archive.getnames()
    assert names == [".", "a", "a/.wh.gone", "b", "b/.wh..wh..opq", "c"]


def test_what_tar_cannot_hold_is_left_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        with tarfile.open(fileobj=io.BytesIO(pack(tmp_path))) as archive:
            assert archive.getnames() == ["."]


names = st.binary(min_size=1, max_size=120).map(lambda b: b.replace(b"\0", b"0").replace(b"/", b"_"))


@settings(max_examples=200, deadline=None)
@given(
    names.filter(lambda n: n.strip(b".") != b""),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**40), 2**60),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=300), max_size=3),
)
def test_every_header_is_read_back(name: bytes, owner: int, mtime: int, xattrs: dict[str, bytes]) -> None:
    output = io.BytesIO()
    status = os.stat_result(
        (0o100640, 1, 1, 1, owner, owner, 3, 0, 0, 0), {"st_mtime_ns": mtime, "st_rdev": 0}
    )
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    TarWriter(output).add(name, status, xattrs=xattrs, content=reader)
    os.close(reader)
    os.close(writer)
    with tarfile.open(
        fileobj=io.BytesIO(output.getvalue() + bytes(1024)), errors="surrogateescape"
    ) as archive:
        (info,) = archive.getmembers()
        assert (info.uid, info.gid, info.mode) == (owner, owner, 0o640)
        assert os.fsencode(info.name) == name
        assert abs(float(info.mtime) - mtime / 1e9) <= max(1.0, abs(mtime) / 1e9 / 2**40)
        file = archive.extractfile(info)
        assert file
        assert file.read() == b"abc"
