"""Finds the guest's kernel and its modules, extracts them once and keeps them in a cache directory.

Where a kernel may come from, in this order: the path given (an ELF ``vmlinux`` or a bzImage, its modules
in ``lib/modules/VERSION`` beside or above it; or a Debian ``linux-image`` package), the cache, a cloud
kernel installed on the host, and last Debian's package, fetched with apt.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

from trimaran.errors import InvalidInput, NotFound
from trimaran.vm.guest.bzimage import extract_vmlinux, is_bzimage
from trimaran.vm.guest.deb import members
from trimaran.vm.guest.elf import module_dependencies

# Loaded by the agent at boot, so that it reaches its channel; the rest when the host asks for it.
BOOT_MODULES = ("virtio_mmio", "virtio_console")
MODULES = (
    *BOOT_MODULES,
    *("virtio_blk", "virtio_net", "virtio_rng", "virtio_balloon", "vmw_vsock_virtio_transport"),
    *("erofs", "overlay", "fuse", "virtiofs"),
)
_PACKAGE = "linux-image-cloud-amd64"
_VERSION = re.compile(rb"Linux version (\S{1,64}) ")


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache: ``vmlinux`` is an ELF file; ``modules`` maps names to files."""

    version: str
    directory: str

    @property
    def vmlinux(self) -> str:
        """Path of the ELF kernel."""
        return os.path.join(self.directory, "vmlinux")

    @property
    def order(self) -> list[str]:
        """The modules that were found, each after those that it needs."""
        with open(os.path.join(self.directory, "modules.list"), encoding="ascii") as file:
            return file.read().split()

    def module(self, name: str) -> bytes:
        """The content of a module."""
        with open(os.path.join(self.directory, "modules", f"{name}.ko"), "rb") as file:
            return file.read()


def cache_directory() -> str:
    """Where kernels, initramfs, images and templates are kept: ``TRIMARAN_VM_CACHE`` or the usual place."""
    if path := os.environ.get("TRIMARAN_VM_CACHE"):
        return path
    if os.geteuid() == 0:
        return "/var/cache/trimaran/vm"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "trimaran", "vm")


def ensure_kernel(path: str | None = None, cache: str | None = None) -> Kernel:
    """The kernel to boot. Raises :class:`NotFound` if there is none, :class:`InvalidInput` for a bad one.

    ``TRIMARAN_VM_KERNEL`` stands for PATH when that is not given.
    """
    root = os.path.join(cache or cache_directory(), "kernels")
    path = path or os.environ.get("TRIMARAN_VM_KERNEL") or None
    if path is None:
        if cached := _newest_cached(root):
            return cached
        installed = sorted(glob.glob("/boot/vmlinuz-*-cloud-*"))
        path = installed[-1] if installed else None
    if path is None:
        with tempfile.TemporaryDirectory(prefix="trimaran-kernel-") as directory:
            return _import(_fetch_package(directory), root)
    return _import(path, root)


def _newest_cached(root: str) -> Kernel | None:
    """The kernel in the cache that was taken from Debian's package or the host last."""
    try:
        name = os.readlink(os.path.join(root, "default"))
    except OSError:
        return None
    kernel = Kernel(name.partition("-")[2], os.path.join(root, name))
    return kernel if os.path.exists(kernel.vmlinux) else None


def _import(path: str, root: str) -> Kernel:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise NotFound(f"no guest kernel at {path}", why=error.strerror or "") from error
    identity = f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}"
    marker = os.path.join(root, "by-file", hashlib.sha256(identity.encode()).hexdigest()[:32])
    try:
        name = os.readlink(marker)
    except OSError:
        name = _extract(path, root)
        _link(name, marker)
    _link(name, os.path.join(root, "default"))
    return Kernel(name.partition("-")[2], os.path.join(root, name))


def _link(target: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.{os.getpid()}"
    os.symlink(target, partial)
    os.replace(partial, path)


def _extract(path: str, root: str) -> str:
    """Put kernel and modules into the cache; the name of their directory there."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    if path.endswith(".deb"):
        image, files = _from_package(path)
    else:
        with open(path, "rb") as file:
            image = file.read()
        files = None
    vmlinux = image if image.startswith(b"\x7fELF") else extract_vmlinux(image, path)
    match = _VERSION.search(vmlinux)
    version = match.group(1).decode() if match else "unknown"
    if files is None:
        files = _from_directory(path, version)
    name = f"{hashlib.sha256(vmlinux).hexdigest()[:16]}-{version}"
    final = os.path.join(root, name)
    if not os.path.isdir(final):
        partial = tempfile.mkdtemp(prefix=".partial-", dir=root)
        os.chmod(partial, 0o755)
        try:
            _write(partial, vmlinux, files)
            os.rename(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return name


def _write(directory: str, vmlinux: bytes, modules: dict[str, bytes]) -> None:
    order = dependency_order(MODULES, modules)
    os.mkdir(os.path.join(directory, "modules"))
    with open(os.path.join(directory, "vmlinux"), "wb") as file:
        file.write(vmlinux)
    for name in order:
        with open(os.path.join(directory, "modules", f"{name}.ko"), "wb") as file:
            file.write(modules[name])
    with open(os.path.join(directory, "modules.list"), "w", encoding="ascii") as listing:
        listing.write("\n".join(order))


def dependency_order(wanted: Iterable[str], modules: dict[str, bytes]) -> list[str]:
    """WANTED and what they need, each after its needs. What MODULES lacks is built in, or not to be had."""
    order: list[str] = []
    visiting: set[str] = set()

    def visit(name: str) -> None:
        if name in order or name in visiting or name not in modules:
            return
        visiting.add(name)
        for needed in module_dependencies(modules[name], name):
            visit(needed.replace("-", "_"))
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def module_name(path: str) -> str:
    """The name by which a module's file is known."""
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")


def _from_package(path: str) -> tuple[bytes, dict[str, bytes]]:
    image = b""
    modules = {}
    for name, content in members(path, lambda name: "/vmlinuz-" in f"/{name}" or ".ko" in name):
        if ".ko" in name:
            modules[module_name(name)] = _plain_module(name, content)
        else:
            image = content
    if not is_bzimage(image):
        raise InvalidInput(f"{path} cannot be used", why="the package holds no kernel")
    return image, modules


def _from_directory(path: str, version: str) -> dict[str, bytes]:
    here = os.path.dirname(os.path.abspath(path))
    candidates = [here, os.path.join(here, "lib", "modules", version)]
    candidates += [f"{os.path.dirname(here).rstrip('/')}/lib/modules/{version}"]
    for directory in candidates:
        found = glob.glob(f"{directory}/**/*.ko*", recursive=True)
        if found:
            break
    modules = {}
    for name in found:
        with open(name, "rb") as file:
            modules[module_name(name)] = _plain_module(name, file.read())
    return modules


def _plain_module(name: str, content: bytes) -> bytes:
    if name.endswith(".xz"):
        import lzma

        return lzma.decompress(content)
    if name.endswith(".zst"):
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def _fetch_package(directory: str) -> str:
    """Download Debian's cloud kernel package with apt: no root needed."""
    hint = f"install {_PACKAGE}, or name a kernel or package with TRIMARAN_VM_KERNEL"
    try:
        depends = _apt(["apt-cache", "depends", "--important", _PACKAGE], directory)
        names = re.findall(r"Depends: (linux-image-[\w.+-]+)", depends)
        if not names:
            raise NotFound("no kernel for microVMs", why=f"apt knows no package {_PACKAGE}", hint=hint)
        _apt(["apt-get", "download", names[0]], directory)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFound("no kernel for microVMs", why=str(error), hint=hint) from error
    found = glob.glob(os.path.join(directory, "*.deb"))
    if not found:
        raise NotFound("no kernel for microVMs", why="apt fetched no package", hint=hint)
    return found[0]


def _apt(command: list[str], directory: str) -> str:
    result = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=300)
    return result.stdout
