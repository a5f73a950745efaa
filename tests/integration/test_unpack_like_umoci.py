"""Random images unpack to the tree that umoci makes of them: layer upon layer there, layer by layer here."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.support.images import write_layout
from tests.support.layers import directory, hard_link, member, snapshot, stream, symlink

from trimaran.image.layer_store import UnpackedLayers
from trimaran.linux import _sys
from trimaran.snapshot import AREA, DRIVERS, Snapshotter, snapshotter
from trimaran.state import Database

pytestmark = [pytest.mark.root, pytest.mark.peer("umoci")]

SOAK = bool(os.environ.get("TRIMARAN_SOAK"))
EXAMPLES = 2000 if SOAK else 40
Members = list[tuple[Any, bytes]]

names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
modes = st.sampled_from([0o755, 0o700, 0o555, 0o1777, 0o2755])
file_modes = st.sampled_from([0o644, 0o600, 0o4755, 0o000])
owners = st.sampled_from([0, 1, 1000, 65534])
times = st.integers(0, 2**33)
xattrs = st.dictionaries(
    st.sampled_from(["user.one", "user.two", "trusted.x", "security.capability"]),
    st.just("\x01\x00\x00\x02\x00\x20\x00\x00" + "\x00" * 12),
    max_size=2,
)


def _pax(attributes: dict[str, str], nanoseconds: int, mtime: int) -> dict[str, str]:
    headers = {f"SCHILY.xattr.{name}": value for name, value in attributes.items()}
    return headers | {"mtime": f"{mtime}.{nanoseconds:09d}"}


@st.composite
def members(draw: st.DrawFn) -> tuple[Any, bytes]:
    """One member of any kind."""
    path = draw(paths)
    kind = draw(
        st.sampled_from(
            ["file", "file", "dir", "dir", "dir", "symlink", "hard", "whiteout", "opaque", "node"]
        )
    )
    mtime = draw(times)
    fields = {"uid": draw(owners), "gid": draw(owners), "mtime": mtime}
    headers = _pax(draw(xattrs), draw(st.sampled_from([0, 1, 999_999_999])), mtime)
    if kind == "file":
        content = draw(st.binary(max_size=700))
        return member(path, data=content, mode=draw(file_modes), pax_headers=headers, **fields)
    if kind == "dir":
        place = draw(st.sampled_from([path] * 9 + ["./"]))
        return directory(place, mode=draw(modes), pax_headers=headers, **fields)
    if kind == "symlink":
        target = draw(st.sampled_from(["a", "../b", "/c", "nowhere", "a/b"]))
        info, data = symlink(path, target)
    elif kind == "hard":
        info, data = hard_link(path, draw(paths))
    elif kind == "node":
        info, data = member(path, draw(st.sampled_from([tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])))
        info.devmajor, info.devminor = 1, draw(st.integers(1, 300))
    else:
        parent, name = os.path.split(path)
        return member(os.path.join(parent, f".wh.{name}") if kind == "whiteout" else f"{path}/.wh..wh..opq")
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


images = st.lists(st.lists(members(), max_size=8), min_size=1, max_size=4)


def _ours(root: str, layers: list[bytes], driver: str) -> tuple[Snapshotter, str]:
    snapshots = snapshotter(root, Database(os.path.join(root, "state.db"), [AREA]), driver)
    store, parent = UnpackedLayers(snapshots), None
    for number, data in enumerate(layers):
        layer = store.begin(str(number), parent)
        assert layer
        layer.feed(memoryview(data))
        layer.finish()
        layer.commit()
        parent = str(number)
    assert parent is not None
    return snapshots, parent


def _described(image: list[Members]) -> set[str]:
    """Directories whose times a member states, and in which umoci makes no other without a member.

    The times of the rest depend on when they were made; umoci restores those of a member's parent only.
    """
    if _passes_over_links(image):
        return set()
    described, touched = {"."}, set()
    for layer in image:
        for info, _ in layer:
            path = os.path.normpath(info.name)
            parent = os.path.dirname(path)
            while parent:
                if parent not in described:
                    touched.add(os.path.dirname(parent) or ".")
                parent = os.path.dirname(parent)
            if info.isdir():
                described.add(path)
                continue
            # What was there is gone, or may be: if it is made anew, nothing is known of it.
            gone = os.path.dirname(path) if path.endswith("opq") else path.replace(".wh.", "")
            described = {known for known in described if not f"{known}/".startswith(f"{gone}/")}
    return described - touched


def _above(path: str) -> set[str]:
    return {path[:at] for at, letter in enumerate(path) if letter == "/"}


def _passes_over_links(image: list[Members]) -> bool:
    links = {
        os.path.normpath(info.name) for layer in image for info, _ in layer if info.issym() or info.islnk()
    }
    return any(_above(os.path.normpath(info.name)) & links for layer in image for info, _ in layer)


def _passes_over_lower_links(image: list[Members]) -> bool:
    """Whether a layer goes through what is a link in a layer below.

    umoci follows that link. Here, as with containerd and Docker, a layer does not know those below: the
    directory that it passes through takes the place of the link.
    """
    links: set[str] = set()
    for layer in image:
        here: set[str] = set()
        for info, _ in layer:
            path = os.path.normpath(info.name)
            passed = _above(path) | (_above(info.linkname) if info.islnk() else set())
            if passed & (links - here):
                return True
            here.add(path)
        links |= {os.path.normpath(info.name) for info, _ in layer if info.issym() or info.islnk()}
    return False


def _removes_below_files(image: list[Members]) -> bool:
    """Whether a layer has a whiteout below what it says is no directory: nothing means that."""
    for layer in image:
        files: set[str] = set()
        for info, _ in layer:
            name = os.path.normpath(info.name)
            if ".wh." in name and _above(name) & files:
                return True
            if not info.isdir():
                files.add(name)
    return False


def _comparable(tree: dict[str, tuple[Any, ...]], described: set[str]) -> dict[str, tuple[object, ...]]:
    found = {}
    for path, (kind, mode, owner, mtime, *rest) in tree.items():
        if kind == stat.S_IFDIR and path not in described:
            # umoci makes it now, and as the directory above hands its group down.
            mode, owner, mtime = mode & ~stat.S_ISGID, None, None
        found[path] = (kind, mode, owner, mtime, *rest)
    return found


def _check(image: list[Members], driver: str, work: str) -> None:
    layers = [stream(*layer) for layer in image]
    write_layout(os.path.join(work, "layout"), layers)
    theirs, ours = os.path.join(work, "theirs"), os.path.join(work, "ours")
    command = ["umoci", "raw", "unpack", "--image", f"{work}/layout:latest", theirs]
    assume(subprocess.run(command, capture_output=True, text=True).returncode == 0)
    os.mkdir(ours)
    snapshots, chain = _ours(work, layers, driver)
    described = _described(image)
    snapshots.mount(chain, ours)
    try:
        assert _comparable(snapshot(ours), described) == _comparable(snapshot(theirs), described)
    finally:
        snapshots.unmount(ours)
        for layer in snapshots.layers():
            snapshots.remove_layer(layer)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("driver", DRIVERS)
def test_random_images_equal_umocis(driver: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        derandomize=not SOAK,
    )
    @given(images)
    def run(image: list[Members]) -> None:
        assume(not _passes_over_lower_links(image) and not _removes_below_files(image))
        work = tempfile.mkdtemp(prefix="umoci-", dir="/dev/shm")
        try:
            _check(image, driver, work)
        finally:
            parent = os.open("/dev/shm", os.O_RDONLY)
            _sys.remove_tree(parent, os.fsencode(os.path.basename(work)))
            os.close(parent)

    run()
