"""What only root can unpack: owners, devices, whiteouts, capabilities, ACLs; and huge sparse files."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.layers import directory, member, snapshot, stream, symlink

from trimaran.errors import ImageError, KernelError
from trimaran.image.layer import LayerResult, LayerUnpacker, UnpackOptions

pytestmark = pytest.mark.root

Apply = Callable[..., LayerResult]
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw, as ping has it


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.mkdir()
    return path


@pytest.fixture
def apply(root: Path) -> Iterator[Apply]:
    fd = os.open(root, os.O_RDONLY)

    def run(data: bytes, options: UnpackOptions | None = None) -> LayerResult:
        with LayerUnpacker(fd, options) as unpacker:
            unpacker.feed(data)
            return unpacker.finish()

    yield run
    os.close(fd)


def pax(name: str, value: bytes) -> dict[str, str]:
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")}


def acl(*entries: tuple[int, int, int]) -> bytes:
    """acl(5) in the kernel's form: tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_whiteouts_are_in_the_form_of_overlayfs(apply: Apply, root: Path) -> None:
    result = apply(stream(directory("a"), member("a/.wh.gone"), directory("b"), member("b/.wh..wh..opq")))
    assert result.whiteouts == (b"a/gone",)
    gone = os.lstat(root / "a/gone")
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
    assert os.listdir(root / "b") == []


def test_an_ordinary_users_opaque_directories(apply: Apply, root: Path) -> None:
    apply(stream(directory("b"), member("b/.wh..wh..opq")), UnpackOptions(user_xattrs=True))
    assert os.getxattr(root / "b", "user.overlay.opaque") == b"y"


def test_owners_and_devices(apply: Apply, root: Path) -> None:
    apply(
        stream(
            member("file", uid=1000, gid=2**32 - 2, mode=0o6755),
            member("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666, uid=5),
            member("disk", tarfile.BLKTYPE, devmajor=259, devminor=300000),
            directory("tmp", mode=0o1777, gid=50),
        )
    )
    file, null, disk, tmp = (os.lstat(root / name) for name in ("file", "null", "disk", "tmp"))
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (1000, 2**32 - 2, 0o6755)
    assert (null.st_rdev, stat.S_IMODE(null.st_mode), null.st_uid) == (os.makedev(1, 3), 0o666, 5)
    assert disk.st_rdev == os.makedev(259, 300000)
    assert (stat.S_IMODE(tmp.st_mode), tmp.st_gid) == (0o1777, 50)


def test_no_group_is_handed_down(apply: Apply, root: Path) -> None:
    apply(stream(directory("d", mode=0o2775, gid=50), member("d/f"), directory("d/e"), member("d/i/x")))
    for name in ("f", "e", "i", "i/x"):
        status = os.lstat(root / "d" / name)
        assert (status.st_gid, status.st_mode & stat.S_ISGID) == (0, 0), name


def test_capabilities_survive(apply: Apply, root: Path) -> None:
    headers = pax("security.capability", CAPABILITY)
    apply(stream(member("ping", data=b"x", uid=3, mode=0o755, pax_headers=headers)))
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY


def test_access_control_lists(apply: Apply, root: Path) -> None:
    entries = acl((1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    apply(
        stream(
            directory("d", pax_headers=pax("system.posix_acl_default", entries)),
            member("d/plain", mode=0o640),
            member("d/listed", mode=0o640, pax_headers=pax("system.posix_acl_access", entries)),
        )
    )
    assert os.getxattr(root / "d", "system.posix_acl_default") == entries
    assert os.getxattr(root / "d/listed", "system.posix_acl_access") == entries
    assert "system.posix_acl_access" not in os.listxattr(root / "d/plain")


def test_ids_are_mapped_everywhere(apply: Apply, root: Path) -> None:
    options = UnpackOptions(uids=[(0, 100000, 1000)], gids=[(0, 200000, 1000)])
    entries = acl((1, 6, 2**32 - 1), (2, 4, 7), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    headers = pax("security.capability", CAPABILITY) | pax("system.posix_acl_access", entries)
    apply(stream(member("d/f", uid=5, gid=6, mode=0o640, pax_headers=headers), symlink("l", "x")), options)
    seen = {name: (s.st_uid, s.st_gid) for name in ("d", "d/f", "l") if (s := os.lstat(root / name))}
    assert seen == {"d": (100000, 200000), "d/f": (100005, 200006), "l": (100000, 200000)}
    assert (
        struct.unpack_from("<I", os.getxattr(root / "d/f", "system.posix_acl_access"), 4 + 8 + 4)[0] == 100007
    )
    capability = os.getxattr(root / "d/f", "security.capability")
    assert struct.unpack_from("<I", capability)[0] >> 24 == 3
    assert struct.unpack_from("<I", capability, 20)[0] == 100000
    with pytest.raises(ImageError, match="outside of the id map"):
        apply(stream(member("x", uid=1000)), options)


def test_the_storages_own_attributes_are_not_taken(apply: Apply, root: Path) -> None:
    headers = (
        pax("trusted.overlay.redirect", b"/etc") | pax("trusted.overlay.opaque", b"y") | pax("user.a", b"1")
    )
    apply(stream(directory("d", pax_headers=headers), member("f", pax_headers=headers)))
    assert os.listxattr(root / "d") == os.listxattr(root / "f") == ["user.a"]


def test_owner_minus_one_is_refused(apply: Apply) -> None:
    with pytest.raises(ImageError, match="outside of the id map"):
        apply(stream(member("x", uid=2**32 - 1)))


def test_what_the_host_refuses_is_explained(root: Path) -> None:
    os.chown(root, 65534, 65534)
    data, fd = stream(member("x", uid=7)), os.open(root, os.O_RDONLY)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with LayerUnpacker(fd, UnpackOptions()) as unpacker:
                unpacker.feed(data)
        except KernelError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    os.close(fd)
    assert os.read(reader, 4096).decode() == (
        "cannot unpack x: fchown: Operation not permitted "
        "(an ordinary user needs a range of subordinate ids (subuid(5)) or keep_owner)"
    )
    os.close(reader)


SPARSE = [("gnu", ""), ("pax", "0.0"), ("pax", "0.1"), ("pax", "1.0")]


@pytest.mark.parametrize(("format", "version"), SPARSE)
def test_sparse_files_of_eight_gibibytes(
    apply: Apply, root: Path, tmp_path: Path, format: str, version: str
) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as file:
        for at in (0, 5 << 20, 1 << 32, (1 << 33) - 4096):
            file.seek(at)
            file.write(b"%d" % at)
        file.truncate(1 << 33)
    command = ["tar", "-cS", f"--format={format}", *([f"--sparse-version={version}"] if version else [])]
    data = subprocess.run([*command, "-C", str(tmp_path), "source"], capture_output=True, check=True).stdout
    apply(data)
    status = os.stat(root / "source")
    assert status.st_size == 1 << 33
    assert status.st_blocks * 512 < 1 << 20
    with open(root / "source", "rb") as file:
        for at in (0, 5 << 20, 1 << 32, (1 << 33) - 4096):
            file.seek(at)
            assert file.read(11).rstrip(b"\0") == b"%d" % at
    source.unlink()


def test_a_tree_packed_by_tar(apply: Apply, root: Path) -> None:
    """GNU tar's own stream of a real tree, with what it adds: long names, nanoseconds, hard links, xattrs."""
    source = "/usr/share/zoneinfo" if os.path.isdir("/usr/share/zoneinfo") else "/usr/share/doc"
    command = ["tar", "-c", "--format=pax", "--xattrs", "--sort=name", "-C", source, "."]
    apply(subprocess.run(command, capture_output=True, check=True).stdout)
    assert snapshot(str(root)) == snapshot(source)
