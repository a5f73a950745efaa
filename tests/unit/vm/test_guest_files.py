"""The files of a guest: archives, ELF parts, kernels in bzImage form."""

import gzip
import lzma
import struct
import subprocess

import pytest

from trimaran.errors import InvalidInput, Unsupported
from trimaran.vm.guest import bzimage, cpio, elf
from trimaran.vm.guest.kernel import dependency_order, module_name


def elf_module(depends: str) -> bytes:
    """A file with the one section that a kernel module's dependencies are in."""
    info = b"license=GPL\0depends=" + depends.encode() + b"\0"
    names = b"\0.modinfo\0.shstrtab\0"
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2
    )
    start = 64 + 3 * 64
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, start, len(info), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, start + len(info), len(names), 0, 0, 1, 0)
    return header + sections + info + names


def bzimage_of(payload: bytes) -> bytes:
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload


@pytest.mark.peer("cpio")
def test_an_archive_is_what_cpio_reads(tmp_path):
    archive = cpio.Archive()
    archive.file("etc/deep/name", b"content", 0o640)
    archive.file("init", b"\x7fELF", 0o755)
    data = archive.finish()
    listing = subprocess.run(["cpio", "-itv"], input=data, capture_output=True, check=False)
    lines = listing.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["etc", "etc/deep", "etc/deep/name", "init"]
    assert lines[2].startswith("-rw-r-----")


def test_equal_input_gives_equal_archives():
    def make() -> bytes:
        archive = cpio.Archive()
        archive.directory("a/b")
        archive.device("dev/null", 1, 3)
        return archive.finish()

    assert make() == make()
    assert len(make()) % 4 == 0


def test_a_parent_is_written_once():
    archive = cpio.Archive()
    archive.file("d/1", b"")
    archive.file("d/2", b"")
    assert archive.finish().count(b"d\0") == 1


@pytest.mark.parametrize(
    ("compress", "name"), [(gzip.compress, "gzip"), (lambda data: lzma.compress(data), "xz")]
)
def test_a_kernel_is_taken_out_of_its_bzimage(compress, name):
    kernel = b"\x7fELF" + bytes(range(256)) * 64
    assert bzimage.extract_vmlinux(bzimage_of(compress(kernel) + b"\0\0\0\0"), name) == kernel


def test_an_lz4_kernel_has_many_blocks():
    block = pytest.importorskip("lz4.block")
    kernel = bytes(range(256)) * (33 << 10)
    size = 8 << 20
    payload = b"\x02\x21\x4c\x18"
    for at in range(0, len(kernel), size):
        part = block.compress(kernel[at : at + size], store_size=False)
        payload += struct.pack("<I", len(part)) + part
    payload += struct.pack("<I", len(kernel))
    assert bzimage.extract_vmlinux(bzimage_of(payload)) == kernel


def test_a_kernel_that_is_cut_short_is_refused():
    image = bzimage_of(gzip.compress(b"\x7fELF" * 1000))
    with pytest.raises(InvalidInput, match="cut short"):
        bzimage.extract_vmlinux(image[:-10])


def test_an_unknown_compression_is_named():
    with pytest.raises(Unsupported, match="41424344"):
        bzimage.extract_vmlinux(bzimage_of(b"ABCDEFGH"))


def test_what_is_no_kernel_is_refused():
    with pytest.raises(InvalidInput, match="neither an ELF file nor a bzImage"):
        bzimage.extract_vmlinux(b"#!/bin/sh\n" * 100)


def test_modules_come_after_those_they_need():
    modules = {"a": elf_module("b,c"), "b": elf_module("c"), "c": elf_module(""), "d": elf_module("a")}
    assert dependency_order(["a", "d"], modules) == ["c", "b", "a", "d"]


def test_modules_that_need_each_other_end():
    modules = {"a": elf_module("b"), "b": elf_module("a")}
    assert sorted(dependency_order(["a"], modules)) == ["a", "b"]


def test_built_in_modules_are_left_out():
    assert dependency_order(["a", "gone"], {"a": elf_module("builtin")}) == ["a"]


@pytest.mark.parametrize("path", ["kernel/x/virtio-ring.ko", "virtio_ring.ko.xz", "a/virtio_ring.ko.zst"])
def test_module_names(path):
    assert module_name(path) == "virtio_ring"


@pytest.mark.parametrize("cut", [0, 10, 63, 100, 200])
def test_elf_headers_that_lie_are_refused(cut):
    data = elf_module("a")
    with pytest.raises(InvalidInput):
        elf.ElfFile(data[:cut]).section(".modinfo")


def test_an_elf_table_of_absurd_size_is_refused():
    data = bytearray(elf_module("a"))
    struct.pack_into("<H", data, 60, 0xFFFF)
    with pytest.raises(InvalidInput):
        elf.ElfFile(bytes(data)).section(".modinfo")
