"""Assembling classic BPF programs that only branch forward, as seccomp wants them (bpf(4), seccomp(2)).

Code is a list of instructions ``(opcode, jump if true, jump if false, operand)`` each path of which ends in
a return, so that pieces can be put after one another without labels.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]
    Code = list[Instruction]

LOAD, AND = 0x20, 0x54  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K
JUMP, EQUAL, GREATER, AT_LEAST = 0x05, 0x15, 0x25, 0x35  # BPF_JMP with JA, JEQ, JGT, JGE, and BPF_K
RETURN = 0x06  # BPF_RET|BPF_K
MAX_INSTRUCTIONS = 4096
_FAR = 255


def load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def returns(value: int) -> Code:
    return [(RETURN, 0, 0, value)]


def branch(comparison: int, operand: int, then: Code, otherwise: Code) -> Code:
    """Code that goes on with one of two pieces, each of which ends in returns."""
    if len(otherwise) <= _FAR:
        return [(comparison, len(otherwise), 0, operand), *otherwise, *then]
    return [(comparison, 0, 1, operand), (JUMP, 0, 0, len(otherwise)), *otherwise, *then]


def encode(code: Code) -> bytes:
    """The program as the kernel takes it: an array of struct sock_filter, little-endian."""
    return b"".join(
        opcode.to_bytes(2, "little") + bytes((if_true, if_false)) + operand.to_bytes(4, "little")
        for opcode, if_true, if_false, operand in code
    )
