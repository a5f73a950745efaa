"""Removing trees by descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trimaran.linux import _sys

Remove = Callable[[bytes], None]


@pytest.fixture
def remove(tmp_path: Path) -> Remove:
    def run(name: bytes) -> None:
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            _sys.remove_tree(fd, name)
        finally:
            os.close(fd)

    return run


def test_files_links_and_directories(tmp_path: Path, remove: Remove) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    for number in range(1000):
        (tree / "a" / f"file-with-a-rather-long-name-{number}").touch()
    (tree / "link").symlink_to("a")
    os.mkfifo(tree / "a/b/pipe")
    remove(b"tree")
    assert os.listdir(tmp_path) == []


def test_links_are_not_followed(tmp_path: Path, remove: Remove) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to("../outside")
    (tmp_path / "link").symlink_to("outside")
    remove(b"tree")
    remove(b"link")
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["kept"]


def test_however_deep(tmp_path: Path, remove: Remove) -> None:
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("f", os.O_CREAT, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove(b"tree")
    assert os.listdir(tmp_path) == []


def test_names_that_it_gives_itself(tmp_path: Path, remove: Remove) -> None:
    deep = tmp_path / "tree" / "/".join(["d"] * 40)
    deep.mkdir(parents=True)
    for number in range(5):
        (tmp_path / "tree" / f".removed-{number}").mkdir()
        (tmp_path / "tree" / f".removed-{number}" / "x").touch()
    remove(b"tree")
    assert os.listdir(tmp_path) == []


def test_directories_that_shut_their_owner_out(tmp_path: Path, remove: Remove) -> None:
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/f").touch()
    (tmp_path / "tree/a").chmod(0)
    (tmp_path / "tree").chmod(0o500)
    remove(b"tree")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b"])
def test_only_a_name(remove: Remove, name: bytes) -> None:
    with pytest.raises(ValueError, match="one name"):
        remove(name)


def test_what_is_not_there(remove: Remove) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        remove(b"missing")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.root
def test_a_mount_is_not_entered(tmp_path: Path, remove: Remove) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/kept").touch()
    (tmp_path / "tree/mnt").mkdir(parents=True)
    host = _sys.open_tree(-100, os.fsencode(tmp_path / "host"), 1)
    target = os.open(tmp_path / "tree/mnt", os.O_PATH)
    _sys.move_mount(host, target)
    os.close(target)
    os.close(host)
    try:
        with pytest.raises(OSError, match="busy") as caught:
            remove(b"tree")
        assert caught.value.errno == errno.EBUSY
        assert os.listdir(tmp_path / "host") == ["kept"]
    finally:
        _sys.umount(os.fsencode(tmp_path / "tree/mnt"))
