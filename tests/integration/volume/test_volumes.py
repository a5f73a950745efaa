"""Volumes on disk: their life, filling from an image, subpaths, backup; with hostile content."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimaran.errors import Conflict, InvalidInput, NotFound
from trimaran.state import Database
from trimaran.volume.archive import backup, restore
from trimaran.volume.image import image_mount
from trimaran.volume.manager import VolumeManager
from trimaran.volume.model import MountRequest
from trimaran.volume.parse import parse_mount, parse_volume
from trimaran.volume.schema import AREA

pytestmark = pytest.mark.root

# As a user would see the directory: name, kind and mode, owner, content or target, and links to it.
Tree = dict[str, tuple[object, ...]]


def tree(top: Path) -> Tree:
    found: Tree = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes(), status.st_nlink
        times = None if path.is_symlink() else status.st_mtime_ns
        extra = {n: os.getxattr(path, n) for n in os.listxattr(path, follow_symlinks=False)} if times else {}
        row = (oct(status.st_mode), status.st_uid, status.st_gid, content, times, extra)
        found[str(path.relative_to(top))] = row
    return found


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[VolumeManager]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    (tmp_path / "volumes").mkdir(mode=0o700)
    yield VolumeManager(database, str(tmp_path / "volumes"))
    database.close()


def opener(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def image(tmp_path: Path) -> Path:
    top = tmp_path / "image"
    data = top / "srv" / "data"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "file").write_text("from the image")
    (data / "file").chmod(0o4751)
    os.chown(data / "file", 1234, 5678)
    os.setxattr(data / "file", "user.colour", b"blue")
    os.link(data / "file", data / "deep" / "same")
    (data / "deep" / "link").symlink_to("/etc/passwd")
    os.mkfifo(data / "pipe", 0o640)
    data.chmod(0o2770)
    os.chown(data, 99, 98)
    for path in (data / "pipe", data / "file", data / "deep" / "er", data / "deep", data):
        os.utime(path, (1_000_000_000, 1_000_000_001))
    (top / "var").symlink_to("srv")
    return top


def test_life(volumes: VolumeManager) -> None:
    made = volumes.create("db", labels={"tier": "1"})
    assert Path(made.path).is_dir()
    assert volumes.create("db") == made
    assert [v.name for v in volumes.volumes()] == ["db"]
    requests = volumes.use("c" * 64, [parse_volume("db:/data"), parse_volume("/scratch")])
    assert requests[0].source == "db"
    assert len(requests[1].source) == 64
    with pytest.raises(Conflict, match="volume db is in use: by container cccccccccccc"):
        volumes.remove("db")
    assert volumes.prune(all=True) == []
    volumes.release("c" * 64, remove_anonymous=True)
    assert [v.name for v in volumes.volumes()] == ["db"]
    assert volumes.prune() == []
    assert [v.name for v in volumes.prune(all=True)] == ["db"]
    assert not Path(made.path).parent.exists()
    with pytest.raises(NotFound, match="no volume db"):
        volumes.remove("db")
    volumes.remove("db", force=True)


def test_options_must_agree_and_be_known(volumes: VolumeManager) -> None:
    volumes.create("nfs", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
    with pytest.raises(Conflict, match="other options"):
        volumes.create("nfs", options={"type": "nfs"})
    with pytest.raises(InvalidInput, match="unknown volume option 'colour'"):
        volumes.create("x1", options={"colour": "red"})
    (request,) = volumes.use("c" * 64, [parse_volume("nfs:/t:ro")])
    with volumes.prepare([request], None) as prepared:
        assert prepared.mounts == [
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "ro"]}
        ]


@pytest.mark.parametrize("target", ["/srv/data", "/var/data", "/srv/../var/data"])
def test_a_new_volume_is_filled_from_the_image(volumes: VolumeManager, tmp_path: Path, target: str) -> None:
    top = image(tmp_path)
    requests = volumes.use("c" * 64, [parse_volume(f"db:{target}")])
    with volumes.prepare(requests, opener(top)) as prepared:
        source = Path(prepared.mounts[0]["source"])
        assert tree(source) == tree(top / "srv" / "data")
        (source / "file").write_text("changed")
    with volumes.prepare(requests, opener(top)):
        assert (source / "file").read_text() == "changed"


def test_nocopy_and_what_the_image_lacks_leave_it_empty(volumes: VolumeManager, tmp_path: Path) -> None:
    top = image(tmp_path)
    for text in ("n1:/srv/data:nocopy", "n2:/srv/other", "n3:/srv/data/file"):
        with volumes.prepare(volumes.use("c" * 64, [parse_volume(text)]), opener(top)) as prepared:
            assert os.listdir(prepared.mounts[0]["source"]) == []


def test_a_link_in_the_image_does_not_copy_the_host(volumes: VolumeManager, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("k")
    top = image(tmp_path)
    (top / "out").symlink_to(secret)
    (top / "up").symlink_to("../secret")
    for number, target in enumerate(("/out", "/up", "/out/../../secret")):
        requests = volumes.use("c" * 64, [parse_volume(f"v{number}:{target}")])
        with volumes.prepare(requests, opener(top)) as prepared:
            assert os.listdir(prepared.mounts[0]["source"]) == []


def test_filling_that_was_cut_off_starts_again(volumes: VolumeManager, tmp_path: Path) -> None:
    top = image(tmp_path)
    requests = volumes.use("c" * 64, [parse_volume("db:/srv/data")])

    class Cut(Exception):
        pass

    def cut() -> int:
        (Path(volumes.get("db").path) / "half").write_text("x")
        raise Cut

    with pytest.raises(Cut):
        volumes.prepare(requests, cut)
    with volumes.prepare(requests, opener(top)) as prepared:
        assert tree(Path(prepared.mounts[0]["source"])) == tree(top / "srv" / "data")


def test_a_subpath_stays_inside_whatever_is_swapped(volumes: VolumeManager, tmp_path: Path) -> None:
    data = Path(volumes.create("db").path)
    (data / "in").mkdir()
    (data / "in" / "mark").touch()
    (data / "inner").symlink_to("in")
    (data / "out").symlink_to("/")
    (data / "up").symlink_to("../../..")
    mount = "src=db,dst=/d,volume-subpath="
    for good in ("in", "inner", "inner/."):
        with volumes.prepare(volumes.use("c" * 64, [parse_mount(mount + good)]), None) as prepared:
            source = prepared.mounts[0]["source"]
            # The name may now lead elsewhere; what was opened is what is mounted.
            (data / "in").rename(data / "moved")
            (data / "in").symlink_to("/")
            assert os.listdir(source) == ["mark"]
            (data / "in").unlink()
            (data / "moved").rename(data / "in")
    for bad in ("out", "up", "out/etc"):
        with pytest.raises(InvalidInput, match="leads out of the volume"):
            volumes.prepare(volumes.use("c" * 64, [parse_mount(mount + bad)]), None)
    with pytest.raises(NotFound, match="does not exist"):
        volumes.prepare(volumes.use("c" * 64, [parse_mount(mount + "gone")]), None)


def test_bind_sources(volumes: VolumeManager, tmp_path: Path) -> None:
    missing = tmp_path / "a" / "b"
    with pytest.raises(NotFound, match="does not exist"):
        volumes.prepare([parse_mount(f"type=bind,src={missing},dst=/d")], None)
    with volumes.prepare([parse_volume(f"{missing}:/d:ro")], None) as prepared:
        assert missing.is_dir()
        assert prepared.mounts[0]["source"] == str(missing)


def test_backup_and_restore(volumes: VolumeManager, tmp_path: Path) -> None:
    requests = volumes.use("c" * 64, [parse_volume("db:/srv/data")])
    with volumes.prepare(requests, opener(image(tmp_path))) as prepared:
        before = Path(prepared.mounts[0]["source"])
    archive = io.BytesIO()
    backup(str(before), archive)
    after = Path(volumes.create("copy").path)
    archive.seek(0)
    assert restore(str(after), archive) == len(list(before.rglob("*"))) + 1
    (after / "new").write_text("stays")
    (after / "deep" / "er").rmdir()
    (after / "deep" / "er").write_text("in the way")
    (after / "deep" / "er").unlink()
    archive.seek(0)
    restore(str(after), archive)
    (after / "new").unlink()
    os.utime(after, (1_000_000_000, 1_000_000_001))
    assert tree(after) == tree(before)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out")],
        [entry("a/../../out")],
        [entry("l", tarfile.SYMTYPE, ".."), entry("l/out")],
        [entry("l", tarfile.SYMTYPE, "/"), entry("l", tarfile.DIRTYPE), entry("l/tmp/out")],
        [entry("h", tarfile.LNKTYPE, "../secret")],
        [entry("l", tarfile.SYMTYPE, ".."), entry("h", tarfile.LNKTYPE, "l/secret")],
        [entry("f"), entry("f/out")],
    ],
    ids=[
        "dots",
        "inner dots",
        "through a link",
        "link then directory",
        "hard link",
        "hard link by link",
        "file",
    ],
)
def test_a_hostile_archive_leaves_the_volume_s_outside_alone(
    tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    (tmp_path / "secret").write_text("s")
    volume = tmp_path / "volume"
    volume.mkdir()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writer:
        for member in entries:
            writer.addfile(member)
    archive.seek(0)
    with pytest.raises(Exception, match=r"leaves the volume|is a link or a file|[Rr]estore|restore"):
        restore(str(volume), archive)
    assert sorted(os.listdir(tmp_path)) == ["secret", "volume"]
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_what_is_no_archive(tmp_path: Path) -> None:
    for data in (b"", b"x" * 1000, b"\x1f\x8b\x08garbage"):
        with pytest.raises(InvalidInput, match="cannot restore the archive"):
            restore(str(tmp_path), io.BytesIO(data))


def test_an_image_as_a_volume(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for layer in (upper, lower):
        (layer / "both").mkdir(parents=True)
    (lower / "only" / "deep").mkdir(parents=True)
    (lower / "file").touch()
    layers = [str(upper), str(lower)]

    def mount(subpath: str = "") -> dict[str, object]:
        return image_mount(MountRequest("image", "/i", "debian", subpath=subpath), layers)

    assert mount()["options"] == [f"lowerdir+={upper}", f"lowerdir+={lower}", "ro"]
    assert mount("both")["options"] == [f"lowerdir+={upper}/both", f"lowerdir+={lower}/both", "ro"]
    assert mount("only/deep")["source"] == f"{lower}/only/deep"
    assert mount("only/deep")["options"] == ["bind", "rprivate", "ro"]
    assert mount("file")["source"] == f"{lower}/file"
    with pytest.raises(NotFound):
        mount("gone")


def test_recovery_finishes_a_removal_and_forgets_dead_users(volumes: VolumeManager, tmp_path: Path) -> None:
    volumes.create("db")
    volumes.create("kept")
    volumes.use("c" * 64, [parse_volume("kept:/d")])
    connection = volumes._database.connection()
    connection.execute("UPDATE volume SET removing = 1 WHERE name = 'db'")
    connection.execute(
        "INSERT INTO intent (kind, subject, payload, owner) VALUES ('volume.remove', 'db', '{}', 'b:1:1')"
    )
    with pytest.raises(Conflict, match="being removed"):
        volumes.use("d" * 64, [parse_volume("db:/d")])
    volumes.recover(lambda _: False)
    assert [(v.name, v.used_by) for v in volumes.volumes()] == [("kept", ())]
    assert not (tmp_path / "volumes" / "db").exists()
