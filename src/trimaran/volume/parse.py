"""The command line's mount syntax, docker's ``-v``, ``--mount`` and ``--tmpfs``, to data. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from trimaran.errors import InvalidInput
from trimaran.volume.model import IdMap, IdRange, MountRequest, Propagation

_PROPAGATION = frozenset(get_args(Propagation)) - {""}
_FLAGS = frozenset(
    ("noexec", "exec", "nosuid", "suid", "nodev", "dev", "noatime", "relatime", "strictatime", "nodiratime")
    + ("nosymfollow", "sync", "dirsync", "lazytime")
)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_volume(text: str) -> MountRequest:
    """A ``-v`` value, ``[SOURCE:]TARGET[:OPTION,...]``. Raises InvalidInput.

    A source with a slash, or that begins with a dot, is a path of the host; another is a volume's name.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise _bad("-v", text, "write [SOURCE:]TARGET[:OPTION,...]")
    if len(parts) == 1:
        return MountRequest("volume", checked_target(text, "-v", parts[0]))
    source, target = parts[:2]
    kind = "bind" if "/" in source or source.startswith(".") else "volume"
    request = MountRequest(
        kind,  # type: ignore[arg-type]
        checked_target(text, "-v", target),
        source if kind == "bind" else check_volume_name(source),
        create_source=kind == "bind",
    )
    for option in parts[2].split(",") if len(parts) == 3 else ():
        request = _volume_option(request, text, option)
    return request


def _volume_option(request: MountRequest, text: str, option: str) -> MountRequest:
    changes: dict[str, dict[str, Any]] = {
        "ro": {"read_only": True},
        "rro": {"read_only": True},
        "rw": {"read_only": False},
        "z": {"relabel": "shared"},
        "Z": {"relabel": "private"},
        "nocopy": {"copy": False},
        "copy": {"copy": True},
        "bind": {"recursive": False},
        "rbind": {"recursive": True},
        # What docker takes and does nothing with, on Linux.
        **{key: {} for key in ("consistent", "cached", "delegated", "default")},
    }
    if option in changes:
        return replace(request, **changes[option])
    if option in _PROPAGATION and request.kind == "bind":
        return replace(request, propagation=option)  # type: ignore[arg-type]
    if option in _FLAGS:
        return replace(request, flags=(*request.flags, option))
    if option == "idmap" or option.startswith("idmap="):
        return replace(request, idmap=_idmap(text, option.partition("=")[2]))
    raise _bad("-v", text, f"unknown option {option!r}")


def parse_mount(text: str) -> MountRequest:
    """A ``--mount`` value, ``type=TYPE,target=PATH,key=value,...``, a line of CSV. Raises InvalidInput."""
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise _bad("--mount", text, str(error)) from None
    values: dict[str, Any] = {"labels": {}, "options": {}}
    kind = "volume"
    for item in rows[0] if rows else []:
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        if key == "type":
            kind = value
        else:
            values |= _mount_key(text, key, value if equals else None, values)
    if kind not in ("volume", "bind", "tmpfs", "image"):
        raise _bad("--mount", text, f"unknown type {kind!r}; known are bind, volume, tmpfs and image")
    request = MountRequest(kind=kind, **{"target": "", **values})  # type: ignore[arg-type]
    _check_mount(text, request)
    return request


def _mount_key(text: str, key: str, value: str | None, values: dict[str, Any]) -> dict[str, Any]:
    if key in ("readonly", "ro", "rw"):
        return {"read_only": _switch(text, key, value) != (key == "rw")}
    if key in ("volume-nocopy", "bind-nonrecursive"):
        return {"copy" if key == "volume-nocopy" else "recursive": not _switch(text, key, value)}
    if key == "idmap":
        return {"idmap": _idmap(text, value or "")}
    if value is None:
        raise _bad("--mount", text, f"{key!r} needs a value")
    if key in ("source", "src"):
        return {"source": value}
    if key in ("target", "destination", "dst"):
        return {"target": checked_target(text, "--mount", value)}
    if key in ("volume-subpath", "image-subpath", "subpath"):
        return {"subpath": checked_subpath(value)}
    if key == "bind-propagation" and value in _PROPAGATION:
        return {"propagation": value}
    if key == "bind-recursive":
        return _bind_recursive(text, value)
    if key == "tmpfs-size":
        return {"size": parse_size(value)}
    if key == "tmpfs-mode":
        return {"mode": _mode(text, value)}
    if key == "volume-driver" and value == "local":
        return {"driver": value}
    if key in ("volume-label", "volume-opt"):
        name, _, content = value.partition("=")
        which = "labels" if key == "volume-label" else "options"
        return {which: {**values[which], name: content}}
    if key == "consistency":
        return {}
    raise _bad("--mount", text, f"cannot use {key}={value}")


def _bind_recursive(text: str, value: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {
        "enabled": {"recursive": True},
        "disabled": {"recursive": False},
        "writable": {"recursive": True, "recursive_read_only": False},
        "readonly": {"recursive": True, "recursive_read_only": True},
    }
    if value not in known:
        raise _bad("--mount", text, f"bind-recursive is one of {', '.join(known)}")
    return known[value]


def _check_mount(text: str, request: MountRequest) -> None:
    if not request.target:
        raise _bad("--mount", text, "it needs a target")
    if request.kind in ("bind", "image") and not request.source:
        raise _bad("--mount", text, f"a mount of type {request.kind} needs a source")
    if request.kind == "tmpfs" and request.source:
        raise _bad("--mount", text, "a tmpfs has no source")
    if request.kind == "volume" and request.source:
        check_volume_name(request.source)
    if request.kind != "tmpfs" and (request.size or request.mode is not None):
        raise _bad("--mount", text, "tmpfs-size and tmpfs-mode are for type=tmpfs")
    if request.subpath and request.kind not in ("volume", "image"):
        raise _bad("--mount", text, "a subpath is for type=volume and type=image")
    if request.propagation and request.kind != "bind":
        raise _bad("--mount", text, "bind-propagation is for type=bind")


def parse_tmpfs(text: str) -> MountRequest:
    """A ``--tmpfs`` value, ``PATH[:OPTION,...]`` (tmpfs(5)). Raises InvalidInput."""
    path, _, options = text.partition(":")
    request = MountRequest(
        "tmpfs", checked_target(text, "--tmpfs", path), flags=("noexec", "nosuid", "nodev")
    )
    own: dict[str, str] = {}
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if key == "size" and equals:
            request = replace(request, size=parse_size(value))
        elif key == "mode" and equals:
            request = replace(request, mode=_mode(text, value))
        elif key in ("uid", "gid", "nr_inodes", "nr_blocks", "huge") and equals and value.isalnum():
            own[key] = value
        elif option in ("ro", "rw"):
            request = replace(request, read_only=option == "ro")
        elif option in _FLAGS:
            opposite = option.removeprefix("no") if option.startswith("no") else f"no{option}"
            request = replace(
                request, flags=(*(f for f in request.flags if f not in (opposite, option)), option)
            )
        else:
            raise _bad("--tmpfs", text, f"unknown option {option!r}")
    return replace(request, options=own)


def parse_size(text: str) -> int:
    """Bytes from text such as ``64m``. Raises InvalidInput."""
    digits = text.rstrip("bBkKmMgGtTi")
    unit = text[len(digits) :].lower().removesuffix("b").removesuffix("i")
    if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS:
        raise InvalidInput(f"{text!r} is no size", hint="write a number of bytes, or like 64k, 64m, 2g")
    return int(digits) * _UNITS[unit]


def _mode(text: str, value: str) -> int:
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise _bad("tmpfs", text, f"{value!r} is no file mode in octal")
    return mode


def _switch(text: str, key: str, value: str | None) -> bool:
    if value is None or value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise _bad("--mount", text, f"{key} is true or false")


def _idmap(text: str, value: str) -> IdMap:
    """``uids=DISK-SEEN-COUNT#...;gids=...`` (podman's order), or nothing for the user namespace's."""
    rows: dict[str, tuple[IdRange, ...]] = {}
    for part in filter(None, value.split(";")):
        name, _, ranges = part.partition("=")
        numbers = [triple.removeprefix("@").split("-") for triple in ranges.split("#")]
        if name not in ("uids", "gids") or not all(len(n) == 3 and all(map(str.isdigit, n)) for n in numbers):
            raise _bad("idmap", text, "write uids=DISK-SEEN-COUNT#...;gids=DISK-SEEN-COUNT#...")
        rows[name] = tuple((int(a), int(b), int(c)) for a, b, c in numbers)
    if rows and len(rows) != 2:
        raise _bad("idmap", text, "it needs both uids and gids")
    return IdMap(rows.get("uids", ()), rows.get("gids", ()))


def checked_target(text: str, option: str, path: str) -> str:
    """A path in the container. Raises InvalidInput unless it is absolute, and more than the root."""
    if not path.startswith("/") or "\0" in path:
        raise _bad(option, text, f"the target {path!r} is not an absolute path")
    if not [part for part in path.split("/") if part not in ("", ".")]:
        raise _bad(option, text, "the target cannot be the root directory")
    return path


def checked_subpath(path: str) -> str:
    """A path inside a volume. Raises InvalidInput unless it is relative and has no ``..``."""
    if path.startswith("/") or ".." in path.split("/") or not path or "\0" in path:
        raise InvalidInput(f"the subpath {path!r} leaves its volume", hint="give a relative path without ..")
    return path


def check_volume_name(name: str) -> str:
    """Raises InvalidInput unless a volume can have the name."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    if not 1 < len(name) <= 255 or not set(name) <= allowed or name[0] in "_.-":
        raise InvalidInput(
            f"{name!r} is no name for a volume",
            why="2 to 255 letters, digits, _, . and -, and first a letter or digit",
            hint="begin a path of the host with / or ./",
        )
    return name


def _bad(option: str, text: str, why: str) -> InvalidInput:
    return InvalidInput(f"cannot use {option} {text!r}", why=why)
