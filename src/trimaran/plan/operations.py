"""The operations that a plan is made of, and the plan itself.

Each operation stands close to one system call. Codes, signatures and sections are also in
``native/common/operations.def``, which the executor is compiled from; a test holds the two together.
Signature letters: ``u`` number, ``d`` descriptor slot, ``s`` string, ``b`` bytes, ``l`` list of strings.

A plan has three sections: *host* (before ``clone``) and *parent* (after it) run in the calling process,
*child* in the new one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Argument = int | str | bytes | Sequence[str]

NO_SLOT = 0xFFFFFFFF
"""In place of a slot: no descriptor, the path is the host's."""
SLOTS = 256

# name: (code, signature, argument names)
OPERATIONS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "open": (1, "dsu", ("slot", "path", "flags")),
    "mkdirs": (2, "dsu", ("root", "path", "mode")),
    "write": (3, "dss", ("root", "path", "text")),
    "connect": (4, "ds", ("slot", "path")),
    "cgroup_device": (5, "sb", ("path", "program")),
    "clone": (6, "ud", ("flags", "cgroup")),
    "proc_write": (7, "ss", ("file", "text")),
    "join_cgroup": (8, "s", ("path",)),
    "helper": (9, "l", ("args",)),
    "hook": (10, "sllus", ("path", "args", "env", "timeout", "state")),
    "send": (11, "u", ("phase",)),
    "recv": (12, "u", ("phase",)),
    "child": (13, "", ()),
    "setns": (14, "du", ("slot", "type")),
    "fork": (15, "", ()),
    "unshare": (16, "u", ("flags",)),
    "session": (17, "", ()),
    "keyring": (18, "s", ("name",)),
    "hostname": (19, "s", ("name",)),
    "domainname": (20, "s", ("name",)),
    "propagation": (21, "u", ("flags",)),
    "filesystem": (22, "dsslu", ("slot", "type", "source", "options", "attributes")),
    "overlay": (23, "dlssslu", ("slot", "lower", "upper", "work", "scratch", "options", "attributes")),
    "tree": (24, "ddsu", ("slot", "base", "path", "flags")),
    "setattr": (25, "duuuud", ("slot", "set", "clear", "propagation", "recursive", "userns")),
    "attach": (26, "ddsu", ("slot", "root", "target", "flags")),
    "pivot": (27, "d", ("root",)),
    "switch_root": (28, "d", ("root",)),
    "mknod": (29, "dsuuuu", ("root", "path", "mode", "device", "uid", "gid")),
    "symlink": (30, "dss", ("root", "path", "target")),
    "mask": (31, "ds", ("root", "path")),
    "readonly": (32, "ds", ("root", "path")),
    "console": (33, "duuu", ("root", "rows", "columns", "owner")),
    "rlimit": (34, "uuu", ("resource", "soft", "hard")),
    "umask": (35, "u", ("mask",)),
    "stdio_owner": (36, "uu", ("uid", "gid")),
    "cwd": (37, "s", ("path",)),
    "bounding": (38, "u", ("keep",)),
    "credentials": (39, "uub", ("uid", "gid", "groups")),
    "capabilities": (40, "uuuu", ("effective", "permitted", "inheritable", "ambient")),
    "no_new_privs": (41, "", ()),
    "seccomp": (42, "buds", ("filter", "flags", "listener", "state")),
    "personality": (43, "u", ("domain",)),
    "scheduler": (44, "b", ("attr",)),
    "ioprio": (45, "u", ("priority",)),
    "affinity": (46, "b", ("mask",)),
    "dumpable": (47, "u", ("value",)),
    "lookup": (48, "ss", ("program", "path")),
    "ready": (49, "", ()),
    "home": (50, "u", ("uid",)),
    "root_user": (51, "", ()),
    "execve": (52, "ll", ("args", "env")),
    "chroot": (53, "d", ("root",)),
    "memory_policy": (54, "ub", ("mode", "nodes")),
    "user_namespace": (55, "dss", ("slot", "uid_map", "gid_map")),
    "copy_up": (56, "dds", ("slot", "root", "path")),
    "enroll": (57, "s", ("path",)),
    "enter_cgroup": (59, "s", ("path",)),
    "loopback": (69, "", ()),
    "write_either": (58, "ssss", ("path", "text", "other_path", "other_text")),
}

OPTIONAL = 1
"""Flag: a failure of the operation is not an error."""


class Operation:
    """One operation: its name, arguments in the order of the signature, and the field it comes from."""

    __slots__ = ("args", "name", "optional", "why")

    def __init__(self, name: str, args: tuple[Argument, ...], why: str, optional: bool = False) -> None:
        self.name = name
        self.args = args
        self.why = why
        self.optional = optional


class Plan:
    """Operations in order, and what the compiler had to say about them.

    ``slots`` names the descriptors; ``warnings`` are requests that could only be met in part.
    """

    __slots__ = ("operations", "slots", "warnings")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.slots: list[str] = []
        self.warnings: list[str] = []

    def add(self, name: str, *args: Argument, why: str, optional: bool = False) -> None:
        """Append an operation."""
        self.operations.append(Operation(name, args, why, optional))

    def slot(self, name: str) -> int:
        """A new descriptor slot; the wire form uses those of the executor again when they are free."""
        self.slots.append(name)
        return len(self.slots) - 1

    def sections(self) -> Iterator[tuple[str, Operation]]:
        """Each operation with its section: ``host``, ``parent`` or ``child``."""
        section = "host"
        for operation in self.operations:
            yield section, operation
            if operation.name == "clone":
                section = "parent"
            elif operation.name == "child":
                section = "child"
