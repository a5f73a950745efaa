"""Data classes without the dataclasses module, whose import takes longer than much of a container's start.

A drop-in for ``dataclass(frozen=True)`` where that lies on the path of every run; type checkers are shown
the real one::

    if TYPE_CHECKING:
        from dataclasses import dataclass, field
    else:
        from trimaran.values import dataclass, field
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Factory:
    """A default that is made anew for each instance."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """The default of a field, made by a call."""
    return _Factory(default_factory)


class _Value:
    """What the decorated classes can do: compare, show, and not be changed."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return tuple(self.__dict__.values()) < tuple(other.__dict__.values())

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.__dict__.items())})"
        )


def dataclass(*, frozen: bool, order: bool = False) -> Callable[[type], type]:
    """Turn annotated fields into an ``__init__``, comparison and ``repr``; as the standard one does."""

    def decorate(cls: type) -> type:
        names = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        own = {key: value for key, value in cls.__dict__.items() if key not in ("__dict__", "__weakref__")}
        made = type(cls.__name__, (_Value,), own)
        made.__init__ = _initialiser(cls.__name__, names, defaults)  # type: ignore[misc]
        made.__dataclass_fields__ = dict.fromkeys(names)  # type: ignore[attr-defined]
        return made

    return decorate


def _initialiser(owner: str, names: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **given: Any) -> None:
        if len(args) > len(names):
            raise TypeError(f"{owner}() takes {len(names)} arguments but {len(args)} were given")
        values = dict(zip(names, args, strict=False))
        for name in names[len(args) :]:
            if name in given:
                values[name] = given.pop(name)
            elif name in defaults:
                default = defaults[name]
                values[name] = default.make() if isinstance(default, _Factory) else default
            else:
                raise TypeError(f"{owner}() is missing the argument '{name}'")
        if given:
            raise TypeError(f"{owner}() got an unexpected or repeated argument '{next(iter(given))}'")
        self.__dict__.update(values)

    return __init__
