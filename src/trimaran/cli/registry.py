"""Every command by name: its module and its one-line summary, so that help imports none of them.

A name of two words is a verb of a noun (``network create``). A test holds table and modules together.
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "completion": ("completion", "Print the completion script of a shell"),
    "version": ("version", "Say which version this is, and what it finds on this host"),
}

ALIASES: dict[str, str] = {}
"""Other names: the left one does what the right one does."""

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (("Other", ("completion", "version")),)
"""The one-word commands in the order of ``trimaran --help``."""

GROUPS: dict[str, str] = {}
"""The nouns of two-word commands, with what they are about."""


def find(words: list[str]) -> tuple[str, list[str]] | None:
    """The full name of the command that ``words`` begin with, and the words after it."""
    for count in (2, 1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if len(words) >= count and name in COMMANDS:
            return name, words[count:]
    return None
