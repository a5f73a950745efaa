"""What a network changes on the host beside links and rules: settings under /proc/sys/net, and a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from trimaran.errors import KernelError


def sysctl(name: str, value: str) -> None:
    """Set a network setting of the calling thread's namespace, such as ``ipv4/ip_forward``.

    It is written only if it differs. Raises KernelError.
    """
    path = f"/proc/sys/net/{name}"
    try:
        if read_sysctl(name) != value:
            with open(path, "w", encoding="ascii") as file:
                file.write(value)
    except OSError as error:
        raise KernelError("write", error.errno or 0, path, hint="bridge networks need root") from error


def read_sysctl(name: str) -> str:
    """The value of a network setting; "" if this kernel has it not."""
    try:
        with open(f"/proc/sys/net/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def forward_ipv4() -> None:
    """Let the host route IPv4."""
    sysctl("ipv4/ip_forward", "1")


def forward_ipv6() -> None:
    """Let the host route IPv6, and still take its own routes from advertisements (accept_ra=2)."""
    if read_sysctl("ipv6/conf/all/forwarding") == "1":
        return
    for interface in os.listdir("/proc/sys/net/ipv6/conf"):
        if interface not in ("all", "lo") and read_sysctl(f"ipv6/conf/{interface}/accept_ra") == "1":
            sysctl(f"ipv6/conf/{interface}/accept_ra", "2")
    sysctl("ipv6/conf/all/forwarding", "1")


class Lock:
    """A lock between processes: those that change parts share it, one that replaces the whole excludes."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._held(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)
