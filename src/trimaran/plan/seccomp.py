"""Compiles a seccomp profile to a classic BPF program, as runc with libseccomp would understand it.

What the OCI specification leaves open is settled as there:

- Rules for one system call: an unconditional one outweighs those with comparisons, and the first
  unconditional one the others; among those with comparisons the first that matches decides.
- Comparisons of a rule must all hold, unless two are of the same argument: then any suffices.
- A rule whose action is the default action, and a system call that the architecture lacks, are left out.
- Where the default action refuses, a system call with a number above all that the profile names is newer
  than the profile, and fails with ENOSYS, so that libraries fall back to older ones.
- A call through an architecture that the profile does not list kills the thread.

Sources: seccomp(2), config-linux.md "Seccomp", seccomp_rule_add(3).
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan import bpf
from trimaran.plan.syscalls import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.seccomp import Seccomp, Syscall, SyscallArg

    Condition = tuple[int, str, int, int]  # argument, comparison, value, second value
    Rule = tuple[list[Condition], int]  # what must hold, and the value to return then
    Rules = dict[int, list[Rule]]  # by system call number

ALLOW, LOG, TRACE, NOTIFY = 0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x7FC00000
ERRNO, TRAP, KILL_THREAD, KILL_PROCESS = 0x00050000, 0x00030000, 0x00000000, 0x80000000
_ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # there is one thread, and the program that it executes has none yet
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
FLAG_NEW_LISTENER = 1 << 3

EPERM, ENOSYS = 1, 38
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
X32_BIT = 0x40000000
_NO_CALL = 0xFFFFFFFF  # what a tracer writes to skip a system call
_ARM_PRIVATE = 0x0F0000  # cacheflush and its kin: far above all others, and not newer

# The OCI name of each architecture that a process of this machine can use: the tables' name.
_FAMILIES = {
    "x86_64": {"SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_X86": "x86", "SCMP_ARCH_X32": "x32"},
    "aarch64": {"SCMP_ARCH_AARCH64": "aarch64", "SCMP_ARCH_ARM": "arm"},
    "riscv64": {"SCMP_ARCH_RISCV64": "riscv64"},
}
ARCHITECTURES = (
    *("SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"),
    *("SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL"),
    *("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64"),
    *("SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC"),
    *("SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K"),
    *("SCMP_ARCH_SH", "SCMP_ARCH_SHEB"),
)
_AUDIT = {
    "x86_64": 0xC000003E,
    "x86": 0x40000003,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
    "riscv64": 0xC00000F3,
}
_NARROW = ("x86", "x32", "arm")  # their arguments have 32 bits
# On 32-bit x86 these also go through one multiplexed call each (socketcall(2), ipc(2)).
_SOCKETCALLS = (
    *("socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair"),
    *("send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg"),
    *("recvmsg", "accept4", "recvmmsg", "sendmmsg"),
)
_MULTIPLEXED = {
    "socketcall": {name: number for number, name in enumerate(_SOCKETCALLS, start=1)},
    "ipc": dict(
        (("semop", 1), ("semget", 2), ("semctl", 3), ("semtimedop", 4), ("msgsnd", 11), ("msgrcv", 12))
        + (("msgget", 13), ("msgctl", 14), ("shmat", 21), ("shmdt", 22), ("shmget", 23), ("shmctl", 24))
    ),
}


def usable_architectures(machine: str) -> list[str]:
    """The architectures that a process of this machine can use, by their OCI names."""
    return list(_FAMILIES.get(machine, {}))


class Filter:
    """A compiled profile: the program, the flags for seccomp(2), and whether it wants a listener."""

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags

    @property
    def listens(self) -> bool:
        return bool(self.flags & FLAG_NEW_LISTENER)


def compile_profile(profile: Seccomp, machine: str, path: str = "$.linux.seccomp") -> Filter:
    """Compile for a machine (``uname -m``). Raises SpecError for what makes no sense."""
    _check(profile, path)
    default = _action(profile.default_action, profile.default_errno_ret, path, "defaultErrnoRet")
    rules = _Rules(profile, default, path)
    family = _FAMILIES.get(machine)
    if family is None:
        raise SpecError(path, f"filters for {machine} cannot be made")
    native = next(iter(family))
    chosen = {family[name] for name in profile.architectures if name in family} | {family[native]}
    code = bpf.returns(KILL_THREAD)
    for architecture in sorted(chosen - {"x32"}):
        section = rules.section(architecture, with_x32="x32" in chosen)
        code = bpf.branch(bpf.EQUAL, _AUDIT[architecture], [bpf.load(NUMBER), *section], code)
    code = [bpf.load(ARCHITECTURE), *code]
    if len(code) > bpf.MAX_INSTRUCTIONS:
        raise SpecError(path, f"the filter has {len(code)} instructions, the kernel takes 4096")
    flags = FLAG_NEW_LISTENER if rules.notifies else 0
    for flag in profile.flags:
        flags |= _FLAGS[flag]
    return Filter(bpf.encode(code), flags)


def _check(profile: Seccomp, path: str) -> None:
    for number, name in enumerate(profile.architectures):
        if name not in ARCHITECTURES:
            raise SpecError(f"{path}.architectures[{number}]", f'"{name}" is no architecture')
    if profile.default_action == "SCMP_ACT_NOTIFY":
        raise SpecError(f"{path}.defaultAction", "the listener itself could not be handed over then")
    if profile.listener_metadata and not profile.listener_path:
        raise SpecError(f"{path}.listenerMetadata", "there is no listenerPath to send it to")
    for number, rule in enumerate(profile.syscalls):
        _check_rule(rule, profile, f"{path}.syscalls[{number}]")


def _check_rule(rule: Syscall, profile: Seccomp, path: str) -> None:
    if not rule.names:
        raise SpecError(f"{path}.names", "is empty")
    for number, arg in enumerate(rule.args):
        if arg.index > 5:
            raise SpecError(
                f"{path}.args[{number}].index", f"expected an integer from 0 to 5, not {arg.index}"
            )
    if rule.action == "SCMP_ACT_NOTIFY":
        if not profile.listener_path:
            raise SpecError(f"{path}.action", "there is no listenerPath to notify")
        for name in ("write", "sendmsg"):
            if name in rule.names:
                raise SpecError(f"{path}.names", f"{name} hands over the listener, and cannot be notified")


def _action(name: str, errno: int | None, path: str, key: str = "errnoRet") -> int:
    value = _ACTIONS[name]
    if value not in (ERRNO, TRACE):
        if errno is not None:
            raise SpecError(f"{path}.{key}", f"{name} returns no error number")
        return value
    if errno is not None and errno > 0xFFFF:
        raise SpecError(f"{path}.{key}", f"expected an integer from 0 to 65535, not {errno}")
    return value | (EPERM if errno is None else errno)


class _Rules:
    """The rules of a profile, whatever the architecture."""

    def __init__(self, profile: Seccomp, default: int, path: str) -> None:
        self.default = default
        self.names = {name for rule in profile.syscalls for name in rule.names}
        self.by_name: dict[str, list[Rule]] = {}
        self.notifies = False
        for number, rule in enumerate(profile.syscalls):
            action = _action(rule.action, rule.errno_ret, f"{path}.syscalls[{number}]")
            if action == default:
                continue
            self.notifies |= action == NOTIFY
            alternatives: list[Rule] = [(conditions, action) for conditions in _alternatives(rule.args)]
            for name in rule.names:
                self.by_name.setdefault(name, []).extend(alternatives)

    @property
    def refuses_by_default(self) -> bool:
        # A tracer is left to answer for calls that it does not know.
        permissive = self.default in (ALLOW, LOG) or self.default & 0xFFFF0000 == TRACE
        return not permissive and self.default != ERRNO | ENOSYS

    def section(self, architecture: str, with_x32: bool) -> bpf.Code:
        """Code that decides on the number, which is loaded, of a call through one audit architecture."""
        code = self._table(architecture)
        if architecture != "x86_64":
            return code
        if with_x32:
            foreign = self._table("x32", X32_BIT)
        else:
            foreign = bpf.returns(ERRNO | ENOSYS if self.refuses_by_default else KILL_THREAD)
        high = bpf.branch(bpf.EQUAL, _NO_CALL, bpf.returns(self.default), foreign)
        return bpf.branch(bpf.AT_LEAST, X32_BIT, high, code)

    def _table(self, architecture: str, bit: int = 0) -> bpf.Code:
        known = numbers(architecture)
        rules = {known[name] | bit: rules for name, rules in self.by_name.items() if name in known}
        if architecture == "x86":
            self._demultiplex(rules, known)
        mask = 0xFFFFFFFF if architecture in _NARROW else 0xFFFFFFFFFFFFFFFF
        spans = [(0, bpf.returns(self.default))]
        for number in sorted(rules):
            if spans[-1][0] == number:
                spans.pop()
            spans.append((number, self._decide(rules[number], mask)))
            spans.append((number + 1, bpf.returns(self.default)))
        if self.refuses_by_default:
            _refuse_newer(spans, [*rules, *(known[name] | bit for name in self.names if name in known)])
        return _search(_merged(spans))

    def _demultiplex(self, rules: Rules, known: dict[str, int]) -> None:
        for multiplexer, members in _MULTIPLEXED.items():
            for name, selector in members.items():
                for conditions, action in self.by_name.get(name, ()):
                    # The arguments are in memory, out of a filter's reach: be strict where they matter.
                    if not conditions or _signed(action) < _signed(self.default):
                        rule: Rule = ([(0, "SCMP_CMP_EQ", selector, 0)], action)
                        rules[known[multiplexer]] = [*rules.get(known[multiplexer], ()), rule]

    def _decide(self, rules: list[Rule], mask: int) -> bpf.Code:
        for conditions, action in rules:
            if not conditions:
                return bpf.returns(action)
        code = bpf.returns(self.default)
        for conditions, action in reversed(rules):
            code = _test(conditions, bpf.returns(action), mask) + code
        return code


def _signed(action: int) -> int:
    """For comparing actions: the lower, the stricter (seccomp(2))."""
    return action - (1 << 32) if action >> 31 else action


def _refuse_newer(spans: list[tuple[int, bpf.Code]], named: list[int]) -> None:
    """Let numbers above those that the profile names fail with ENOSYS."""
    named = [number for number in named if number < _ARM_PRIVATE or number & X32_BIT]
    if not named:
        return
    limit = max(named) + 1
    after = next((i for i, (start, _) in enumerate(spans) if start >= limit), len(spans))
    if after < len(spans) and spans[after][0] == limit:
        del spans[after]
    spans.insert(after, (limit, bpf.returns(ERRNO | ENOSYS)))


def _alternatives(args: list[SyscallArg]) -> list[list[Condition]]:
    conditions = [(arg.index, arg.op, arg.value, arg.value_two) for arg in args]
    if len({arg.index for arg in args}) < len(args):
        return [[condition] for condition in conditions]
    return [conditions]


def _test(conditions: list[Condition], then: bpf.Code, mask: int) -> bpf.Code:
    """Code that runs ``then``, or falls through if a condition does not hold."""
    code = then
    for condition in reversed(conditions):
        code = _compare(condition, mask, len(code)) + code
    return code


def _compare(condition: Condition, mask: int, skip: int) -> bpf.Code:
    """Code that falls through if the condition holds, and else jumps over ``skip`` more instructions."""
    index, comparison, value, second = condition
    and_mask = mask
    if comparison == "SCMP_CMP_MASKED_EQ":
        and_mask, value, comparison = value & mask, second & value, "SCMP_CMP_EQ"
    value &= mask
    low = _load_half(ARGUMENTS + 8 * index, and_mask & 0xFFFFFFFF)
    low.append(_low_half(comparison, value & 0xFFFFFFFF, skip))
    if mask >> 32 == 0:
        return low
    over = skip + len(low)
    high = _load_half(ARGUMENTS + 8 * index + 4, and_mask >> 32)
    return high + _high_half(comparison, value >> 32, hold=len(low), fail=over) + low


def _load_half(offset: int, and_mask: int) -> bpf.Code:
    code = [bpf.load(offset)]
    if and_mask != 0xFFFFFFFF:
        code.append((bpf.AND, 0, 0, and_mask))
    return code


def _low_half(comparison: str, value: int, fail: int) -> bpf.Instruction:
    return {
        "SCMP_CMP_EQ": (bpf.EQUAL, 0, fail, value),
        "SCMP_CMP_NE": (bpf.EQUAL, fail, 0, value),
        "SCMP_CMP_GT": (bpf.GREATER, 0, fail, value),
        "SCMP_CMP_LE": (bpf.GREATER, fail, 0, value),
        "SCMP_CMP_GE": (bpf.AT_LEAST, 0, fail, value),
        "SCMP_CMP_LT": (bpf.AT_LEAST, fail, 0, value),
    }[comparison]


def _high_half(comparison: str, value: int, hold: int, fail: int) -> bpf.Code:
    """Decide, unless the upper halves are equal, by jumping over the code for the lower half, or beyond."""
    if comparison == "SCMP_CMP_EQ":
        return [(bpf.EQUAL, 0, fail, value)]
    if comparison == "SCMP_CMP_NE":
        return [(bpf.EQUAL, 0, hold, value)]
    if comparison in ("SCMP_CMP_GT", "SCMP_CMP_GE"):
        return [(bpf.GREATER, hold + 1, 0, value), (bpf.EQUAL, 0, fail, value)]
    return [(bpf.GREATER, fail + 1, 0, value), (bpf.EQUAL, 0, hold, value)]


def _merged(spans: list[tuple[int, bpf.Code]]) -> list[tuple[int, bpf.Code]]:
    result = spans[:1]
    for span in spans[1:]:
        if span[1] != result[-1][1]:
            result.append(span)
    return result


def _search(spans: list[tuple[int, bpf.Code]]) -> bpf.Code:
    """A binary search for the span that the loaded number lies in."""
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    return bpf.branch(bpf.AT_LEAST, spans[middle][0], _search(spans[middle:]), _search(spans[:middle]))
