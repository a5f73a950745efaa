"""One limit: the text for a file of a controller, and the field it comes from."""

from __future__ import annotations


class Value:
    """``optional``: kernels that lack the file enforce it elsewhere or not at all.

    ``other`` is a (file, text) for kernels that lack the first file.
    """

    __slots__ = ("controller", "file", "optional", "other", "text", "why")

    def __init__(
        self,
        controller: str,
        file: str,
        text: str,
        why: str,
        *,
        optional: bool = False,
        other: tuple[str, str] | None = None,
    ) -> None:
        self.controller = controller
        self.file = file
        self.text = text
        self.why = why
        self.optional = optional
        self.other = other


def limit_text(limit: int) -> str:
    """A number, or ``max`` for none, which a configuration writes as -1."""
    return str(limit) if limit >= 0 else "max"
