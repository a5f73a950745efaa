"""The lab's initramfs: busybox, the modules that reach the disk, and a script that mounts it.

Debian's own initramfs holds every driver there is, and takes an emulated processor seconds to unpack.
"""

from __future__ import annotations

import gzip
import io
import stat
from collections.abc import Iterator
from pathlib import Path

# Loaded in this order, each after what modules.dep says it needs.
MODULES = ("virtio_pci", "virtio_blk", "virtio_rng")

INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /lib/$module; done
while [ ! -b /dev/vda ]; do /bin/busybox usleep 10000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


def needed(modules: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """The files of the named modules, each after those it depends on (``modules.dep``, see depmod(8))."""
    dependencies = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        dependencies[file] = others.split()
    by_name = {Path(file).name.split(".")[0].replace("-", "_"): file for file in dependencies}
    seen: set[str] = set()
    for name in names:
        file = by_name[name]
        # depmod lists the nearest dependency first, so what must be loaded first stands last.
        for one in [*reversed(dependencies[file]), file]:
            if one not in seen:
                seen.add(one)
                yield modules / one


class Archive:
    """A cpio archive in the "newc" form that the kernel unpacks (buffer-format.rst of the kernel)."""

    def __init__(self) -> None:
        self.data = io.BytesIO()
        self.entries = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self.entries += 1
        path = name.encode() + b"\0"
        fields = (self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self.data.write(b"070701" + b"".join(b"%08X" % field for field in fields) + path)
        self.pad()
        self.data.write(content)
        self.pad()

    def pad(self) -> None:
        self.data.write(b"\0" * (-self.data.tell() % 4))

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return self.data.getvalue()


def build(root: Path, kernel: str) -> bytes:
    """The compressed archive, from a root file system that has busybox-static and that kernel's modules."""
    files = list(needed(root / "lib" / "modules" / kernel, MODULES))
    archive = Archive()
    for directory in ("bin", "lib", "dev"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (root / "bin" / "busybox").read_bytes())
    for file in files:
        archive.add(f"lib/{file.name}", stat.S_IFREG | 0o644, file.read_bytes())
    script = INIT.format(modules=" ".join(file.name for file in files))
    archive.add("init", stat.S_IFREG | 0o755, script.encode())
    return gzip.compress(archive.finish(), compresslevel=1, mtime=0)
