"""The wire form of a plan: what trimaran-init and trimaran-monitor read (native/common/plan.h)."""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.plan.operations import NO_SLOT, OPERATIONS, OPTIONAL, SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.operations import Argument, Operation, Plan

MAGIC = b"TRMPLAN1"
MAX_SIZE = 4 << 20


def encode(plan: Plan) -> bytes:
    """The plan as bytes. Raises InvalidInput if it is larger than the executor takes."""
    slots = _Slots(plan)
    body = b"".join(
        [_operation(operation, slots.at(number)) for number, operation in enumerate(plan.operations)]
    )
    size = len(MAGIC) + 8 + len(body)
    if size > MAX_SIZE:
        raise InvalidInput(
            "the container's configuration is too large",
            why=f"its plan has {size} bytes, the limit is {MAX_SIZE}",
            hint="pass less through arguments and environment",
        )
    return MAGIC + _u32(size) + _u32(len(plan.operations)) + body


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


class _Slots:
    """The executor's slots: a few, each used again once its descriptor has had its last use."""

    def __init__(self, plan: Plan) -> None:
        self.last: dict[int, int] = {}
        for number, operation in enumerate(plan.operations):
            for slot in _slots_of(operation):
                self.last[slot] = number
        self.ending: dict[int, list[int]] = {}
        for slot, number in self.last.items():
            self.ending.setdefault(number, []).append(slot)
        self.plan = plan
        self.placed: dict[int, int] = {NO_SLOT: NO_SLOT}
        self.free = list(range(SLOTS - 1, -1, -1))

    def at(self, number: int) -> dict[int, int]:
        """Where the slots of an operation are; to be asked in order."""
        for slot in self.ending.get(number - 1, ()):
            self.free.append(self.placed.pop(slot))
        for slot in _slots_of(self.plan.operations[number]):
            if slot not in self.placed:
                if not self.free:
                    raise InvalidInput(
                        "the container's configuration is too large",
                        why=f"it needs more than {SLOTS} descriptors at a time",
                        hint="use fewer mounts",
                    )
                self.placed[slot] = self.free.pop()
        return self.placed


def _slots_of(operation: Operation) -> list[int]:
    signature = OPERATIONS[operation.name][1]
    return [
        value
        for kind, value in zip(signature, operation.args, strict=True)
        if kind == "d" and isinstance(value, int) and value != NO_SLOT
    ]


def _operation(operation: Operation, slots: dict[int, int]) -> bytes:
    code, signature, _ = OPERATIONS[operation.name]
    arguments = b"".join([_argument(*pair, slots) for pair in zip(signature, operation.args, strict=True)])
    flags = OPTIONAL if operation.optional else 0
    return code.to_bytes(2, "little") + flags.to_bytes(2, "little") + _u32(len(arguments)) + arguments


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    return _u32(len(data)) + data + b"\0"


def _argument(kind: str, value: Argument, slots: dict[int, int]) -> bytes:
    if kind == "u":
        assert isinstance(value, int)
        return value.to_bytes(8, "little")
    if kind == "d":
        assert isinstance(value, int)
        return _u32(slots[value])
    if kind == "s":
        assert isinstance(value, str)
        return _text(value)
    if kind == "b":
        assert isinstance(value, bytes)
        return _u32(len(value)) + value
    assert isinstance(value, list | tuple)
    return _u32(len(value)) + b"".join(map(_text, value))
