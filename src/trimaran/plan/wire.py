"""The wire form of a plan: what trimaran-init and trimaran-monitor read (native/common/plan.h)."""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.plan.operations import OPERATIONS, OPTIONAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.operations import Argument, Operation, Plan

MAGIC = b"TRMPLAN1"
MAX_SIZE = 4 << 20


def encode(plan: Plan) -> bytes:
    """The plan as bytes. Raises InvalidInput if it is larger than the executor takes."""
    body = b"".join([_operation(operation) for operation in plan.operations])
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


def _operation(operation: Operation) -> bytes:
    code, signature, _ = OPERATIONS[operation.name]
    arguments = b"".join(map(_argument, signature, operation.args))
    flags = OPTIONAL if operation.optional else 0
    return code.to_bytes(2, "little") + flags.to_bytes(2, "little") + _u32(len(arguments)) + arguments


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    return _u32(len(data)) + data + b"\0"


def _argument(kind: str, value: Argument) -> bytes:
    if kind == "u":
        assert isinstance(value, int)
        return value.to_bytes(8, "little")
    if kind == "d":
        assert isinstance(value, int)
        return _u32(value)
    if kind == "s":
        assert isinstance(value, str)
        return _text(value)
    if kind == "b":
        assert isinstance(value, bytes)
        return _u32(len(value)) + value
    assert isinstance(value, list | tuple)
    return _u32(len(value)) + b"".join(map(_text, value))
