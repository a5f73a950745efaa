"""Typed access to parsed JSON that came from elsewhere: each error names the path of the fault."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from trimaran.errors import ImageError

T = TypeVar("T")
_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}


def parse_json(data: bytes, what: str, limit: int) -> dict[str, Any]:
    """A JSON object of at most ``limit`` bytes. Raises :class:`~trimaran.errors.ImageError`."""
    if len(data) > limit:
        raise ImageError(f"the {what} is too large", why=f"{len(data)} bytes, at most {limit} are allowed")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the {what} is not valid JSON", why=str(error)) from error
    return typed(document, dict, f"{what} $")


def typed(value: Any, kind: type[T], where: str) -> T:
    """The value, which must be of a JSON type. Raises :class:`~trimaran.errors.ImageError`."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ImageError(where, why=f"must be {_NAMES[kind]}, not {type(value).__name__}")
    if kind is str and "\0" in str(value):
        raise ImageError(where, why="holds a NUL character")
    return value


def optional(document: dict[str, Any], key: str, kind: type[T], where: str) -> T | None:
    """The value of a key; None where it is absent or null."""
    value = document.get(key)
    return None if value is None else typed(value, kind, f"{where}.{key}")


def strings(document: dict[str, Any], key: str, where: str) -> dict[str, str]:
    """A map from strings to strings; empty where it is absent or null."""
    values = optional(document, key, dict, where) or {}
    for name, value in values.items():
        typed(value, str, f"{where}.{key}[{name[:60]!r}]")
    return values
