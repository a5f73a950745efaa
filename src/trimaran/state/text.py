"""JSON for columns of the database, without the json package: the import costs more than the work."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from json import dumps, loads
    from typing import Any
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
    except ImportError:
        from json import dumps, loads
    else:

        class _Rules:
            """What the scanner asks of its context."""

            strict = True
            object_hook = object_pairs_hook = None
            parse_float = parse_constant = float
            parse_int = int
            memo: dict[str, Any] = {}

        _scan = make_scanner(_Rules())

        def _refuse(value: object) -> None:
            raise TypeError(f"{type(value).__name__} is not JSON")

        _encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)

        def loads(text: str) -> Any:
            """The value of a JSON text that :func:`dumps` made."""
            return _scan(text, 0)[0]

        def dumps(value: object) -> str:
            """JSON text, in ASCII."""
            if isinstance(value, str):
                return encode_basestring_ascii(value)
            return "".join(_encode(value, 0))


__all__ = ["dumps", "loads"]
