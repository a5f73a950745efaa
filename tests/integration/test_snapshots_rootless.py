"""An ordinary user's layers: unpacked without any privilege, and laid over each other in a user namespace."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
import tarfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.layers import directory, member, stream

from trimaran.image.layer_store import UnpackedLayers
from trimaran.linux import _sys
from trimaran.snapshot import AREA
from trimaran.snapshot.overlay import OverlaySnapshotter
from trimaran.state import Database

pytestmark = [pytest.mark.root, pytest.mark.peer("unshare")]

USER = 65534
SCRIPT = """
mkdir "$2/m" && mount -t overlay -o "$1" overlay "$2/m" && cd "$2/m" && touch written && rm a/old &&
find . -mindepth 1 -printf '%y %m %P\\n' | sort -k3
"""


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(f"/dev/shm/trimaran-rootless-{os.getpid()}")
    path.mkdir(mode=0o700)
    os.chown(path, USER, USER)
    yield path
    parent = os.open(path.parent, os.O_RDONLY)
    _sys.remove_tree(parent, os.fsencode(path.name))
    os.close(parent)


def layers() -> list[bytes]:
    device = member("null", tarfile.CHRTYPE, uid=0, devmajor=1, devminor=3)
    return [
        stream(
            *(directory("a", mode=0o555, uid=0, gid=42), member("a/old", uid=0), device),
            *(directory("o"), member("o/old"), member("gone", uid=7)),
            *(directory("shut", mode=0), member("shut/in", mode=0)),
        ),
        stream(
            *(member("a/new", mode=0o4755), member(".wh.gone")),
            *(directory("o"), member("o/.wh..wh..opq"), member("o/new")),
        ),
    ]


def use(root: str) -> dict[str, Any]:
    """What an ordinary user can do, and sees."""
    os.umask(0o077)
    database = Database(root + "/state.db", [AREA])
    snapshots = OverlaySnapshotter(root, database)
    store, parent = UnpackedLayers(snapshots), None
    for number, data in enumerate(layers()):
        layer = store.begin(str(number), parent)
        assert layer
        layer.feed(memoryview(data))
        layer.finish()
        layer.commit()
        parent = str(number)
    made = snapshots.prepare("c", parent)
    option = f"lowerdir={':'.join(made.lower)},upperdir={made.upper},workdir={made.work},userxattr"
    command = ["unshare", "-Urm", "sh", "-c", SCRIPT, "sh", option, root]
    done = subprocess.run(command, capture_output=True, text=True)
    changes = [(change.path.decode(), change.kind) for change in snapshots.changes("c")]
    snapshots.remove("c")
    for chain in snapshots.layers():
        snapshots.remove_layer(chain)
    database.close()
    left = [os.listdir(f"{root}/{name}") for name in ("containers", "layers")]
    return {"tree": done.stdout.splitlines(), "errors": done.stderr, "changes": changes, "left": left}


def as_user(root: str) -> dict[str, Any]:
    """Run use() in a child without privileges, which may not reach the interpreter's own files."""
    codecs.lookup("ascii")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.write(writer, json.dumps(use(root)).encode())
        except Exception:  # noqa: BLE001 - told, then the answer is missing
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer: dict[str, Any] = json.loads(file.read())
    os.waitpid(pid, 0)
    return answer


def test_an_ordinary_user(home: Path) -> None:
    seen = as_user(str(home))
    assert seen["errors"] == ""
    assert seen["tree"] == [
        "d 555 a",
        "f 4755 a/new",
        "d 755 o",
        "f 644 o/new",
        "d 0 shut",
        "f 0 shut/in",
        "f 600 written",
    ]
    assert seen["changes"] == [["/a", "changed"], ["/a/old", "deleted"], ["/written", "added"]]
    assert seen["left"] == [[], []]
