"""From a request to a sandbox: opening layers and volumes, mounting them, preparing the network."""

from __future__ import annotations

import os

from trimaran.errors import KernelError
from trimaran.linux import _sys
from trimaran.sandbox import translate
from trimaran.sandbox.kernel import tty
from trimaran.sandbox.kernel.socket.policy import Network, parse_rules
from trimaran.sandbox.kernel.vfs.inode import Dentry, Mount
from trimaran.sandbox.kernel.vfs.layered import LayeredFs
from trimaran.sandbox.kernel.vfs.mounts import TMPFS_MAGIC, Namespace
from trimaran.sandbox.kernel.vfs.nodes import Directory, make_dev
from trimaran.sandbox.kernel.vfs.proc import mount_proc
from trimaran.sandbox.sandbox import Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from trimaran.sandbox.kernel.settings import Settings

CLONE_NEWNET = 0x40000000
SHM_SIZE = "64m"


def open_directory(path: str) -> int:
    """A directory of the host, by descriptor. Raises :class:`KernelError`."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError("open", error.errno or 0, path) from error


def memory_directory(options: Mapping[str, str]) -> int:
    """A directory in memory that no one else can see and that goes with its last descriptor."""
    known = [(key, options[key]) for key in ("size", "mode", "nr_inodes") if key in options]
    return _sys.new_mount("tmpfs", known)


def root_file_system(root: Mapping[str, Any], owners: bool) -> LayeredFs:
    """The container's root. Without a directory for its changes they are kept in memory."""
    if root.get("path"):
        return LayeredFs([], open_directory(root["path"]), owners=owners)
    lower = [open_directory(path) for path in root["lower"]]
    upper = open_directory(root["upper"]) if root.get("upper") else memory_directory({"mode": "0755"})
    return LayeredFs(lower, upper, owners=owners)


def namespace_for(record: Mapping[str, Any], owners: bool) -> Namespace:
    """All mounts but /proc and /sys, which need the kernel."""
    config = record["config"]
    namespace = Namespace(root_file_system(record["root"], owners))
    dev = make_dev(None)
    terminals = dev.top.children[b"pts"]
    assert isinstance(terminals, Directory)
    tty.mount_terminals(terminals)
    namespace.mount(b"/dev", dev, source=b"tmpfs")
    shm = LayeredFs(
        [],
        memory_directory({"size": SHM_SIZE, "mode": "1777"}),
        owners=owners,
        kind=b"tmpfs",
        magic=TMPFS_MAGIC,
    )
    namespace.mount(b"/dev/shm", shm, source=b"shm")
    for place in translate.places(config):
        _mount(namespace, place, owners)
    if (config.get("root") or {}).get("readonly"):
        namespace.root.read_only = True
    return namespace


def _mount(namespace: Namespace, place: translate.Place, owners: bool) -> None:
    path = translate.encode(place.path)
    if place.kind == "tmpfs":
        options = {"mode": "1777", **place.options}
        fs = LayeredFs([], memory_directory(options), owners=owners, kind=b"tmpfs", magic=TMPFS_MAGIC)
        namespace.mount(path, fs, read_only=place.read_only, source=b"tmpfs")
        return
    source = translate.encode(place.source)
    if os.path.isdir(source):
        fs = LayeredFs([], open_directory(place.source), owners=owners, kind=b"ext4", magic=0xEF53)
        mount = namespace.mount(path, fs, read_only=place.read_only, source=source)
        mount.cached = False
        return
    _mount_file(namespace, path, source, place.read_only, owners)


def _mount_file(namespace: Namespace, path: bytes, source: bytes, read_only: bool, owners: bool) -> None:
    """A single file as a volume: the file system is its directory, the mount's root the file in it."""
    directory, name = os.path.split(source)
    fs = LayeredFs(
        [], open_directory(os.fsdecode(directory or b".")), owners=owners, kind=b"ext4", magic=0xEF53
    )
    top = Mount(fs)
    file = top.root.child(name)
    if file is None:
        raise KernelError("open", 2, os.fsdecode(source))
    at = namespace.find_file(path)
    mount = Mount(fs, read_only=read_only, source=source)
    mount.root = Dentry(b"", None, file.inode, mount)
    mount.root.covers = at
    at.mounted = mount.root
    namespace.mounts.append(mount)


def enter_network(settings: Settings) -> None:
    """Move this process, whose sockets the sandbox's are, to the network that it may use."""
    if settings.network == "none":
        _sys.unshare(CLONE_NEWNET)
        _raise_loopback()
    elif settings.network == "path":
        fd = os.open(settings.network_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _sys.setns(fd, CLONE_NEWNET)
        finally:
            os.close(fd)


def _raise_loopback() -> None:
    import _socket
    import fcntl
    import struct

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(probe.fileno(), 0x8914, struct.pack("=16sh22x", b"lo", 0x41))
    finally:
        probe.close()


def build(record: Mapping[str, Any], settings: Settings, owners: bool) -> Sandbox:
    """The sandbox that RECORD asks for; nothing runs in it yet."""
    sandbox = Sandbox(settings, namespace_for(record, owners))
    mount_proc(sandbox.kernel)
    if settings.rules:
        sandbox.kernel.network = Network(parse_rules(settings.rules), default=False)
    return sandbox
