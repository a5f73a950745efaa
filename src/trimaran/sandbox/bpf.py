"""Turns the table of :mod:`trimaran.sandbox.policy` into a seccomp filter (seccomp(2), bpf(4))."""

from __future__ import annotations

import struct

from trimaran.sandbox.abi import AUDIT_ARCH, NUMBERS
from trimaran.sandbox.policy import NATIVE, STUB_CALLS, Rule

LD_ABS, JEQ, JGE, JSET, AND, RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, NOTIFY, KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
ENOSYS, EPERM = 0x00050000 | 38, 0x00050000 | 1
NR, ARCH, IP, ARGUMENTS = 0, 4, 8, 16
X32 = 0x40000000


class _Assembler:
    """Instructions; a jump that is not taken falls through to the next one."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int, int, int]] = []

    def emit(self, code: int, k: int, yes: int = 0, no: int = 0) -> None:
        self.code.append((code, yes, no, k & 0xFFFFFFFF))

    def done(self) -> bytes:
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self.code)


def _rule(out: _Assembler, number: int, rule: Rule) -> None:
    """Allow call NUMBER where RULE holds, else notify; the accumulator holds the number before and after."""
    if rule.argument is None:
        out.emit(JEQ, number, 0, 1)
        out.emit(RET, ALLOW)
        return
    body = _Assembler()
    body.emit(LD_ABS, ARGUMENTS + 8 * rule.argument)
    if rule.has:
        body.emit(JSET, rule.has, 0, 1)
        body.emit(RET, ALLOW)
    for value in rule.values:
        body.emit(JEQ, value, 0, 1)
        body.emit(RET, ALLOW)
    body.emit(RET, NOTIFY)
    out.emit(JEQ, number, 0, len(body.code))
    out.code += body.code


def _stub_rules(out: _Assembler, start: int, end: int) -> None:
    """Allow the stub's own calls, which are told by where they come from."""
    body = _Assembler()
    body.emit(LD_ABS, IP + 4)
    body.emit(JEQ, start >> 32, 1, 0)
    body.emit(RET, NOTIFY)
    body.emit(LD_ABS, IP)
    body.emit(JGE, start & 0xFFFFFFFF, 1, 0)
    body.emit(RET, NOTIFY)
    body.emit(JGE, end & 0xFFFFFFFF, 0, 1)
    body.emit(RET, NOTIFY)
    body.emit(RET, ALLOW)
    for name in STUB_CALLS:
        out.emit(JEQ, NUMBERS[name], 0, len(body.code))
        out.code += body.code


def compile_filter(stub_start: int, stub_end: int, without: frozenset[str] = frozenset()) -> bytes:
    """The filter as an array of ``struct sock_filter``; calls named in WITHOUT are notified too.

    The stub's text lies from STUB_START to STUB_END. Calls without a condition come first and look at
    nothing but their number, so that the kernel's cache of allowed numbers serves them.
    """
    out = _Assembler()
    out.emit(LD_ABS, ARCH)
    out.emit(JEQ, AUDIT_ARCH, 1, 0)
    out.emit(RET, ENOSYS)
    out.emit(LD_ABS, NR)
    out.emit(JGE, X32, 0, 1)
    out.emit(RET, ENOSYS)
    rules = [
        (NUMBERS[name], rule) for name, rule in NATIVE.items() if name in NUMBERS and name not in without
    ]
    mmap = NUMBERS["mmap"]
    for number, rule in sorted(rules, key=lambda item: item[1].argument is not None):
        if number == mmap:
            _anonymous_or_stub(out, rule, stub_start, stub_end)
        else:
            _rule(out, number, rule)
    _stub_rules(out, stub_start, stub_end)
    out.emit(RET, NOTIFY)
    return out.done()


def _anonymous_or_stub(out: _Assembler, rule: Rule, start: int, end: int) -> None:
    """mmap is allowed by its flags, or by being the stub's."""
    body = _Assembler()
    body.emit(LD_ABS, ARGUMENTS + 8 * (rule.argument or 0))
    body.emit(JSET, rule.has, 0, 1)
    body.emit(RET, ALLOW)
    body.emit(LD_ABS, NR)
    out.emit(JEQ, NUMBERS["mmap"], 0, len(body.code))
    out.code += body.code


def deny_filter(names: tuple[str, ...]) -> bytes:
    """A filter that answers EPERM to the calls NAMES and allows the rest."""
    out = _Assembler()
    out.emit(LD_ABS, ARCH)
    out.emit(JEQ, AUDIT_ARCH, 1, 0)
    out.emit(RET, KILL)
    out.emit(LD_ABS, NR)
    out.emit(JGE, X32, 0, 1)
    out.emit(RET, KILL)
    for name in names:
        if name in NUMBERS:
            out.emit(JEQ, NUMBERS[name], 0, 1)
            out.emit(RET, EPERM)
    out.emit(RET, ALLOW)
    return out.done()
