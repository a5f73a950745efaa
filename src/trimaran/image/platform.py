"""Platforms: ``os/architecture[/variant]``, named and matched as in the OCI image index."""

from __future__ import annotations

import os
import sys

from trimaran.errors import InvalidInput

_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "arm": ("arm", "v7"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


class Platform:
    """An operating system and processor. ``variant`` is empty where it makes no difference."""

    __slots__ = ("architecture", "os", "os_version", "variant")

    def __init__(self, os: str, architecture: str, variant: str = "", os_version: str = "") -> None:
        self.os = os
        self.architecture = architecture
        self.variant = variant
        self.os_version = os_version
        if architecture == "arm64" and not variant:
            self.variant = "v8"

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine."""
        machine = os.uname().machine if hasattr(os, "uname") else "x86_64"
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        return cls("windows" if sys.platform == "win32" else "linux", architecture, variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From ``os/arch/variant``, ``os/arch``, ``arch`` or ``os``; the rest is this machine's.

        Raises :class:`~trimaran.errors.InvalidInput`.
        """
        parts = text.lower().split("/")
        if len(parts) > 3 or not all(part and _WORD.issuperset(part) for part in parts):
            raise InvalidInput(
                f"invalid platform {text!r}", hint="write it as os/architecture[/variant], as linux/arm64/v8"
            )
        host = cls.host()
        if len(parts) == 1:
            if parts[0] in _SYSTEMS:
                return cls(parts[0], host.architecture, host.variant)
            parts.insert(0, host.os)
        architecture, variant = _MACHINES.get(parts[1], (parts[1], ""))
        return cls(parts[0], architecture, parts[2] if len(parts) == 3 else variant)

    def rank(self, wanted: Platform) -> int:
        """How well this platform serves the wanted one: 0 is best, -1 not at all.

        A 32-bit Arm machine also runs lower variants; a platform that states no variant runs anywhere.
        """
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return -1
        if self.variant == wanted.variant:
            return 0
        if not self.variant or not wanted.variant:
            return 1
        mine, theirs = self.variant.lstrip("v"), wanted.variant.lstrip("v")
        if self.architecture == "arm" and mine.isdigit() and theirs.isdigit() and int(mine) < int(theirs):
            return 1 + int(theirs) - int(mine)
        return -1

    def __str__(self) -> str:
        variant = "" if (self.architecture, self.variant) == ("arm64", "v8") else self.variant
        return f"{self.os}/{self.architecture}" + (f"/{variant}" if variant else "")

    def __repr__(self) -> str:
        return f"Platform({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))
