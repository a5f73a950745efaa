"""JSON without the json package, whose import costs more than starting a container (RFC 8259).

Input is hostile: its size, nesting, duplicate keys, NUL characters and numbers are checked, and every
fault is a SpecError in bounded time and memory.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec.record import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring as _quote
    from _json import make_encoder as _make_encoder
    from _json import make_scanner as _make_scanner
except ImportError:
    from json.encoder import py_encode_basestring as _quote
    from json.scanner import py_make_scanner as _make_scanner  # type: ignore[attr-defined, no-redef]

    _make_encoder = None  # type: ignore[assignment, misc]

MAX_BYTES = 8 << 20
"""Larger documents are refused; a kernel takes at most 6 MiB of arguments and environment (execve(2))."""
MAX_DEPTH = 100
_SPACE = " \t\n\r"
# Only these escapes can bring in a NUL, or half of a surrogate pair.
_SUSPICIOUS = ("\\u0000", "\\ud", "\\uD")


class _Duplicate(dict):  # type: ignore[type-arg]
    """An object in which ``key`` was given twice; found again, with its path, after the scan."""

    key = ""


class _Rules:
    """What the scanner asks of its context."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}
        self.duplicates = False

    def parse_constant(self, name: str) -> object:
        raise SpecError("$", f"{name} is not JSON")

    def object_pairs_hook(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        duplicate = _Duplicate(found)
        duplicate.key = _first_repeated(pairs)
        self.duplicates = True
        return duplicate


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    return key


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """The value that a JSON document stands for. Raises SpecError: ``$`` with line and column, or a path."""
    if len(data) > max_bytes:
        raise SpecError("$", f"the document is larger than {max_bytes} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SpecError("$", f"not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None
    rules = _Rules()
    value = _scan(text, rules)
    escapes = any(escape in text for escape in _SUSPICIOUS)
    if escapes or rules.duplicates or text.count("[") + text.count("{") > MAX_DEPTH:
        _inspect(value)
    return value


def _scan(text: str, rules: _Rules) -> Any:
    start = len(text) - len(text.lstrip(_SPACE))
    scan = _make_scanner(rules)  # type: ignore[arg-type]
    try:
        try:
            value, end = scan(text, start)
        except SystemError:
            # To say what is wrong, the scanner needs a class of a module that it expects to be there.
            import json.decoder  # noqa: F401

            value, end = scan(text, start)
    except StopIteration as stop:
        raise _syntax(text, stop.value, "expected a value") from None
    except RecursionError:
        raise SpecError("$", f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        # JSONDecodeError, or an integer of more digits than the interpreter converts.
        position = getattr(error, "pos", None)
        if position is None:
            raise SpecError("$", "a number has too many digits") from None
        raise _syntax(text, position, getattr(error, "msg", "").lower()) from None
    rest = text[end:].lstrip(_SPACE)
    if rest:
        raise _syntax(text, len(text) - len(rest), "expected the end of the document")
    return value


def _syntax(text: str, position: int, why: str) -> SpecError:
    if position >= len(text):
        return SpecError("$", "the document ends too early" if text.strip() else "the document is empty")
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return SpecError("$", f"line {line}, column {column}: {why}")


def _inspect(root: Any) -> None:
    """Look at each value, without recursion, for what the scanner lets pass."""
    todo: list[tuple[str, Any, int]] = [("$", root, 0)]
    while todo:
        path, value, depth = todo.pop()
        if isinstance(value, str):
            _check_string(path, value)
            continue
        if not isinstance(value, dict | list):
            continue
        if depth == MAX_DEPTH:
            raise SpecError("$", f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, _Duplicate):
            raise SpecError(path + step(value.key), "the key is given twice")
        if isinstance(value, dict):
            for key in value:
                _check_string(f"{path}, a key", key)
            todo += [(path + step(key), item, depth + 1) for key, item in value.items() if item]
        else:
            todo += [(f"{path}[{i}]", item, depth + 1) for i, item in enumerate(value) if item]


def _check_string(path: str, value: str) -> None:
    if "\0" in value:
        raise SpecError(path, "a string contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError(path, "a string contains half of a surrogate pair") from None


def dump(value: object, indent: int = 0) -> str:
    """JSON text of dicts, lists, strings, numbers, booleans and None; on one line unless ``indent``."""
    if not indent and _make_encoder is not None:
        encode = _make_encoder(None, _refuse, _quote, None, ":", ",", False, False, True)
        return "".join(encode(value, 0))
    return "".join(_pieces(value, "\n" if indent else "", " " * indent))


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _pieces(value: object, newline: str, indent: str) -> list[str]:
    if isinstance(value, str):
        return [_quote(value)]
    if value is None or isinstance(value, bool):
        return ["null" if value is None else "true" if value else "false"]
    if isinstance(value, dict):
        items = [
            [_quote(key), ": " if newline else ":", *_pieces(item, newline and newline + indent, indent)]
            for key, item in value.items()
        ]
        return _enclosed("{", items, "}", newline, indent)
    if isinstance(value, list | tuple):
        items = [_pieces(item, newline and newline + indent, indent) for item in value]
        return _enclosed("[", items, "]", newline, indent)
    return [repr(value)]


def _enclosed(opening: str, items: list[list[str]], closing: str, newline: str, indent: str) -> list[str]:
    if not items:
        return [opening + closing]
    result = [opening]
    for number, item in enumerate(items):
        result += ["," if number else "", newline + indent if newline else "", *item]
    return [*result, newline, closing]
