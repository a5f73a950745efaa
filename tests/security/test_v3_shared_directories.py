"""V2 and V3: a hostile guest reaches a shared directory and no more; read-only is enforced on the host."""

import errno
import os
import stat
import struct

import pytest

from trimaran.vm.share import Server, wire
from trimaran.vm.share.nodes import ROOT


class Guest:
    """A kernel that sends whatever it likes."""

    def __init__(self, path, *, read_only=False):
        self.server = Server(os.open(path, os.O_PATH), read_only=read_only)

    def send(self, opcode, node, body=b"", uid=None, gid=None):
        """(errno, result) of one request."""
        uid = os.geteuid() if uid is None else uid
        gid = os.getegid() if gid is None else gid
        header = wire.IN_HEADER.pack(wire.IN_HEADER.size + len(body), opcode, 1, node, uid, gid, 1, 0)
        answer = self.server.answer(header + body)
        _, code, _ = wire.OUT_HEADER.unpack_from(answer)
        return -code, answer[wire.OUT_HEADER.size :]

    def lookup(self, node, name):
        code, result = self.send(wire.LOOKUP, node, name + b"\0")
        assert code == 0, os.strerror(code)
        return int.from_bytes(result[:8], "little")

    def open(self, node, flags):
        code, result = self.send(wire.OPEN, node, wire.OPEN_IN.pack(flags, 0))
        return code, int.from_bytes(result[:8], "little") if not code else 0

    def read(self, node):
        code, handle = self.open(node, os.O_RDONLY)
        if code:
            return code, b""
        return self.send(wire.READ, node, wire.READ_IN.pack(handle, 0, 4096, 0, 0, 0, 0))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "secret").write_text("host secret")
    shared = tmp_path / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "file").write_text("content")
    (shared / "absolute").symlink_to(tmp_path / "secret")
    (shared / "relative").symlink_to("../secret")
    (shared / "outside").symlink_to("..")
    return shared


@pytest.fixture
def guest(tree):
    guest = Guest(tree)
    yield guest
    guest.server.close()


@pytest.fixture
def reader(tree):
    guest = Guest(tree, read_only=True)
    yield guest
    guest.server.close()


def test_files_inside_are_read(guest):
    assert guest.read(guest.lookup(ROOT, b"file")) == (0, b"content")


@pytest.mark.parametrize("name", [b"absolute", b"relative"])
def test_a_link_is_never_opened(guest, name):
    code, _ = guest.read(guest.lookup(ROOT, name))
    assert code == errno.EACCES


def test_nothing_is_found_behind_a_link_to_a_directory(guest):
    node = guest.lookup(ROOT, b"outside")
    assert guest.send(wire.LOOKUP, node, b"secret\0")[0] == errno.ENOTDIR


@pytest.mark.parametrize(
    "name", [b"..", b".", b"", b"../secret", b"sub/../../secret", b"/etc/passwd", b"x" * 300]
)
@pytest.mark.parametrize("opcode", [wire.LOOKUP, wire.UNLINK, wire.RMDIR])
def test_a_name_is_one_entry_and_never_a_path(guest, opcode, name):
    assert guest.send(opcode, ROOT, name + b"\0")[0] == errno.EINVAL


def test_entries_are_not_made_renamed_or_linked_by_path(guest, tree):
    node = guest.lookup(ROOT, b"file")
    attempts = [
        (wire.MKDIR, wire.MKDIR_IN.pack(0o777, 0) + b"../evil\0"),
        (wire.MKNOD, wire.MKNOD_IN.pack(stat.S_IFREG | 0o777, 0, 0, 0) + b"../evil\0"),
        (wire.SYMLINK, b"../evil\0target\0"),
        (wire.CREATE, wire.CREATE_IN.pack(os.O_WRONLY, 0o666, 0, 0) + b"../evil\0"),
        (wire.RENAME, wire.RENAME_IN.pack(ROOT) + b"file\0../evil\0"),
        (wire.RENAME, wire.RENAME_IN.pack(ROOT) + b"../secret\0stolen\0"),
        (wire.LINK, wire.RENAME_IN.pack(node) + b"../evil\0"),
    ]
    for opcode, body in attempts:
        assert guest.send(opcode, ROOT, body)[0] == errno.EINVAL
    assert sorted(os.listdir(tree.parent)) == ["secret", "shared"]


def test_a_directory_that_becomes_a_link_stays_the_directory(guest, tree):
    node = guest.lookup(ROOT, b"sub")
    (tree / "sub").rename(tree / "moved")
    (tree / "sub").symlink_to("..")
    code, _ = guest.send(wire.CREATE, node, wire.CREATE_IN.pack(os.O_WRONLY, 0o644, 0, 0) + b"made\0")
    assert code == 0
    assert (tree / "moved" / "made").exists()
    assert not (tree.parent / "made").exists()


def test_creating_over_a_link_does_not_write_through_it(guest, tree):
    body = wire.CREATE_IN.pack(os.O_WRONLY | os.O_TRUNC, 0o644, 0, 0) + b"absolute\0"
    assert guest.send(wire.CREATE, ROOT, body)[0] == errno.EACCES
    assert (tree.parent / "secret").read_text() == "host secret"


def test_changing_a_link_changes_the_link(guest, tree):
    if os.geteuid():
        pytest.skip("only root can change an owner")
    node = guest.lookup(ROOT, b"absolute")
    fields = [wire.FATTR_UID, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1234, 0, 0]
    assert guest.send(wire.SETATTR, node, wire.SETATTR_IN.pack(*fields))[0] == 0
    assert (tree.parent / "secret").stat().st_uid == 0
    assert (tree / "absolute").lstat().st_uid == 1234


def test_devices_and_fifos_are_not_opened(guest, tree):
    os.mkfifo(tree / "fifo")
    code, _ = guest.open(guest.lookup(ROOT, b"fifo"), os.O_RDONLY)
    assert code == errno.EACCES


def test_device_nodes_are_not_made(guest):
    body = wire.MKNOD_IN.pack(stat.S_IFBLK | 0o666, 0x801, 0, 0) + b"disk\0"
    assert guest.send(wire.MKNOD, ROOT, body)[0] == errno.EPERM


def changes(guest):
    """Every request that would change something, for the tree above."""
    file, sub = guest.lookup(ROOT, b"file"), guest.lookup(ROOT, b"sub")
    size = [wire.FATTR_SIZE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    return [
        (wire.SETATTR, file, wire.SETATTR_IN.pack(*size)),
        (wire.MKDIR, ROOT, wire.MKDIR_IN.pack(0o777, 0) + b"d\0"),
        (wire.MKNOD, ROOT, wire.MKNOD_IN.pack(stat.S_IFREG, 0, 0, 0) + b"n\0"),
        (wire.SYMLINK, ROOT, b"l\0t\0"),
        (wire.CREATE, ROOT, wire.CREATE_IN.pack(os.O_WRONLY, 0o666, 0, 0) + b"c\0"),
        (wire.UNLINK, ROOT, b"file\0"),
        (wire.RMDIR, ROOT, b"sub\0"),
        (wire.RENAME, ROOT, wire.RENAME_IN.pack(sub) + b"file\0file\0"),
        (wire.RENAME2, ROOT, wire.RENAME2_IN.pack(sub, 0, 0) + b"file\0file\0"),
        (wire.LINK, ROOT, wire.RENAME_IN.pack(file) + b"link\0"),
        (wire.SETXATTR, file, wire.XATTR_SET_IN.pack(1, 0) + b"user.a\0b"),
        (wire.REMOVEXATTR, file, b"user.a\0"),
        (wire.OPEN, file, wire.OPEN_IN.pack(os.O_WRONLY, 0)),
        (wire.OPEN, file, wire.OPEN_IN.pack(os.O_RDWR, 0)),
        (wire.OPEN, file, wire.OPEN_IN.pack(os.O_RDONLY | os.O_TRUNC, 0)),
        (wire.FALLOCATE, file, wire.FALLOCATE_IN.pack(1, 0, 10, 0, 0)),
        (wire.WRITE, file, wire.WRITE_IN.pack(1, 0, 1, 0, 0, 0, 0) + b"x"),
    ]


def test_a_read_only_share_refuses_every_change(reader, tree):
    before = sorted(os.listdir(tree)), (tree / "file").read_text()
    for opcode, node, body in changes(reader):
        assert reader.send(opcode, node, body)[0] == errno.EROFS, opcode
    assert (sorted(os.listdir(tree)), (tree / "file").read_text()) == before


def test_a_handle_opened_for_reading_does_not_write(guest, tree):
    node = guest.lookup(ROOT, b"file")
    code, handle = guest.open(node, os.O_RDONLY)
    assert code == 0
    assert guest.send(wire.WRITE, node, wire.WRITE_IN.pack(handle, 0, 1, 0, 0, 0, 0) + b"x")[0] == errno.EBADF


def test_numbers_and_handles_that_were_never_given_are_refused(guest):
    assert guest.send(wire.GETATTR, 999)[0] == errno.ESTALE
    assert guest.send(wire.READ, ROOT, wire.READ_IN.pack(77, 0, 10, 0, 0, 0, 0))[0] == errno.EBADF
    assert guest.send(wire.READDIR, ROOT, wire.READ_IN.pack(0, 0, 10, 0, 0, 0, 0))[0] == errno.EBADF


def test_messages_without_sense_never_end_the_server(guest):
    generator = __import__("random").Random(9)
    for _ in range(4000):
        opcode = generator.randrange(0, 60)
        body = generator.randbytes(generator.randrange(0, 120))
        size = wire.IN_HEADER.size + len(body) + generator.choice([0, 0, 0, 1, -1])
        header = wire.IN_HEADER.pack(size & 0xFFFFFFFF, opcode, 1, generator.randrange(0, 4), 0, 0, 0, 0)
        answer = guest.server.answer(header + body)
        assert answer is None or len(answer) == struct.unpack_from("<I", answer)[0]
    assert guest.server.answer(b"short") is None
    assert guest.read(guest.lookup(ROOT, b"file"))[0] in (0, errno.ENOENT)


def test_forgetting_more_than_was_looked_up_is_harmless(guest):
    node = guest.lookup(ROOT, b"file")
    for count in (1, 1 << 63, 5):
        guest.server.answer(
            wire.IN_HEADER.pack(48, wire.FORGET, 1, node, 0, 0, 0, 0) + count.to_bytes(8, "little")
        )
    guest.server.answer(wire.IN_HEADER.pack(48, wire.FORGET, 1, ROOT, 0, 0, 0, 0) + (9).to_bytes(8, "little"))
    assert guest.read(guest.lookup(ROOT, b"file")) == (0, b"content")
