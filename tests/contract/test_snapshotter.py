"""What every snapshotter promises (trimaran.snapshot.base)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.layers import directory, hard_link, member, stream, symlink

from trimaran.errors import Conflict, ImageError, InvalidInput, NotFound, Unsupported
from trimaran.image.layer_store import UnpackedLayers
from trimaran.isolation import Root
from trimaran.snapshot import AREA, DRIVERS, Change, LayerFacts, Snapshotter, snapshotter
from trimaran.state import Database

pytestmark = pytest.mark.root

Build = Callable[..., str]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield database
    database.close()


@pytest.fixture
def snapshots(tmp_path: Path, database: Database, driver: str) -> Iterator[Snapshotter]:
    snapshots = snapshotter(str(tmp_path), database, driver)
    yield snapshots
    clear(snapshots)


def clear(snapshots: Snapshotter) -> None:
    for container in list(snapshots.containers()):
        snapshots.remove(container)
    for layer in snapshots.layers():
        snapshots.remove_layer(layer)


@pytest.fixture
def build(snapshots: Snapshotter) -> Build:
    """Unpacks streams as a chain, and returns the uppermost chain ID."""

    def run(*streams: bytes, prefix: str = "chain") -> str:
        store, parent = UnpackedLayers(snapshots), None
        for number, data in enumerate(streams):
            chain_id = f"{prefix}-{number}"
            layer = store.begin(chain_id, parent)
            assert layer is not None
            layer.feed(memoryview(data))
            layer.finish()
            layer.commit()
            parent = chain_id
        assert parent is not None
        return parent

    return run


def tree(fd: int) -> dict[str, Any]:
    """The files below a descriptor, which is closed: their content, or the names of their links."""
    found: dict[str, Any] = {}
    try:
        for path, directories, files, at in os.fwalk(".", dir_fd=fd):
            for name in directories + files:
                status = os.stat(name, dir_fd=at, follow_symlinks=False)
                full = os.path.normpath(os.path.join(path, name))
                if stat.S_ISREG(status.st_mode):
                    file = os.open(name, os.O_RDONLY, dir_fd=at)
                    found[full] = os.read(file, 1 << 16)
                    os.close(file)
                elif stat.S_ISLNK(status.st_mode):
                    found[full] = os.readlink(name, dir_fd=at)
                else:
                    found[full] = stat.S_IFMT(status.st_mode)
    finally:
        os.close(fd)
    return found


def write(snapshots: Snapshotter, container_id: str, path: str, data: bytes) -> None:
    root = snapshots.open_root(container_id)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=root)
        os.write(file, data)
        os.close(file)
    finally:
        os.close(root)


DIR = stat.S_IFDIR


def test_a_chain_is_its_layers_one_over_the_other(snapshots: Snapshotter, build: Build) -> None:
    chain = build(
        stream(
            directory("a"),
            member("a/one", data=b"1"),
            member("a/two", data=b"2"),
            directory("gone"),
            member("gone/x"),
        ),
        stream(directory("a"), member("a/two", data=b"II"), member(".wh.gone"), symlink("link", "a/one")),
        stream(directory("a"), member("a/.wh.one"), directory("b")),
    )
    assert tree(snapshots.open_chain(chain)) == {"a": DIR, "a/two": b"II", "b": DIR, "link": "a/one"}
    assert tree(snapshots.open_chain("chain-0")) == {
        "a": DIR,
        "a/one": b"1",
        "a/two": b"2",
        "gone": DIR,
        "gone/x": b"",
    }


def test_opaque_directories_hide_what_lies_below(snapshots: Snapshotter, build: Build) -> None:
    chain = build(
        stream(directory("a"), member("a/old"), directory("a/d"), member("a/d/old"), member("b")),
        stream(directory("a"), member("a/new"), member("a/.wh..wh..opq")),
    )
    assert tree(snapshots.open_chain(chain)) == {"a": DIR, "a/new": b"", "b": b""}


def test_an_opaque_root_hides_everything(snapshots: Snapshotter, build: Build) -> None:
    chain = build(stream(member("old")), stream(member(".wh..wh..opq"), member("new")))
    assert tree(snapshots.open_chain(chain)) == {"new": b""}


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_layer_removes_and_makes_anew_is_new(snapshots: Snapshotter, build: Build, order: int) -> None:
    members = [member(".wh.d"), directory("d"), member("d/new")][::order]
    chain = build(stream(directory("d"), member("d/old")), stream(*members))
    assert tree(snapshots.open_chain(chain)) == {"d": DIR, "d/new": b""}


def test_a_directory_in_place_of_a_file_of_the_same_layer_hides_too(
    snapshots: Snapshotter, build: Build
) -> None:
    chain = build(
        stream(directory("d"), member("d/old")), stream(member("d"), directory("d"), member("d/new"))
    )
    assert tree(snapshots.open_chain(chain)) == {"d": DIR, "d/new": b""}


def test_files_and_directories_and_links_replace_each_other(snapshots: Snapshotter, build: Build) -> None:
    chain = build(
        stream(directory("d"), member("d/x"), member("f"), symlink("l", "d")),
        stream(member("d", data=b"file"), directory("f"), member("f/y"), directory("l"), member("l/z")),
    )
    assert tree(snapshots.open_chain(chain)) == {"d": b"file", "f": DIR, "f/y": b"", "l": DIR, "l/z": b""}


def test_directories_that_a_layer_passes_through_stay_as_they_were(
    snapshots: Snapshotter, build: Build
) -> None:
    chain = build(
        stream(
            directory("./", mode=0o711, uid=7, mtime=5),
            directory("a", mode=0o2775, gid=50, mtime=77),
            directory("a/b", mode=0o700, uid=9, mtime=88),
        ),
        stream(member("a/b/new")),
    )
    root = snapshots.open_chain(chain)
    try:
        seen = {p: os.stat(p, dir_fd=root) for p in (".", "a", "a/b")}
    finally:
        os.close(root)
    assert [(stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid, s.st_mtime) for s in seen.values()] == [
        (0o711, 7, 0, 5),
        (0o2775, 0, 50, 77),
        (0o700, 9, 0, 88),
    ]


def test_a_hard_link_to_a_file_below_brings_it_up(snapshots: Snapshotter, build: Build) -> None:
    chain = build(
        stream(
            directory("a", mtime=3),
            directory("a/b", mode=0o700, mtime=4),
            member("a/b/file", data=b"data", mode=0o4755),
        ),
        stream(hard_link("link", "a/b/file"), hard_link("again", "link")),
    )
    root = snapshots.open_chain(chain)
    try:
        names = [os.stat(name, dir_fd=root) for name in ("link", "again", "a/b/file")]
        assert len({s.st_ino for s in names}) == 1
        assert {(stat.S_IMODE(s.st_mode), s.st_size) for s in names} == {(0o4755, 4)}
        assert [os.stat(p, dir_fd=root).st_mtime for p in ("a", "a/b")] == [3, 4]
    finally:
        os.close(root)


def test_a_hard_link_that_leads_nowhere(snapshots: Snapshotter, build: Build, tmp_path: Path) -> None:
    below = build(stream(member("gone")), stream(member(".wh.gone")))
    layer = UnpackedLayers(snapshots).begin("broken", below)
    assert layer
    layer.feed(memoryview(stream(hard_link("link", "gone"))))
    layer.finish()
    with pytest.raises(ImageError, match="leads nowhere"):
        layer.commit()
    layer.abort()
    layer.abort()
    assert snapshots.layers() == ["chain-1", "chain-0"]
    assert UnpackedLayers(snapshots).begin("chain-1", "chain-0") is None


def test_a_container_writes_for_itself(snapshots: Snapshotter, build: Build) -> None:
    chain = build(
        stream(
            directory("./", mode=0o751),
            directory("etc"),
            member("etc/name", data=b"image"),
            member("etc/gone"),
        )
    )
    first, second = snapshots.prepare("one", chain), snapshots.prepare("two", chain)
    assert isinstance(first, Root)
    assert first != second
    assert snapshots.root("one") == first
    write(snapshots, "one", "etc/name", b"mine")
    write(snapshots, "one", "new", b"n")
    root = snapshots.open_root("one")
    os.unlink("etc/gone", dir_fd=root)
    assert stat.S_IMODE(os.fstat(root).st_mode) == 0o751
    os.close(root)
    for read_only in (False, True):
        seen = tree(snapshots.open_root("one", read_only=read_only))
        assert seen == {"etc": DIR, "etc/name": b"mine", "new": b"n"}
    assert tree(snapshots.open_root("two")) == {"etc": DIR, "etc/name": b"image", "etc/gone": b""}
    assert list(snapshots.changes("one")) == [
        Change(b"/etc", "changed"),
        Change(b"/etc/gone", "deleted"),
        Change(b"/etc/name", "changed"),
        Change(b"/new", "added"),
    ]
    assert list(snapshots.changes("two")) == []
    used = snapshots.usage("one")
    assert used.inodes >= 4
    assert used.bytes >= 2 * 512
    assert sorted(snapshots.containers()) == ["one", "two"]


def test_a_directory_that_a_container_made_anew(snapshots: Snapshotter, build: Build) -> None:
    chain = build(stream(directory("d"), member("d/x"), member("d/y")))
    snapshots.prepare("one", chain)
    root = snapshots.open_root("one")
    for name in ("d/x", "d/y"):
        os.unlink(name, dir_fd=root)
    os.rmdir("d", dir_fd=root)
    os.mkdir("d", dir_fd=root)
    os.close(os.open("d/x", os.O_CREAT, dir_fd=root))
    os.close(root)
    assert list(snapshots.changes("one")) == [
        Change(b"/d", "changed"),
        Change(b"/d/x", "changed"),
        Change(b"/d/y", "deleted"),
    ]


def test_removal_leaves_nothing(snapshots: Snapshotter, build: Build, tmp_path: Path) -> None:
    chain = build(stream(member("a")), stream(member("b")))
    snapshots.prepare("one", chain)
    write(snapshots, "one", "c", b"")
    with pytest.raises(Conflict, match="container one lies on it"):
        snapshots.remove_layer(chain)
    with pytest.raises(Conflict, match="layer chain-1 lies on it"):
        snapshots.remove_layer("chain-0")
    snapshots.remove("one")
    snapshots.remove("one")
    assert [snapshots.remove_layer(layer) for layer in snapshots.layers()] == [10240, 10240]
    assert snapshots.layers() == []
    left = [p.name for p in tmp_path.rglob("*") if not p.name.startswith("state.db")]
    assert set(left) - {"0", "mounts"} == {"containers", "layers"}
    with pytest.raises(NotFound):
        snapshots.remove_layer(chain)


def test_a_container_without_an_image(snapshots: Snapshotter) -> None:
    snapshots.prepare("bare", None)
    write(snapshots, "bare", "x", b"x")
    assert tree(snapshots.open_root("bare")) == {"x": b"x"}
    assert list(snapshots.changes("bare")) == [Change(b"/x", "added")]


def test_what_is_refused(snapshots: Snapshotter, build: Build) -> None:
    chain = build(stream(member("a")))
    snapshots.prepare("one", chain)
    with pytest.raises(Conflict):
        snapshots.prepare("one", chain)
    with pytest.raises(NotFound):
        snapshots.prepare("two", "unknown")
    with pytest.raises(NotFound):
        snapshots.root("two")
    for bad in ("..", ".", "", "a/b", "a\0b"):
        with pytest.raises(InvalidInput):
            snapshots.prepare(bad, chain)
        with pytest.raises(InvalidInput):
            snapshots.remove(bad)
    draft = snapshots.prepare_layer("orphan", "unknown")
    assert draft
    with pytest.raises(NotFound):
        snapshots.commit_layer(draft, LayerFacts())
    snapshots.abort_layer(draft)


def test_mount(snapshots: Snapshotter, build: Build, tmp_path: Path) -> None:
    chain = build(stream(member("a", data=b"a")))
    target = tmp_path / "mnt"
    target.mkdir()
    snapshots.mount(chain, str(target))
    try:
        assert (target / "a").read_bytes() == b"a"
        with pytest.raises(OSError, match="Read-only"):
            (target / "b").touch()
    finally:
        snapshots.unmount(str(target))
    assert os.listdir(target) == []


def test_two_at_the_same_layer(snapshots: Snapshotter) -> None:
    first = snapshots.prepare_layer("x", None)
    assert first
    second: list[object] = []
    waited = threading.Event()
    thread = threading.Thread(target=lambda: second.append(snapshots.prepare_layer("x", None, waited.set)))
    thread.start()
    assert waited.wait(10)
    assert second == []
    snapshots.commit_layer(first, LayerFacts(size=1))
    thread.join(10)
    assert second == [None]


def test_many_layers(snapshots: Snapshotter, build: Build) -> None:
    chain = build(*(stream(member(f"f{n}")) for n in range(120)))
    snapshots.prepare("one", chain)
    assert len(tree(snapshots.open_root("one"))) == 120


@pytest.mark.parametrize("driver", ["overlay", "copy"])
def test_a_quota_that_cannot_be(snapshots: Snapshotter, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no project quota"):
        snapshots.prepare("one", None, quota=1 << 20)
    assert list(snapshots.containers()) == []
    assert list((tmp_path / "containers").iterdir()) == []


CRASH = """
import os, signal, sys
from trimaran.snapshot import AREA, LayerFacts, snapshotter
from trimaran.state import Database
root, driver, point = sys.argv[1:]
snapshots = snapshotter(root, Database(root + "/state.db", [AREA]), driver)
real = {name: getattr(os, name) for name in ("rename", "mkdir", "rmdir", "chmod")}
count = 0
def dying(name):
    def call(*args, **kwargs):
        global count
        count += 1
        if count == int(point):
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*args, **kwargs)
    return call
for name in real:
    setattr(os, name, dying(name))
draft = snapshots.prepare_layer("x", None)
open(draft.path + "/file", "w").close()
snapshots.commit_layer(draft, LayerFacts(size=1))
snapshots.prepare("one", "x")
snapshots.remove("one")
snapshots.remove_layer("x")
print(count)
"""


def test_killed_anywhere(driver: str, tmp_path: Path) -> None:
    def run(root: Path, point: int) -> subprocess.CompletedProcess[str]:
        root.mkdir()
        command = [sys.executable, "-c", CRASH, str(root), driver, str(point)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    steps = int(run(tmp_path / "whole", 0).stdout)
    assert steps >= 6
    for point in range(1, steps + 1):
        root = tmp_path / str(point)
        assert run(root, point).returncode == -9
        database = Database(str(root / "state.db"), [AREA])
        snapshots = snapshotter(str(root), database, driver)
        for own in (root / "containers").iterdir():
            os.utime(own, (0, 0))
        snapshots.recover()
        assert database.abandoned() == []
        clear(snapshots)
        left = [p.name for p in root.rglob("*") if not p.name.startswith("state.db")]
        assert set(left) - {"0", "mounts"} == {"containers", "layers"}, f"after dying at step {point}"
        draft = snapshots.prepare_layer("x", None)
        assert draft
        snapshots.commit_layer(draft, LayerFacts())
        clear(snapshots)
        database.close()


@pytest.mark.parametrize("driver", ["overlay"])
def test_a_root_is_prepared_fast(snapshots: Snapshotter, build: Build) -> None:
    chain = build(stream(member("a")), stream(member("b")))
    snapshots.prepare("warm", chain)
    took = []
    for number in range(50):
        start = time.perf_counter()
        snapshots.prepare(f"c{number}", chain)
        took.append(time.perf_counter() - start)
    assert sorted(took)[25] < 0.002
