"""The one table of system calls: number to handler, and what is read together with a call."""

from __future__ import annotations

from trimaran.sandbox.abi import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[..., int]


def words(text: str) -> list[str]:
    return text.split()


MODULES = words(
    "family execution signals descriptors reading transfer names attributes xattrs mapping "
    "identity system pipe polling epoll clocks tty sockets notify_files signalfile"
)

_PATH_FIRST = words(
    "open creat stat lstat access execve chdir chroot mkdir rmdir unlink readlink chmod chown "
    "lchown truncate statfs utime utimes mknod setxattr lsetxattr getxattr lgetxattr listxattr "
    "llistxattr removexattr lremovexattr mount umount2 memfd_create"
)
_PATH_SECOND = words(
    "openat openat2 newfstatat statx faccessat faccessat2 execveat mkdirat unlinkat readlinkat "
    "fchmodat fchmodat2 fchownat utimensat futimesat mknodat inotify_add_watch name_to_handle_at"
)
_PATHS = {"rename": (1, 2), "link": (1, 2), "symlink": (1, 2), "renameat": (2, 4), "renameat2": (2, 4)}
_PATHS |= {"linkat": (2, 4), "symlinkat": (1, 3), "pivot_root": (1, 2)}
_ATTRIBUTE = words("setxattr lsetxattr getxattr lgetxattr removexattr lremovexattr")
_ATTRIBUTE_OF_FD = words("fsetxattr fgetxattr fremovexattr")


def _prefetch() -> bytes:
    table = bytearray(512)
    wanted = [(name, (1, 0)) for name in _PATH_FIRST] + [(name, (2, 0)) for name in _PATH_SECOND]
    wanted += list(_PATHS.items()) + [(name, (1, 2)) for name in _ATTRIBUTE]
    wanted += [(name, (2, 0)) for name in _ATTRIBUTE_OF_FD]
    for name, (first, second) in wanted:
        if name in NUMBERS:
            table[NUMBERS[name]] = first | second << 3
    table[NUMBERS["write"]] = 64
    return bytes(table)


PREFETCH = _prefetch()
"""For :func:`trimaran.linux._sys.notify_next`: which arguments are strings."""


def build_table() -> list[Handler | None]:
    """Collect ``sys_NAME`` from the kernel's modules."""
    table: list[Handler | None] = [None] * 512
    for module in MODULES:
        found = vars(__import__(f"trimaran.sandbox.kernel.{module}", fromlist=("",)))
        for name, handler in found.items():
            if name.startswith("sys_") and name[4:] in NUMBERS:
                table[NUMBERS[name[4:]]] = handler
    return table
