"""plan/device_filter.py: the eBPF program allows what the rules allow."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.plan.device_filter import compile_rules
from trimaran.spec.resources import DeviceRule

KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """What the kernel would answer: an interpreter of the few instructions that are used."""
    wanted = sum(ACCESS[letter] for letter in access)
    context = struct.pack("<III", wanted << 16 | KINDS[kind], major, minor)
    registers = [0] * 11
    code = list(struct.iter_unpack("<BBhi", program))
    at = 0
    while True:
        opcode, both, offset, immediate = code[at]
        destination, source, immediate = both & 15, both >> 4, immediate & 0xFFFFFFFF
        at += 1
        if opcode == 0x61:
            assert source == 1, "only the context may be read"
            (registers[destination],) = struct.unpack_from("<I", context, offset)
        elif opcode == 0xB4:
            registers[destination] = immediate
        elif opcode == 0xBC:
            registers[destination] = registers[source]
        elif opcode == 0x54:
            registers[destination] &= immediate
        elif opcode == 0x74:
            registers[destination] >>= immediate
        elif opcode == 0x56:
            at += offset if registers[destination] != immediate else 0
        elif opcode == 0x46:
            at += offset if registers[destination] & immediate else 0
        elif opcode == 0x05:
            at += offset
        elif opcode == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"unknown opcode {opcode:#x}")


def allowed(rules: list[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    """The same by the book: the last rule that speaks of an access decides on it."""

    def decide(letter: str) -> bool:
        for rule in reversed(rules):
            everything = rule.type in ("", "a")
            matches = everything or (
                rule.type == kind
                and rule.major in (None, -1, major)
                and rule.minor in (None, -1, minor)
                and letter in (rule.access or "rwm")
            )
            if matches:
                return rule.allow
        return False

    return all(map(decide, access))


NUMBERS = st.sampled_from([None, -1, 0, 1, 2])
ACCESSES = st.sets(st.sampled_from("rwm")).map("".join)
RULES = st.lists(
    st.builds(
        DeviceRule,
        allow=st.booleans(),
        type=st.sampled_from(["", "a", "b", "c", "c"]),
        major=NUMBERS,
        minor=NUMBERS,
        access=ACCESSES,
    ),
    max_size=8,
)


@given(RULES, st.sampled_from("bc"), st.integers(0, 2), st.integers(0, 2), ACCESSES.filter(bool))
def test_agrees_with_the_rules(
    rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    expected = allowed(rules, kind, major, minor, access)
    assert run(compile_rules(rules), kind, major, minor, access) == expected


def rule(allow: bool, text: str) -> DeviceRule:
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, _, minor = numbers.partition(":")
    fields: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    for key, number in (("major", major), ("minor", minor)):
        if number not in ("", "*"):
            fields[key] = int(number)
    return DeviceRule.parse(fields)


@pytest.mark.parametrize(
    ("rules", "request_", "answer"),
    [
        ([], ("c", 1, 3, "r"), 0),
        ([rule(True, "a")], ("b", 8, 0, "rwm"), 1),
        ([rule(True, "a"), rule(False, "c 1:3 w")], ("c", 1, 3, "r"), 1),
        ([rule(True, "a"), rule(False, "c 1:3 w")], ("c", 1, 3, "rw"), 0),
        ([rule(True, "c 1:3 r"), rule(True, "c 1:* w")], ("c", 1, 3, "rw"), 1),
        ([rule(True, "c 136:* rwm")], ("c", 136, 77, "rw"), 1),
        ([rule(True, "c 136:* rwm")], ("b", 136, 77, "r"), 0),
    ],
)
def test_examples(rules: list[DeviceRule], request_: tuple[str, int, int, str], answer: int) -> None:
    assert run(compile_rules(rules), *request_) == answer


def test_the_program_ends_at_a_rule_for_everything() -> None:
    many = [rule(True, f"c {number}:0 rwm") for number in range(50)]
    assert len(compile_rules([*many, rule(False, "a")])) < len(compile_rules(many))
