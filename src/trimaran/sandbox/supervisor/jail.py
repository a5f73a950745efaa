"""What the supervisor gives up before it answers the first call: a fault in it must not be the host's.

Afterwards it is in a user namespace of its own, where its only capabilities (if any) are over files; its
root directory has /proc and nothing else; layers and volumes are the descriptors that it has; and calls that
it has no use for are refused. Without root it has no capability at all.
"""

from __future__ import annotations

import fcntl
import resource
import struct

from trimaran.linux import _sys
from trimaran.sandbox.bpf import deny_filter
from trimaran.sandbox.kernel import names, notify_files, socket, tty
from trimaran.sandbox.kernel.socket import interfaces
from trimaran.sandbox.kernel.vfs import walk
from trimaran.spec import jsonio

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID = 0, 1, 3, 4
OVER_FILES = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID
UNUSED = (
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig"),
    *("fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open"),
    *(
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
    ),
    *(
        "init_module",
        "finit_module",
        "delete_module",
        "add_key",
        "request_key",
        "keyctl",
        "swapon",
        "swapoff",
    ),
    *("reboot", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "acct", "quotactl", "syslog"),
    *("iopl", "ioperm", "sethostname", "setdomainname", "fanotify_init", "lookup_dcookie", "vhangup"),
)
"""Calls that the supervisor never makes once its first task is there; its tasks inherit the refusal."""
NEEDED_LATER = (fcntl, interfaces, jsonio, names, notify_files, resource, socket, struct, tty, walk)
"""Modules that handlers import when they run: there is no file to import them from by then."""


def enter_namespaces(owners: bool) -> None:
    """The user namespace, and with it the right to mount. Before anything is built, unless OWNERS."""
    _sys.enter_user_namespace(owners)


def close_behind() -> None:
    """Leave the host's root directory. Its /tmp is where the first task's root is made."""
    _sys.leave_root()


def seal(owners: bool) -> None:
    """Capabilities and calls: for good."""
    _sys.keep_capabilities(OVER_FILES if owners else 0)
    _sys.set_filter(deny_filter(UNUSED))
