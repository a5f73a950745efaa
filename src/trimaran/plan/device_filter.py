"""The eBPF program that decides on devices in a v2 cgroup (cgroups(7); bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE).

Rules are understood as the devices controller of v1 understands them: each kind of access that is wanted
(read, write, make a node) is decided by the last rule that speaks of it; what no rule speaks of is denied.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import DeviceRule

    Instruction = tuple[int, int, int, int, int]  # opcode, destination, source, offset, immediate
    Code = list[Instruction]

# Opcodes of bpf.h, with a 32-bit operation where there is a choice.
_LOAD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE, _MOVE_REGISTER = 0xB4, 0xBC  # BPF_ALU | BPF_MOV
_AND, _SHIFT_RIGHT = 0x54, 0x74  # BPF_ALU | BPF_AND, BPF_RSH
_IF_NOT_EQUAL, _IF_ANY, _JUMP = 0x56, 0x46, 0x05  # BPF_JMP32 | BPF_JNE, BPF_JSET; BPF_JMP | BPF_JA
_EXIT = 0x95
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5  # registers

_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
ALL_ACCESS = 7


def compile_rules(rules: list[DeviceRule]) -> bytes:
    """The program, as an array of struct bpf_insn. It returns 1 to allow and 0 to deny."""
    code: Code = [
        (_LOAD, _KIND, _CONTEXT, 0, 0),  # bpf_cgroup_dev_ctx: kind and wanted access share a word
        (_MOVE_REGISTER, _WANTED, _KIND, 0, 0),
        (_AND, _KIND, 0, 0, 0xFFFF),
        (_SHIFT_RIGHT, _WANTED, 0, 0, 16),
        (_LOAD, _MAJOR, _CONTEXT, 4, 0),
        (_LOAD, _MINOR, _CONTEXT, 8, 0),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
        if _decides_everything(rule):
            break
    code += _returns(0)
    return b"".join(map(_encode, code))


def _decides_everything(rule: DeviceRule) -> bool:
    """A rule on all devices is one on all access too, whatever it says (devices.txt, "a")."""
    return rule.type in ("", "a")


def _rule(rule: DeviceRule) -> Code:
    """Code that decides what the rule speaks of, and else falls through."""
    everything = _decides_everything(rule)
    access = ALL_ACCESS if everything or not rule.access else sum(_ACCESS[c] for c in set(rule.access))
    if rule.allow:
        # What this rule allows need not be asked of the others.
        body = [(_AND, _WANTED, 0, 0, ALL_ACCESS & ~access), (_IF_NOT_EQUAL, _WANTED, 0, 2, 0), *_returns(1)]
    else:
        body = [(_IF_ANY, _WANTED, 0, 1, access), (_JUMP, 0, 0, 2, 0), *_returns(0)]
    if everything:
        return body
    tests = [(_KIND, _KINDS[rule.type])]
    for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)):
        if number is not None and number >= 0:
            tests.append((register, number))
    code = body
    for register, number in reversed(tests):
        code = [(_IF_NOT_EQUAL, register, 0, len(code), number), *code]
    return code


def _returns(value: int) -> Code:
    return [(_MOVE, _RESULT, 0, 0, value), (_EXIT, 0, 0, 0, 0)]


def _encode(instruction: Instruction) -> bytes:
    opcode, destination, source, offset, immediate = instruction
    return (
        bytes((opcode, destination | source << 4))
        + offset.to_bytes(2, "little", signed=True)
        + (immediate & 0xFFFFFFFF).to_bytes(4, "little")
    )
