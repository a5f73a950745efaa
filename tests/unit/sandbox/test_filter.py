"""The seccomp filter does what the table of native calls says, on every call number and argument."""

from __future__ import annotations

import struct

from trimaran.sandbox import bpf
from trimaran.sandbox.abi import AUDIT_ARCH, NAMES, NUMBERS
from trimaran.sandbox.policy import NATIVE, STUB_CALLS

START, END = 0x200000001000, 0x2000000011C8
ELSEWHERE = 0x555555555000
PROGRAM = [
    struct.unpack_from("=HBBI", code)
    for code in [bpf.compile_filter(START, END)]
    for code in [code[i : i + 8] for i in range(0, len(code), 8)]
]


def run(number: int, args: tuple[int, ...] = (), ip: int = ELSEWHERE, arch: int = AUDIT_ARCH) -> int:
    """Interpret the filter as the kernel does."""
    data = struct.pack("=iIQ6Q", number, arch, ip, *(*args, 0, 0, 0, 0, 0, 0)[:6])
    accumulator, at = 0, 0
    while True:
        code, yes, no, k = PROGRAM[at]
        at += 1
        if code == bpf.LD_ABS:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif code == bpf.RET:
            return k
        elif code == bpf.JEQ:
            at += yes if accumulator == k else no
        elif code == bpf.JGE:
            at += yes if accumulator >= k else no
        elif code == bpf.JSET:
            at += yes if accumulator & k else no
        else:
            raise AssertionError(code)


def test_every_call_is_allowed_exactly_where_the_table_says() -> None:
    for number, name in NAMES.items():
        rule = NATIVE.get(name)
        plain = rule is not None and rule.argument is None
        wrong = (0xF000,) * 6
        assert run(number, wrong) == (bpf.ALLOW if plain else bpf.NOTIFY), name


def test_conditions_look_at_the_argument() -> None:
    assert run(NUMBERS["mmap"], (0, 4096, 3, 0x22)) == bpf.ALLOW
    assert run(NUMBERS["mmap"], (0, 4096, 3, 0x02)) == bpf.NOTIFY
    assert run(NUMBERS["waitid"], (1,)) == bpf.ALLOW
    assert run(NUMBERS["waitid"], (3,)) == bpf.NOTIFY
    assert run(NUMBERS["prctl"], (15,)) == bpf.ALLOW
    assert run(NUMBERS["prctl"], (22,)) == bpf.NOTIFY
    assert run(NUMBERS["getpriority"], (2,)) == bpf.NOTIFY


def test_the_stub_alone_executes() -> None:
    for name in STUB_CALLS:
        for ip in (START, END - 1):
            assert run(NUMBERS[name], ip=ip) == bpf.ALLOW
        for ip in (START - 1, END, ELSEWHERE, START & 0xFFFFFFFF):
            assert run(NUMBERS[name], ip=ip) == bpf.NOTIFY
    assert run(NUMBERS["openat"], ip=START) == bpf.NOTIFY


def test_other_architectures_and_unknown_numbers() -> None:
    assert run(NUMBERS["getpid"], arch=0x40000003) == bpf.ENOSYS
    assert run(0x40000000 | 39) == bpf.ENOSYS
    assert run(0x7401) == bpf.NOTIFY
    assert run(511) == bpf.NOTIFY


def test_every_rule_has_a_reason() -> None:
    assert all(len(rule.reason) > 10 for rule in NATIVE.values())
