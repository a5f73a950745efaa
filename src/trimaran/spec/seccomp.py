"""The ``linux.seccomp`` object (config-linux.md, "Seccomp"). What it means is in plan/seccomp.py."""

from __future__ import annotations

from trimaran.spec.record import U32, U64, Record

ACTIONS = (
    *("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO"),
    *("SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"),
)


class SyscallArg(Record):
    """A comparison of one argument, as an unsigned number of 64 bits.

    For ``SCMP_CMP_MASKED_EQ``, ``value`` is the mask and ``value_two`` what the masked argument must be.
    """

    index: U32
    value: U64
    value_two: U64 = 0
    op: str

    _choices = {
        "op": (
            *("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ"),
            *("SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"),
        )
    }


class Syscall(Record):
    """What to do on these system calls, if all comparisons hold."""

    names: list[str]
    action: str
    errno_ret: U32 | None = None
    args: list[SyscallArg] = []

    _choices = {"action": ACTIONS}


class Seccomp(Record):
    default_action: str
    default_errno_ret: U32 | None = None
    architectures: list[str] = []
    flags: list[str] = []
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[Syscall] = []

    _choices = {
        "default_action": ACTIONS,
        "flags": (
            *("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ),
    }
