"""The base of the specification types: a class whose annotations say how its JSON is read.

    class Mount(Record):
        destination: str                # no default: the key must be there
        options: list[str] = []         # the key may be absent, or null
        uid_mappings: list[IDMapping] = []

An annotation is a scalar (``str``, ``bool``, ``U16``, ``U32``, ``U64``, ``I32``, ``I64``, ``ID``), a record,
``list[...]`` or ``dict[str, ...]`` of one, each with or without ``| None``. The JSON key is the attribute's
name in camel case unless ``_names`` says another; ``_choices`` lists what a string may be. A class is
compiled to its readers when it is first used: importing it costs nothing else. Unknown keys are ignored,
as the OCI specification demands (config.md, "Extensibility").
"""

from __future__ import annotations

import sys

from trimaran.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    Reader = Callable[[object], Any]

U16 = int
U32 = int
U64 = int
I32 = int
I64 = int
ID = int


class _Fault(Exception):
    """A wrong value, raised where its place is not known yet: each level above adds its key."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.where: list[str | int] = []

    def below(self, key: str | int) -> _Fault:
        self.where.append(key)
        return self

    def path(self, root: str) -> str:
        return root + "".join(step(key) for key in reversed(self.where))


def step(key: str | int) -> str:
    """One step of a JSON path: ``.name``, ``[0]`` or ``["odd name"]``."""
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() else f'["{key}"]'


def shown(value: object) -> str:
    """A JSON value in a message, in a few words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    # An integer of thousands of digits cannot be printed.
    return "such a large number" if isinstance(value, int) and abs(value) >> 128 else str(value)


def _read_string(value: object) -> str:
    if type(value) is str:
        return value
    raise _Fault(f"expected a string, not {shown(value)}")


def _read_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    raise _Fault(f"expected true or false, not {shown(value)}")


def _integer(low: int, high: int) -> Reader:
    def read(value: object) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise _Fault(f"expected an integer from {low} to {high}, not {shown(value)}")

    return read


_SCALARS: dict[str, Reader] = {
    "str": _read_string,
    "bool": _read_bool,
    "U16": _integer(0, (1 << 16) - 1),
    "U32": _integer(0, (1 << 32) - 1),
    "U64": _integer(0, (1 << 64) - 1),
    "I32": _integer(-(1 << 31), (1 << 31) - 1),
    "I64": _integer(-(1 << 63), (1 << 63) - 1),
    # 2^32-1 means "no change" to setuid(2) and chown(2): never a user.
    "ID": _integer(0, (1 << 32) - 2),
}


def _choice(allowed: tuple[str, ...]) -> Reader:
    def read(value: object) -> str:
        if type(value) is str and value in allowed:
            return value
        raise _Fault(f"expected one of {', '.join(allowed)}, not {shown(value)}")

    return read


def _list(read_item: Reader) -> Reader:
    def read(value: object) -> list[object]:
        if type(value) is not list:
            raise _Fault(f"expected a list, not {shown(value)}")
        result: list[object] = []
        try:
            for item in value:
                result.append(read_item(item))
        except _Fault as fault:
            raise fault.below(len(result)) from None
        return result

    return read


def _mapping(read_item: Reader) -> Reader:
    def read(value: object) -> dict[str, object]:
        if type(value) is not dict:
            raise _Fault(f"expected an object, not {shown(value)}")
        result: dict[str, object] = {}
        for key, item in value.items():
            try:
                result[key] = read_item(item)
            except _Fault as fault:
                raise fault.below(key) from None
        return result

    return read


def _reader(annotation: str, scope: dict[str, object], choices: tuple[str, ...] | None) -> Reader:
    annotation = annotation.removesuffix(" | None")
    if annotation.startswith("list["):
        return _list(_reader(annotation[5:-1], scope, choices))
    if annotation.startswith("dict[str, "):
        return _mapping(_reader(annotation[10:-1], scope, choices))
    if choices is not None:
        return _choice(choices)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    record = scope[annotation]
    assert isinstance(record, type), annotation
    assert issubclass(record, Record), annotation
    return record._read


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Shape:
    """What a class's annotations were compiled to."""

    def __init__(self, cls: type[Record]) -> None:
        self.fields: dict[str, tuple[str, Reader]] = {}
        self.required: list[tuple[str, str]] = []
        for base in reversed(cls.__mro__[: cls.__mro__.index(Record)]):
            scope = vars(sys.modules[base.__module__])
            for name, annotation in base.__annotations__.items():
                key = cls._names.get(name) or camel_case(name)
                self.fields[key] = name, _reader(annotation, scope, cls._choices.get(name))
                if not hasattr(cls, name):
                    self.required.append((name, key))


class Record:
    """An object of a specification. Fields that are absent have their class's default."""

    _names: dict[str, str] = {}
    _choices: dict[str, tuple[str, ...]] = {}
    _compiled: _Shape | None = None

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)

    @classmethod
    def _shape(cls) -> _Shape:
        shape = cls.__dict__.get("_compiled")
        if shape is None:
            shape = cls._compiled = _Shape(cls)
        return shape

    @classmethod
    def _read(cls, value: object) -> Self:
        if type(value) is not dict:
            raise _Fault(f"expected an object, not {shown(value)}")
        shape = cls._shape()
        fields = shape.fields
        record = object.__new__(cls)
        attributes = record.__dict__
        for key, item in value.items():
            field = fields.get(key)
            if field is not None and item is not None:
                try:
                    attributes[field[0]] = field[1](item)
                except _Fault as fault:
                    raise fault.below(key) from None
        for name, key in shape.required:
            if name not in attributes:
                raise _Fault("is missing").below(key)
        return record

    @classmethod
    def parse(cls, value: object, path: str = "$") -> Self:
        """Read parsed JSON. Raises SpecError that names the place of the fault, below ``path``."""
        try:
            return cls._read(value)
        except _Fault as fault:
            raise SpecError(fault.path(path), fault.why) from None

    def to_json(self) -> dict[str, object]:
        """The fields that are set, as JSON values, in the order of declaration."""
        present = self.__dict__
        return {
            key: _to_json(present[name])
            for key, (name, _) in self._shape().fields.items()
            if present.get(name) is not None
        }

    def replace(self, **fields: object) -> Self:
        """A copy with some fields changed; the rest is shared."""
        return type(self)(**{**self.__dict__, **fields})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(self) is type(other) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


def _to_json(value: object) -> object:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return value
