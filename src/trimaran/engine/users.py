"""Users and groups by the names that an image gives them. Pure: passwd(5), group(5)."""

from __future__ import annotations

from trimaran.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_ID = (1 << 32) - 2
MAX_LINES = 100_000


class User:
    """Who a process runs as."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int = 0, gid: int = 0, groups: Sequence[int] = (), home: str = "") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home

    def as_oci(self) -> dict[str, Any]:
        """The OCI ``process.user`` object."""
        found: dict[str, Any] = {"uid": self.uid, "gid": self.gid}
        if self.groups:
            found["additionalGids"] = list(self.groups)
        return found


def resolve(text: str, extra_groups: Sequence[str], passwd: str, group: str) -> User:
    """``USER[:GROUP]``, each a name or a number; "" is root.

    Numbers need not be known to the files. Raises :class:`NotFound` for an unknown name,
    :class:`InvalidInput` for a number outside 0 to 2^32 - 2.
    """
    name, colon, group_name = text.partition(":")
    entry = _user(name or "0", passwd)
    uid = int(entry[2]) if entry else _number(name, "user")
    gid = int(entry[3]) if entry else 0
    groups: list[int] = []
    if colon and group_name:
        gid = _group(group_name, group)
    elif entry:
        groups = [int(g[2]) for g in _entries(group, 4) if entry[0] in g[3].split(",") and g[2].isdigit()]
    groups += [_group(extra, group) for extra in extra_groups]
    for number in (uid, gid, *groups):
        _check(number, text)
    home = entry[5] if entry and len(entry) > 5 else "/"
    return User(uid, gid, sorted(set(groups)), "/root" if uid == 0 and not entry else home)


def _entries(text: str, fields: int) -> list[list[str]]:
    return [parts for line in text.split("\n")[:MAX_LINES] if len(parts := line.split(":")) >= fields]


def _user(name: str, passwd: str) -> list[str] | None:
    for fields in _entries(passwd, 4):
        if (fields[0] == name or fields[2] == name) and fields[2].isdigit() and fields[3].isdigit():
            return fields
    return None


def _group(name: str, group: str) -> int:
    for fields in _entries(group, 3):
        if fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    return _number(name, "group")


def _number(name: str, kind: str) -> int:
    if not name:
        return 0
    if not (name.isascii() and name.isdigit()):
        raise NotFound(f"the image has no {kind} '{name}'", hint="give its number")
    return int(name)


def _check(number: int, text: str) -> None:
    if not 0 <= number <= MAX_ID:
        raise InvalidInput(f"'{text}' names a number that is no user or group", why=f"{number}")
