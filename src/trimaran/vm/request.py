"""What a request to the hull means for a machine: its size, its disks, its root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trimaran.errors import InvalidInput
from trimaran.isolation import CreateRequest
from trimaran.vm import images
from trimaran.vm.guest.initramfs import ensure_initramfs
from trimaran.vm.guest.kernel import ensure_kernel
from trimaran.vm.hypervisors import choose
from trimaran.vm.limits import cpu_count, memory_size
from trimaran.vm.machine import DISK_SLOTS

DEFAULT_MEMORY = 512 << 20
# What the guest's kernel, its page tables and the agent take beside a container with a limit.
OVERHEAD = 96 << 20
_SCRATCH = "scratch"


def machine_record(request: CreateRequest, root: Mapping[str, Any], cache: str) -> dict[str, Any]:
    """The machine for a container's root; the keeper reads it. Makes sure that there is a kernel."""
    options = request.options
    kernel = ensure_kernel(options.get("vm.kernel"), cache)
    resources = (request.config.get("linux") or {}).get("resources") or {}
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    default = number(options, "vm.memory", DEFAULT_MEMORY)
    return {
        "hypervisor": options.get("vm.hypervisor") or choose(cache),
        "kernel": kernel.vmlinux,
        "kernel_version": kernel.version,
        "initramfs": ensure_initramfs(kernel),
        "memory": memory_size(memory.get("limit") or 0, default, OVERHEAD),
        "cpus": number(options, "vm.cpus", 0)
        or cpu_count(cpu.get("quota") or 0, cpu.get("period") or 0, os.cpu_count() or 1),
        "disks": _disks(root),
        "template": _wants_template(options),
        "cache": cache,
        "network": _network(request.config),
        "keep": options.get("vm.keep") == "yes",
    }


def _wants_template(options: Mapping[str, str]) -> bool:
    return (options.get("vm.template") or os.environ.get("TRIMARAN_VM_TEMPLATE")) == "yes"


def _network(config: Mapping[str, Any]) -> str | None:
    """The network namespace of the machine: a path, "" for a new one, None where none can be made."""
    if os.geteuid():
        return None
    spaces = (config.get("linux") or {}).get("namespaces") or []
    return next((str(space.get("path") or "") for space in spaces if space.get("type") == "network"), "")


def _disks(root: Mapping[str, Any]) -> list[dict[str, Any]]:
    layers = [layer for layer in root.get("layers", ()) if "image" in layer]
    disks = [{"path": layer["image"], "serial": layer["disk"], "read_only": True} for layer in layers]
    if "image" in root:
        disks.append({"path": root["image"], "serial": root["disk"], "read_only": False})
    return disks


def root_record(request: CreateRequest, cache: str, directory: str, *, joined: bool) -> dict[str, Any]:
    """How the guest gets the container's root: a share, or layers under an overlay of its own.

    A machine that runs already (JOINED) gets no more disks: its layers are shared as directories.
    """
    root = request.root
    if root.path is not None:
        read_only = bool((request.config.get("root") or {}).get("readonly"))
        return {"share": root.path, "read_only": read_only}
    disk_size = number(request.options, "vm.disk", 0)
    room = DISK_SLOTS - (1 if disk_size else 0)
    shared = joined or request.options.get("vm.layers") == "shared" or not images.available()
    result: dict[str, Any] = {"writable": root.upper is not None}
    if shared or len(root.lower) > room:
        result["layers"] = [{"directory": path} for path in root.lower]
    else:
        result["layers"] = [
            {"disk": f"layer{index}", "image": images.layer_image(path, cache)}
            for index, path in enumerate(root.lower)
        ]
    if disk_size and root.upper is not None and not joined:
        image = os.path.join(directory, "scratch.img")
        images.scratch_disk(image, disk_size)
        result.update(disk=_SCRATCH, image=image)
    return result


def number(options: Mapping[str, str], name: str, default: int) -> int:
    """A number among the options. Raises :class:`InvalidInput`."""
    text = options.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"option {name} is wrong", why=f"{text!r} is no number")
    return int(text)
