"""I1: whatever a layer's members are called or link to, nothing outside of its directory is touched."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.layers import directory, hard_link, member, snapshot, stream, symlink

from trimaran.errors import ImageError, KernelError
from trimaran.image.layer import LayerUnpacker
from trimaran.linux import _sys

Members = list[tuple[Any, bytes]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a layer's directory in it, and what must stay as it is beside that."""
    path = tmp_path_factory.mktemp("i1")
    (path / "outside/dir").mkdir(parents=True)
    (path / "outside/passwd").write_text("root")
    (path / "outside/dir/file").write_text("kept")
    return path


def attack(place: Path, *members: tuple[Any, bytes]) -> str:
    """Unpack, whatever comes of it: the names in the layer, or the error. The outside must be the same."""
    (place / "layer").mkdir()
    before = snapshot(str(place / "outside")), sorted(os.listdir(place))
    fd = os.open(place / "layer", os.O_RDONLY)
    try:
        with LayerUnpacker(fd) as unpacker:
            unpacker.feed(stream(*members))
            unpacker.finish()
        return " ".join(sorted(os.listdir(place / "layer")))
    except (ImageError, KernelError) as error:
        return str(error)
    finally:
        os.close(fd)
        assert (snapshot(str(place / "outside")), sorted(os.listdir(place))) == before
        parent = os.open(place, os.O_RDONLY)
        _sys.remove_tree(parent, b"layer")
        os.close(parent)


UP = "../outside"


@pytest.mark.parametrize("name", [f"{UP}/new", f"a/../{UP}/new", f"a/b/../../{UP}/passwd", "..", "a/../.."])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_dot_dot(place: Path, name: str, kind: bytes) -> None:
    assert "leads out of the layer" in attack(place, member(name, kind, linkname="x"))


def test_absolute_names_are_names_in_the_layer(place: Path) -> None:
    assert attack(place, member(str(place / "outside/passwd"), data=b"x")) == str(place).split("/")[1]


@pytest.mark.parametrize(
    "target", [UP, "/outside", "{place}/outside", "../../../../../../{place}/outside", "/proc/self/root"]
)
def test_link_then_file(place: Path, target: str) -> None:
    link = symlink("link", target.format(place=place))
    attack(place, link, member("link/passwd", data=b"evil"))
    attack(place, link, member("link/new/deep", data=b"evil"))
    attack(place, link, directory("link/dir", mode=0o777))
    attack(place, link, directory("link", mode=0o777))
    attack(place, link, member("link", data=b"evil"))
    attack(place, symlink("one", "two"), symlink("two", target.format(place=place)), member("one/passwd"))


@pytest.mark.parametrize("target", [f"{UP}/passwd", "/outside/passwd", "link/passwd"])
def test_hard_link_out(place: Path, target: str) -> None:
    attack(place, symlink("link", UP), hard_link("inside", target), member("inside", data=b"evil"))
    assert (place / "outside/passwd").stat().st_nlink == 1


def test_a_file_written_through_a_link_of_its_own_name(place: Path) -> None:
    assert attack(place, symlink("f", f"{UP}/passwd"), member("f", data=b"evil", mode=0o777)) == "f"
    assert attack(place, symlink("f", f"{UP}/new"), member("f", tarfile.FIFOTYPE, mode=0o777)) == "f"


@pytest.mark.parametrize(
    "name", ["link/.wh.passwd", "link/.wh.dir", "link/.wh..wh..opq", ".wh.link", f"{UP}/.wh.passwd"]
)
def test_whiteouts_through_a_link(place: Path, name: str) -> None:
    attack(place, symlink("link", UP), member(name))
    attack(place, symlink("link", str(place / "outside")), member(name))


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh..wh.", ".wh..wh..opq/x"])
def test_whiteouts_of_nothing(place: Path, name: str) -> None:
    attack(place, member(name))


def test_names_with_newlines_and_control_characters(place: Path) -> None:
    assert attack(place, member("a\nb"), member("\x1b[31m")) == "\x1b[31m a\nb"


@pytest.mark.parametrize("field", ["path", "linkpath"])
def test_names_with_nul(place: Path, field: str) -> None:
    info, data = symlink("a", "b")
    info.pax_headers = {field: "x\0y"}
    assert "NUL" in attack(place, (info, data))


@pytest.mark.parametrize("depth", [600, 4096])
def test_deep_paths(place: Path, depth: int) -> None:
    assert "too" in attack(place, member("d/" * depth + "f"))


def test_links_in_a_circle(place: Path) -> None:
    assert "Too many levels" in attack(place, symlink("a", "b"), symlink("b", "a"), member("a/x"))
    assert "Too many levels" in attack(place, symlink("a", "./a/."), member("a/x"))


parts = st.sampled_from(
    ["..", ".", "", "a", "b", "link", "outside", "passwd", "dir", ".wh.a", ".wh..wh..opq"]
)
hostile = st.lists(parts, min_size=1, max_size=5).map("/".join)


@st.composite
def members(draw: st.DrawFn) -> tuple[Any, bytes]:
    kinds = [
        tarfile.REGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
    ]
    return member(draw(hostile) or "x", draw(st.sampled_from(kinds)), mode=0o777, linkname=draw(hostile))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(members(), max_size=8))
def test_any_of_it_together(place: Path, many: Members) -> None:
    attack(place, *many)
