"""Which system calls the host's kernel executes itself for a sandboxed task, and why.

Everything else is answered by the supervisor. The filter (:mod:`trimaran.sandbox.bpf`) and the page
``docs/reference/sandbox-native-calls.md`` are made from this table. A call may stand here only if all it can
reach is the caller's own memory, the threads and processes of its own PID namespace, its own signals, or the
clocks; no argument may lead to a file, a socket, a name or another user's process.
"""

from __future__ import annotations

MAP_ANONYMOUS = 0x20


class Rule:
    """Why a call is native and, where it depends on an argument, on what.

    ``argument`` is its index; the call is native if that argument has one of the bits ``has``, or is one
    of ``values``; otherwise it is notified.
    """

    __slots__ = ("argument", "has", "reason", "values")

    def __init__(
        self, reason: str, argument: int | None = None, *, has: int = 0, values: tuple[int, ...] = ()
    ) -> None:
        self.reason = reason
        self.argument = argument
        self.has = has
        self.values = values


def _names(text: str) -> list[str]:
    return text.split()


_MEMORY = Rule("changes the caller's own address space")
_FUTEX = Rule("synchronises threads over memory that they share")
_THREAD = Rule("concerns the calling thread alone")
_SIGNAL = Rule("sets, masks or waits for the caller's own signals")
_CLOCK = Rule("reads a clock, or sleeps")
_IPC = Rule("System V objects live in the sandbox's own IPC namespace, and end with it")
_FAMILY = Rule("sees only processes of the sandbox's own PID namespace")

PR_SET_NAME, PR_GET_NAME, PR_GET_TIMERSLACK, PR_SET_TIMERSLACK = 15, 16, 30, 29
PR_SET_VMA, PR_GET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 0x53564D41, 2, 36, 37

NATIVE: dict[str, Rule] = {
    **dict.fromkeys(
        _names(
            "brk munmap mprotect mremap madvise mincore msync mlock mlock2 munlock mlockall "
            "munlockall pkey_mprotect pkey_alloc pkey_free membarrier"
        ),
        _MEMORY,
    ),
    **dict.fromkeys(
        _names("futex futex_wait futex_wake futex_requeue futex_waitv set_robust_list get_robust_list"),
        _FUTEX,
    ),
    **dict.fromkeys(
        _names(
            "set_tid_address rseq gettid getcpu sched_yield arch_prctl sched_getaffinity "
            "sched_setaffinity sched_getscheduler sched_getparam sched_get_priority_max "
            "sched_get_priority_min sched_rr_get_interval restart_syscall"
        ),
        _THREAD,
    ),
    **dict.fromkeys(
        _names(
            "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend "
            "sigaltstack pause"
        ),
        _SIGNAL,
    ),
    **dict.fromkeys(
        _names(
            "clock_gettime clock_getres gettimeofday time nanosleep clock_nanosleep getitimer times getrusage"
        ),
        _CLOCK,
    ),
    **dict.fromkeys(_names("getpid getppid getpgid getpgrp getsid setpgid wait4"), _FAMILY),
    **dict.fromkeys(
        _names("shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl"),
        _IPC,
    ),
    "getrandom": Rule("fills the caller's memory with random bytes"),
    "waitid": Rule(
        "sees only processes of the sandbox's own PID namespace; P_PIDFD names a descriptor, which is ours",
        0,
        values=(0, 1, 2),
    ),
    "getpriority": Rule(
        "sees one process of the sandbox; PRIO_USER would look at the host's", 0, values=(0,)
    ),
    "mmap": Rule(
        "maps memory of no file; a file mapping is prepared by the supervisor", 3, has=MAP_ANONYMOUS
    ),
    "prctl": Rule(
        "names the thread, its timer slack or its memory, or adopts its own orphans",
        0,
        values=(
            *(PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_VMA),
            *(PR_GET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER),
        ),
    ),
}

STUB_CALLS = {
    "execve": "executes the stub, the only file in the task's real root",
    "mmap": "maps the image from descriptors that the supervisor has put there",
    "close_range": "closes those descriptors",
}
"""Native only from within the stub's text, told by the instruction pointer."""
