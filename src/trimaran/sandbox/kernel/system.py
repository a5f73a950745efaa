"""The machine, limits and process settings (uname(2), sysinfo(2), prlimit(2), prctl(2), setsid(2))."""

from __future__ import annotations

import errno as E
import os
import time

from trimaran.linux import _sys
from trimaran.sandbox.abi import MACHINE
from trimaran.sandbox.abi.structs import RLIMIT, SYSINFO
from trimaran.sandbox.kernel.outcome import Continue, Fail
from trimaran.sandbox.kernel.signals import s32
from trimaran.sandbox.kernel.task import Process, Task

INFINITY = (1 << 64) - 1
RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_FSIZE = 4, 6, 7, 1
EMULATED = (RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_NOFILE, 8, 10, 11, 12, 13, 14, 15)
"""Limits that we hold ourselves; the others are the host's to keep, and are set there too."""
CAP_SYS_RESOURCE, CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SETPCAP = 24, 21, 23, 8

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_GET_KEEPCAPS, PR_SET_KEEPCAPS = 1, 3, 4, 7, 8
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP = 21, 22, 23, 24
PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 27, 28, 38, 39
PR_GET_THP_DISABLE, PR_SET_THP_DISABLE, PR_CAP_AMBIENT, PR_SET_PTRACER = 42, 41, 47, 0x59616D61
PR_MCE_KILL, PR_GET_UNALIGN, PR_GET_FPEMU, PR_GET_TSC = 33, 5, 9, 25
RELEASE = "6.1.0-trimaran"
LAST_CAPABILITY = 40


def sys_uname(task: Task, address: int, *_: int) -> int:
    settings = task.process.kernel.settings
    version = "#1 SMP trimaran"
    fields = ("Linux", settings.hostname, RELEASE, version, MACHINE, settings.domainname)
    record = b"".join(os.fsencode(field)[:64].ljust(65, b"\0") for field in fields)
    task.process.kernel.put(task, address, record)
    return 0


def sys_sethostname(task: Task, address: int, size: int, *_: int) -> int:
    if not task.process.cred.capable(CAP_SYS_ADMIN):
        raise Fail(E.EPERM)
    if size > 64:
        raise Fail(E.EINVAL)
    task.process.kernel.settings.hostname = os.fsdecode(_sys.vm_read(task.tid, address, size))
    return 0


def memory_facts() -> dict[bytes, int]:
    """The host's /proc/meminfo in bytes."""
    with open("/proc/meminfo", "rb") as file:
        lines = [line.split() for line in file.read().splitlines()]
    return {words[0].rstrip(b":"): int(words[1]) * (1024 if len(words) > 2 else 1) for words in lines}


def visible_memory(kernel_limit: int) -> tuple[int, int]:
    """Total and free memory as the sandbox is told."""
    facts = memory_facts()
    total, free = facts[b"MemTotal"], facts[b"MemAvailable"]
    if kernel_limit:
        total, free = min(total, kernel_limit), min(free, kernel_limit)
    return total, free


def sys_sysinfo(task: Task, address: int, *_: int) -> int:
    kernel = task.process.kernel
    total, free = visible_memory(kernel.settings.memory_limit)
    uptime = (time.monotonic_ns() - kernel.started) // 10**9
    record = SYSINFO.pack(uptime, 0, 0, 0, total, free, 0, 0, 0, 0, len(kernel.processes), 0, 0, 0, 1)
    kernel.put(task, address, record)
    return 0


def _limits_of(task: Task, pid: int) -> Process:
    if pid in (0, task.process.pid):
        return task.process
    found = task.process.kernel.by_pid.get(pid)
    if found is None:
        raise Fail(E.ESRCH)
    one, two = task.process.cred, found.cred
    if (one.uid, one.gid) != (two.uid, two.gid) and not one.capable(CAP_SYS_RESOURCE):
        raise Fail(E.EPERM)
    return found


def sys_prlimit64(task: Task, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    process = _limits_of(task, pid & 0xFFFFFFFF)
    return _limit(task, process, resource, new, old)


def _limit(task: Task, process: Process, resource: int, new: int, old: int) -> int:
    resource &= 0xFFFFFFFF
    if resource > 15:
        raise Fail(E.EINVAL)
    before = process.limits[resource]
    if new:
        soft, hard = RLIMIT.unpack(_sys.vm_read(task.tid, new, 16))
        if soft > hard:
            raise Fail(E.EINVAL)
        if hard > before[1] and not task.process.cred.capable(CAP_SYS_RESOURCE):
            raise Fail(E.EPERM)
        if resource not in EMULATED:
            _set_on_host(process, resource, soft, hard)
        process.limits[resource] = (soft, hard)
    if old:
        task.process.kernel.put(task, old, RLIMIT.pack(*before))
    return 0


def _set_on_host(process: Process, resource: int, soft: int, hard: int) -> None:
    """The host enforces what concerns memory and CPU time; its own hard limit is the ceiling."""
    import resource as host

    def clip(value: int, ceiling: int) -> int:
        if ceiling == host.RLIM_INFINITY:
            return host.RLIM_INFINITY if value == INFINITY else value
        return min(value, ceiling)

    ceiling = host.prlimit(process.host, resource)[1]
    host.prlimit(process.host, resource, (clip(soft, ceiling), ceiling))


def sys_getrlimit(task: Task, resource: int, address: int, *_: int) -> int:
    return _limit(task, task.process, resource, 0, address)


def sys_setrlimit(task: Task, resource: int, address: int, *_: int) -> int:
    if not address:
        raise Fail(E.EFAULT)
    return _limit(task, task.process, resource, address, 0)


def sys_umask(task: Task, mask: int, *_: int) -> int:
    fs = task.process.fs
    old, fs.umask = fs.umask, mask & 0o777
    return old


def sys_personality(task: Task, persona: int, *_: int) -> int:
    if persona & 0xFFFFFFFF not in (0xFFFFFFFF, 0, 0x40000):
        raise Fail(E.EINVAL)
    return 0


def sys_setsid(task: Task, *_: int) -> int:
    process = task.process
    if os.getpgid(process.host) != process.host:
        process.terminal = None
    raise Continue


def sys_setpriority(task: Task, which: int, who: int, value: int, *_: int) -> int:
    """One process: the host's business. A user's: only this sandbox's processes, never the host's."""
    if which == 0:
        raise Continue
    if which not in (1, 2):
        raise Fail(E.EINVAL)
    found = False
    for process in task.process.kernel.processes.values():
        if (which == 2 and process.cred.uid == (who or task.process.cred.uid)) or (
            which == 1 and os.getpgid(process.host) == os.getpgid(task.process.host)
        ):
            found = True
            os.setpriority(os.PRIO_PROCESS, process.host, s32(value))
    if not found:
        raise Fail(E.ESRCH)
    return 0


def sys_getpriority(task: Task, which: int, who: int, *_: int) -> int:
    if which not in (1, 2):
        raise Fail(E.EINVAL)
    own = task.process.cred.uid
    values = [
        os.getpriority(os.PRIO_PROCESS, process.host)
        for process in task.process.kernel.processes.values()
        if which == 1 or process.cred.uid == (who or own)
    ]
    if not values:
        raise Fail(E.ESRCH)
    return 20 - min(values)


def sys_sched_setscheduler(task: Task, pid: int, policy: int, *_: int) -> int:
    if s32(policy) not in (0, 3, 5):
        raise Fail(E.EPERM)
    raise Continue


def sys_sched_setparam(task: Task, *_: int) -> int:
    raise Continue


def sys_prctl(task: Task, option: int, a: int, b: int, c: int, d: int, *_: int) -> int:
    process, cred = task.process, task.process.cred
    option &= 0xFFFFFFFF
    if option == PR_SET_PDEATHSIG:
        if process.pid == 1:
            return 0
        raise Continue
    if option == PR_GET_DUMPABLE:
        return process.dumpable
    if option == PR_SET_DUMPABLE:
        if a not in (0, 1):
            raise Fail(E.EINVAL)
        process.dumpable = a
        return 0
    if option == PR_SET_NO_NEW_PRIVS:
        if (a, b, c, d) != (1, 0, 0, 0):
            raise Fail(E.EINVAL)
        cred.no_new_privs = True
        return 0
    if option == PR_GET_NO_NEW_PRIVS:
        return int(cred.no_new_privs)
    if option in (PR_GET_SECCOMP, PR_GET_THP_DISABLE):
        return 0
    if option in (PR_SET_THP_DISABLE, PR_SET_PTRACER):
        return 0
    return _prctl_capabilities(task, option, a, b)


def _prctl_capabilities(task: Task, option: int, a: int, b: int) -> int:
    cred = task.process.cred
    if option == PR_GET_KEEPCAPS:
        return int(cred.keep)
    if option == PR_SET_KEEPCAPS:
        if a > 1:
            raise Fail(E.EINVAL)
        cred.keep = bool(a)
        return 0
    if option in (PR_CAPBSET_READ, PR_CAPBSET_DROP):
        if a > LAST_CAPABILITY:
            raise Fail(E.EINVAL)
        if option == PR_CAPBSET_READ:
            return cred.bounding >> a & 1
        if not cred.capable(CAP_SETPCAP):
            raise Fail(E.EPERM)
        cred.bounding &= ~(1 << a)
        return 0
    if option == PR_GET_SECUREBITS:
        return cred.securebits
    if option == PR_SET_SECUREBITS:
        if not cred.capable(CAP_SETPCAP):
            raise Fail(E.EPERM)
        cred.securebits = a
        return 0
    if option == PR_CAP_AMBIENT:
        return _ambient(task, a, b)
    raise Fail(E.EINVAL)


def _ambient(task: Task, operation: int, capability: int) -> int:
    cred = task.process.cred
    if operation == 4:
        cred.ambient = 0
        return 0
    if capability > LAST_CAPABILITY:
        raise Fail(E.EINVAL)
    bit = 1 << capability
    if operation == 1:
        return int(bool(cred.ambient & bit))
    if operation == 2:
        if not cred.permitted & cred.inheritable & bit:
            raise Fail(E.EPERM)
        cred.ambient |= bit
        return 0
    if operation == 3:
        cred.ambient &= ~bit
        return 0
    raise Fail(E.EINVAL)


def _refuse(task: Task, *_: int) -> int:
    raise Fail(E.EPERM)


sys_mount = sys_umount2 = sys_pivot_root = sys_reboot = sys_swapon = sys_swapoff = _refuse
sys_unshare = sys_setns = sys_settimeofday = sys_clock_settime = sys_ptrace = sys_bpf = _refuse
sys_init_module = sys_finit_module = sys_delete_module = sys_kexec_load = sys_acct = _refuse
sys_setdomainname = sys_syslog = sys_quotactl = sys_vhangup = sys_iopl = sys_ioperm = _refuse
sys_perf_event_open = sys_process_vm_readv = sys_process_vm_writev = sys_kcmp = _refuse
sys_add_key = sys_request_key = sys_keyctl = sys_userfaultfd = sys_fanotify_init = _refuse


def sys_ioprio_get(task: Task, *_: int) -> int:
    return 0


def sys_ioprio_set(task: Task, *_: int) -> int:
    return 0


def sys_adjtimex(task: Task, *_: int) -> int:
    raise Fail(E.EPERM)
