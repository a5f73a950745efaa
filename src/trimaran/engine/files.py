"""The files that the engine keeps for a container and mounts into it, and looking into its root."""

from __future__ import annotations

import os
import stat

from trimaran.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.engine.options import Options
    from trimaran.isolation import Root

MAX_FILE = 4 << 20
NAMES = ("hostname", "hosts", "resolv.conf")


class NoNetwork:
    """What a container without a network of its own got of it."""

    endpoints: tuple[Any, ...] = ()
    gateway = ""
    resolver: tuple[str, ...] = ()


def make_empty(directory: str) -> None:
    """Make the files, to be mounted: what belongs in them is not known yet."""
    for name in NAMES:
        open(os.path.join(directory, name), "w", encoding="utf-8").close()


def write(directory: str, options: Options, hostname: str, network: Any, *, shares_host: bool) -> None:
    """Write /etc/hostname, hosts and resolv.conf, in place: they may be mounted already."""
    from trimaran.network import files
    from trimaran.network.parse import parse_extra_host

    # Whoever shares the host's network finds the host at its own loopback.
    extra = [parse_extra_host(entry, "127.0.0.1" if shares_host else "") for entry in options.add_host]
    texts = {
        "hostname": files.hostname_file(hostname),
        "hosts": files.hosts_file(network, hostname, extra),
        "resolv.conf": _resolver(options, network, shares_host),
    }
    for name, text in texts.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def _resolver(options: Options, network: Any, shares_host: bool) -> str:
    if not shares_host and not network.endpoints and not network.resolver:
        return ""
    from trimaran.network.files import resolv_conf
    from trimaran.network.model import DnsOptions

    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            host = file.read(MAX_FILE)
    except OSError:
        host = ""
    wanted = DnsOptions(tuple(options.dns), tuple(options.dns_search), tuple(options.dns_option))
    return resolv_conf(host, wanted, network.resolver, shares_host=shares_host)


def binds(directory: str, taken: set[str]) -> list[dict[str, Any]]:
    """The mounts of these files, but where the user mounts something himself."""
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": os.path.join(directory, name),
            "options": ["rbind", "rprivate", "rw"],
        }
        for name in NAMES
        if f"/etc/{name}" not in taken
    ]


def read_in_root(root: Root, path: str) -> str:
    """A small text file of a container's root, "" if it is not there: from the uppermost layer that has it.

    No link is followed, in no part of the path. Raises :class:`Unsupported` where one would have to be.
    """
    for layer in [root.path] if root.path else [root.upper, *root.lower]:
        if layer is None:
            continue
        found = _read_in_layer(layer, path.strip("/").split("/"))
        if found is not None:
            return found.decode("utf-8", "replace")
    return ""


def _read_in_layer(layer: str, parts: list[str]) -> bytes | None:
    """None: look further down."""
    directory = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
            )
            os.close(directory)
            directory = below
        status = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise Unsupported(
                f"/{'/'.join(parts)} of the image is a link", hint="give users by their numbers"
            )
        if not stat.S_ISREG(status.st_mode):
            return b""
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        with open(fd, "rb") as file:
            return file.read(MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(directory)
