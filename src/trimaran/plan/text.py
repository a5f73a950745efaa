"""The text form of a plan: one operation a line, with the field it comes from; made to be compared."""

from __future__ import annotations

from trimaran.plan.namespaces import FLAGS
from trimaran.plan.operations import NO_SLOT, OPERATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.operations import Argument, Operation, Plan

_OCTAL = {"mode", "mask"}
_HEX = {
    "attributes",
    "set",
    "clear",
    "propagation",
    "effective",
    "permitted",
    "inheritable",
    "ambient",
    "keep",
}


def render(plan: Plan, *, why: bool = True) -> str:
    """The plan as text, ending with a line feed; ``why`` adds the reason of each operation."""
    lines = []
    last = ""
    for section, operation in plan.sections():
        if section != last:
            lines.append(f"{section}:")
            last = section
        text = f"  {_operation(plan, operation)}"
        if why:
            text = f"{text.ljust(60)}  # {operation.why}"
        lines.append(text.rstrip())
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines) + "\n"


def _operation(plan: Plan, operation: Operation) -> str:
    _, signature, names = OPERATIONS[operation.name]
    words = [operation.name]
    for kind, name, value in zip(signature, names, operation.args, strict=True):
        words.append(f"{name}={_argument(plan, kind, name, value)}")
    if operation.optional:
        words.append("(optional)")
    return " ".join(words)


def _argument(plan: Plan, kind: str, name: str, value: Argument) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        if kind == "d":
            return "host" if value == NO_SLOT else f"%{plan.slots[value]}"
        return _number(name, value)
    return "[" + ", ".join(_quoted(item) for item in value) + "]"


def _number(name: str, value: int) -> str:
    if name in ("flags", "type") and value in _NAMESPACE_SETS:
        return _NAMESPACE_SETS[value]
    if name == "flags" and value and not value & ~sum(FLAGS.values()):
        return "|".join(kind for kind, flag in FLAGS.items() if value & flag)
    if name == "device":
        return f"{value >> 32}:{value & 0xFFFFFFFF}"
    if name in _OCTAL:
        return f"{value:#o}"
    return f"{value:#x}" if name in _HEX else str(value)


_NAMESPACE_SETS = {flag: kind for kind, flag in FLAGS.items()}


def _quoted(text: str) -> str:
    """As a JSON string where it is not a plain word, so that a line stays a line."""
    if text and all(c.isalnum() or c in "/._-+:=@%" for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
