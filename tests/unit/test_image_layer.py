"""The tar applier: what a layer's members become."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.layers import DAY, directory, hard_link, member, stream, symlink

from trimaran.errors import ImageError
from trimaran.image.layer import LayerResult, LayerUnpacker, UnpackOptions, unpack

Apply = Callable[..., LayerResult]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.mkdir()
    return path


@pytest.fixture
def apply(root: Path) -> Apply:
    """Applies a stream to ``root`` in pieces of a size that fits no block."""

    def run(data: bytes, options: UnpackOptions | None = None, piece: int = 777) -> LayerResult:
        fd = os.open(root, os.O_RDONLY)
        try:
            with LayerUnpacker(fd, options) as unpacker:
                for start in range(0, len(data), piece):
                    unpacker.feed(data[start : start + piece])
                return unpacker.finish()
        finally:
            os.close(fd)

    return run


def test_files_directories_and_links(apply: Apply, root: Path) -> None:
    data = stream(
        directory("etc", mode=0o750),
        member("etc/hostname", data=b"box\n", mode=0o640, pax_headers={"mtime": "1500000000.123456789"}),
        symlink("etc/link", "hostname"),
        hard_link("etc/name", "etc/hostname"),
        member("pipe", tarfile.FIFOTYPE, mode=0o622),
    )
    result = apply(data)
    assert (result.size, result.entries) == (len(data), 5)
    assert result.implicit == (b"",)
    assert (root / "etc/hostname").read_bytes() == b"box\n"
    assert (root / "etc/hostname").stat().st_mtime_ns == DAY * 10**9 + 123456789
    assert stat.S_IMODE((root / "etc/hostname").stat().st_mode) == 0o640
    assert os.readlink(root / "etc/link") == "hostname"
    assert (root / "etc/name").samefile(root / "etc/hostname")
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert stat.S_IMODE((root / "pipe").stat().st_mode) == 0o622
    assert (root / "etc").stat().st_mtime == DAY
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o750


def test_directory_times_hold_although_members_follow(apply: Apply, root: Path) -> None:
    apply(stream(directory("a", mtime=1), directory("a/b", mtime=2), member("a/b/c"), member("a/d")))
    assert ((root / "a").stat().st_mtime, (root / "a/b").stat().st_mtime) == (1, 2)


def test_missing_parents_are_made_and_told(apply: Apply, root: Path) -> None:
    result = apply(stream(member("a/b/c"), directory("a/d"), directory("a", mode=0o700)))
    assert result.implicit == (b"", b"a/b")
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["/etc/x", "./etc/x", "etc//x", "etc/./x", "etc/y/../x"])
def test_names_are_taken_within_the_layer(apply: Apply, root: Path, name: str) -> None:
    apply(stream(member(name, data=b"x")))
    assert (root / "etc/x").read_bytes() == b"x"


def test_the_root_can_be_described(apply: Apply, root: Path) -> None:
    result = apply(stream(directory("./", mode=0o711, mtime=7), member("./a")))
    assert result.implicit == ()
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert root.stat().st_mtime == 7


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links(apply: Apply, root: Path, format: int) -> None:
    long = "/".join(["n" * 200] * 5)
    apply(stream(member(long, data=b"1"), symlink("s", long), hard_link("h", long), format=format))
    assert (root / long).read_bytes() == b"1"
    assert os.readlink(root / "s") == long
    assert (root / "h").samefile(root / long)


def test_a_later_member_takes_the_place_of_an_earlier_one(apply: Apply, root: Path) -> None:
    apply(
        stream(
            symlink("link", "/etc/passwd"),
            member("link", data=b"file"),
            directory("tree"),
            member("tree/x"),
            member("tree", data=b"file"),
            member("file"),
            directory("file"),
            member("file/y"),
        )
    )
    assert (root / "link").read_bytes() == b"file"
    assert not (root / "link").is_symlink()
    assert (root / "tree").read_bytes() == b"file"
    assert (root / "file/y").is_file()


def test_a_link_to_a_directory_is_walked_within_the_layer(apply: Apply, root: Path) -> None:
    apply(
        stream(
            directory("usr/lib"),
            symlink("lib", "usr/lib"),
            member("lib/a", data=b"a"),
            symlink("abs", "/usr"),
            member("abs/lib/b", data=b"b"),
            symlink("usr/up", "../../../usr/./lib"),
            member("usr/up/c", data=b"c"),
        )
    )
    assert {p.name: p.read_bytes() for p in (root / "usr/lib").iterdir()} == {"a": b"a", "b": b"b", "c": b"c"}


def test_a_hard_link_to_itself_keeps_the_file(apply: Apply, root: Path) -> None:
    apply(stream(member("a", data=b"a"), hard_link("a", "./a")))
    assert (root / "a").read_bytes() == b"a"


def test_a_hard_link_to_a_lower_layer_is_left_to_the_snapshot(apply: Apply, root: Path) -> None:
    result = apply(stream(hard_link("b/c", "/a/x"), directory("d"), hard_link("e", "d/x")))
    assert result.links == ((b"b/c", b"a/x"), (b"e", b"d/x"))
    assert not (root / "b/c").exists()


def test_what_aufs_left_behind_is_ignored(apply: Apply, root: Path) -> None:
    apply(
        stream(
            directory(".wh..wh.plnk"),
            member(".wh..wh.plnk/1.2", data=b"x"),
            member(".wh..wh.aufs"),
            member("a"),
        )
    )
    assert os.listdir(root) == ["a"]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member("../x")], "out of the layer"),
        ([member("a/../../x")], "out of the layer"),
        ([hard_link("x", "../../etc/passwd")], "out of the layer"),
        ([member("a"), member("a/b")], "not a directory"),
        ([directory("a"), hard_link("b", "a")], "hard link"),
        ([member(".wh.")], "names no file"),
        ([member(".wh...")], "names no file"),
        ([member("/")], "root is not a directory"),
        ([member("a/" * 600 + "b")], "too deep"),
        ([member("x", b"Q")], "type that is not known"),
    ],
)
def test_what_is_refused(apply: Apply, members: list[tuple[object, bytes]], why: str) -> None:
    with pytest.raises(ImageError, match=why):
        apply(stream(*members))


def test_limits(apply: Apply) -> None:
    data = stream(member("a"), member("b"), member("c", data=bytes(9000)))
    with pytest.raises(ImageError, match="more members"):
        apply(data, UnpackOptions(max_entries=2))
    with pytest.raises(ImageError, match="larger than allowed"):
        apply(data, UnpackOptions(max_size=5000))


@pytest.mark.parametrize("size", [100, 512, 700, 1024 + 3])
def test_a_stream_that_is_cut_off(apply: Apply, size: int) -> None:
    data = stream(member("a", data=bytes(2000)))
    with pytest.raises(ImageError, match="ends within a member"):
        apply(data[:size])


def test_a_corrupt_header(apply: Apply) -> None:
    data = bytearray(stream(member("a"), member("b")))
    data[512] ^= 1
    with pytest.raises(ImageError, match=r"checksum.* at byte 512"):
        apply(bytes(data))


def test_from_a_pipe(root: Path) -> None:
    data = stream(member("a", data=bytes(range(256)) * 1000))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, data[:60000])
        os.close(reader)
        while data:
            data = data[60000:]
            os.write(writer, data[:60000])
        os._exit(0)
    os.close(writer)
    fd = os.open(root, os.O_RDONLY)
    assert unpack(reader, fd).entries == 1
    os.close(fd)
    os.close(reader)
    os.waitpid(pid, 0)
    assert (root / "a").stat().st_size == 256000
