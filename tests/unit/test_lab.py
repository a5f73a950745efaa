"""The parts of the lab that need no machine."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab import initramfs, payload


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/virtio.ko: kernel/ring.ko\n"
        "kernel/ring.ko:\n"
        "kernel/virtio_pci.ko: kernel/legacy.ko kernel/virtio.ko kernel/ring.ko\n"
        "kernel/legacy.ko:\n"
        "kernel/virtio-rng.ko: kernel/virtio.ko kernel/ring.ko\n"
    )
    order = [path.name for path in initramfs.needed(tmp_path, ("virtio_pci", "virtio_rng"))]
    assert order == ["ring.ko", "virtio.ko", "legacy.ko", "virtio_pci.ko", "virtio-rng.ko"]


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    archive = initramfs.Archive()
    archive.add("bin", 0o040755)
    archive.add("bin/odd", 0o100755, b"12345")
    (tmp_path / "archive").write_bytes(archive.finish())
    busybox = ["busybox", "cpio", "-i", "-d"]
    try:
        with (tmp_path / "archive").open("rb") as stream:
            subprocess.run(busybox, stdin=stream, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs busybox (package busybox-static)")
    assert (tmp_path / "bin" / "odd").read_bytes() == b"12345"
    assert (tmp_path / "bin" / "odd").stat().st_mode & 0o777 == 0o755


def test_the_initramfs_is_the_same_each_time(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules/6.1"
    modules.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"busybox")
    names = [name.replace("_", "-") for name in initramfs.MODULES]
    (modules / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in names))
    for name in names:
        (modules / f"{name}.ko").write_bytes(name.encode())
    first, second = initramfs.build(tmp_path, "6.1"), initramfs.build(tmp_path, "6.1")
    assert first == second
    assert b"insmod" in gzip.decompress(first)


def test_a_wheel_is_laid_where_an_installer_would_lay_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.whl", "w") as wheel:
        wheel.writestr("trimaran/__init__.py", "x = 1\n")
        wheel.writestr("trimaran-1.data/scripts/tool", "#!python\nprint()\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        payload.add_wheel(archive, tmp_path / "one.whl")
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        members = {member.name: member for member in archive}
        script = archive.extractfile(members["opt/trimaran/bin/tool"])
        assert script is not None
        assert script.read() == b"#!/opt/trimaran/bin/python\nprint()\n"
    assert members["opt/trimaran/bin/tool"].mode == 0o755
    assert "opt/trimaran/lib/python3.11/site-packages/trimaran/__init__.py" in members
