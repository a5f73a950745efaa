"""Mount options, as a configuration names them (runtime-spec config.md, "Linux mount options")."""

from __future__ import annotations

# MOUNT_ATTR_* of mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC, NOSYMFOLLOW = 0x1, 0x2, 0x4, 0x8, 0x200000
NOATIME, STRICTATIME, NODIRATIME, ATIME_MASK = 0x10, 0x20, 0x80, 0x70
IDMAP = 0x100000
# MS_* of mount(2), as mount_setattr(2) takes them
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_REC = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 14

# option: (attributes to set, attributes to clear)
_ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
    "noatime": (NOATIME, ATIME_MASK),
    "strictatime": (STRICTATIME, ATIME_MASK),
    "relatime": (0, ATIME_MASK),
    "atime": (0, ATIME_MASK),
    "norelatime": (STRICTATIME, ATIME_MASK),
    "nostrictatime": (0, ATIME_MASK),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
}
_PROPAGATION = {
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "private": MS_PRIVATE,
    "unbindable": MS_UNBINDABLE,
}
# Of the file system, not of the mount: fsconfig(2) takes them as flags.
_SUPERBLOCK = frozenset({"sync", "dirsync", "lazytime", "mand", "iversion"})
_NOTHING = frozenset(
    {"defaults", "async", "nolazytime", "nomand", "noiversion", "silent", "loud", "remount", "norelatime"}
)


def known() -> list[str]:
    """Every option that is not left to the file system."""
    recursive = [f"r{name}" for name in (*_ATTRIBUTES, *_PROPAGATION)]
    rest = ["bind", "rbind", "idmap", "ridmap", "tmpcopyup"]
    return sorted({*_ATTRIBUTES, *_PROPAGATION, *_SUPERBLOCK, *_NOTHING, *recursive, *rest})


class MountOptions:
    """The options of one mount, sorted by what they act on.

    ``set``/``clear``: attributes of the mount; ``recursive_set``/``recursive_clear``: of all below too;
    ``propagation`` with ``propagation_recursive``; ``data``: for the file system, as ``key=value`` or
    ``key``; ``bind``: 0 no, 1 the mount alone, 2 all below too; ``idmap``: 0, 1, or 2 for all below.
    """

    __slots__ = (
        "bind", "clear", "copy_up", "data", "idmap", "propagation", "propagation_recursive",
        "recursive_clear", "recursive_set", "set",
    )  # fmt: skip

    def __init__(self, options: list[str]) -> None:
        self.set = self.clear = self.recursive_set = self.recursive_clear = 0
        self.propagation = self.bind = self.idmap = 0
        self.propagation_recursive = self.copy_up = False
        self.data: list[str] = []
        for option in options:
            self._take(option)

    def _take(self, option: str) -> None:
        if option in _ATTRIBUTES:
            on, off = _ATTRIBUTES[option]
            self.set = self.set & ~off | on
            self.clear = self.clear & ~on | off
        elif option in _PROPAGATION:
            self.propagation, self.propagation_recursive = _PROPAGATION[option], False
        elif option[:1] == "r" and option[1:] in _PROPAGATION:
            self.propagation, self.propagation_recursive = _PROPAGATION[option[1:]], True
        elif option in ("bind", "rbind"):
            self.bind = 1 if option == "bind" else 2
        elif option in ("idmap", "ridmap"):
            self.idmap = 1 if option == "idmap" else 2
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            on, off = _ATTRIBUTES[option[1:]]
            self.recursive_set = self.recursive_set & ~off | on
            self.recursive_clear = self.recursive_clear & ~on | off
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option in _SUPERBLOCK:
            self.data.append(option)
        elif option not in _NOTHING:
            self.data += [part for part in option.split(",") if part]
