"""Values with named fields that do not change: what dataclasses(3) make, without their import.

Each dataclass costs about a millisecond of generated code when its module is imported, and a command that
starts a container imports a dozen. For the type checker these are dataclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as value
    from dataclasses import replace
else:

    def value(*, frozen):
        """Make a class of its annotations; ``frozen`` is always true, and is said for readers."""
        assert frozen
        return _make

    def replace(original, **changes):
        """A copy with some fields changed."""
        return type(original)(**{**original.__dict__, **changes})

    def _make(cls):
        names = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}

        def __init__(self, *args, **fields):
            if len(args) > len(names):
                raise TypeError(f"{cls.__name__} has {len(names)} fields, not {len(args)}")
            given = dict(zip(names, args, strict=False))
            if double := given.keys() & fields.keys():
                raise TypeError(f"{cls.__name__}: {', '.join(double)} given twice")
            found = {**defaults, **given, **fields}
            if found.keys() != set(names):
                wrong = ", ".join(sorted(found.keys() ^ set(names)))
                raise TypeError(f"{cls.__name__}: {wrong} missing or unknown")
            self.__dict__.update({name: found[name] for name in names})

        cls.__init__ = __init__
        cls.__eq__ = _equal
        cls.__hash__ = _hash
        cls.__repr__ = _show
        cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    def _equal(self, other):
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def _hash(self):
        return hash(tuple(self.__dict__.values()))

    def _show(self):
        fields = ", ".join(f"{name}={item!r}" for name, item in self.__dict__.items())
        return f"{type(self).__name__}({fields})"

    def _refuse(self, name, *_):
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


__all__ = ["replace", "value"]
