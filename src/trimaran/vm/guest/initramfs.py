"""Builds the initramfs of a guest: kernel modules and the agent as ``/init``; nothing foreign."""

from __future__ import annotations

import hashlib
import os

from trimaran.errors import NotFound
from trimaran.vm.guest.cpio import Archive
from trimaran.vm.guest.kernel import BOOT_MODULES, Kernel, dependency_order

_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "mnt")


def agent_path() -> str:
    """The agent's program, as built by native/build.py."""
    import trimaran

    path = os.path.join(os.path.dirname(trimaran.__file__), "_bin", "trimaran-agent")
    if not os.path.exists(path):
        raise NotFound("trimaran-agent is not built", hint="run make build, or reinstall the package")
    return path


def build(kernel: Kernel, agent: bytes) -> bytes:
    """The archive, with every module of KERNEL and AGENT as the first process. Pure but for reading them."""
    archive = Archive()
    for directory in _DIRECTORIES:
        archive.directory(directory)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, 0o666)
    order = kernel.order
    modules = {name: kernel.module(name) for name in order}
    for name, content in modules.items():
        archive.file(f"modules/{name}.ko", content)
    boot = dependency_order(BOOT_MODULES, modules)
    archive.file("modules/boot.list", "".join(f"{name}\n" for name in boot).encode())
    archive.file("init", agent, 0o755)
    return archive.finish()


def ensure_initramfs(kernel: Kernel) -> str:
    """Path of the initramfs for KERNEL and this version's agent, built if it is not there yet."""
    with open(agent_path(), "rb") as file:
        agent = file.read()
    digest = hashlib.sha256(agent + "\n".join(kernel.order).encode()).hexdigest()[:16]
    path = os.path.join(kernel.directory, f"initramfs-{digest}.cpio")
    if not os.path.exists(path):
        partial = f"{path}.{os.getpid()}"
        with open(partial, "wb") as file:
            file.write(build(kernel, agent))
        os.replace(partial, path)
    return path
