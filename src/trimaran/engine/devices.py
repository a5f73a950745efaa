"""Devices of the host for a container. mknod(2), CDI (https://github.com/cncf-tags/container-device-interface)."""

from __future__ import annotations

import os
import stat

from trimaran.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from trimaran.engine.options import Options

_SKIPPED = ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev")


def find(options: Options) -> list[dict[str, Any]]:
    """What ``devices`` asks for, and every device of the host if ``privileged``."""
    found = [device for entry in options.devices for device in parse(entry)]
    if options.privileged:
        named = {device["path"] for device in found}
        found += [device for device in below("/dev", "/dev", "rwm") if device["path"] not in named]
    return found


def parse(text: str) -> list[dict[str, Any]]:
    """``HOST[:CONTAINER[:ACCESS]]``; a directory stands for the devices in it.

    Raises :class:`NotFound` if the host has none, :class:`InvalidInput` for what is no device.
    """
    host, *rest = text.split(":")
    access = rest.pop() if rest and set(rest[-1]) <= set("rwm") and rest[-1] else "rwm"
    target = rest[0] if rest else host
    if len(rest) > 1 or not host.startswith("/") or not target.startswith("/"):
        raise InvalidInput(f"'{text}' is no device", hint="HOST[:CONTAINER[:rwm]], such as /dev/fuse")
    if os.path.isdir(host):
        return list(below(host, target, access))
    device = _device(host, target, access)
    if device is None:
        raise InvalidInput(f"{host} is no device")
    return [device]


def below(host: str, target: str, access: str) -> Iterator[dict[str, Any]]:
    """The devices in a directory of the host."""
    with os.scandir(host) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED:
                    yield from below(entry.path, f"{target}/{entry.name}", access)
            elif device := _device(entry.path, f"{target}/{entry.name}", access):
                yield device


def _device(path: str, target: str, access: str) -> dict[str, Any] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"the host has no device {path}") from None
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return {
        "path": target,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": access,
    }
