"""Images in docker's words: what ``images``, ``history`` and ``image inspect`` print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from trimaran.cli.options import UsageError
from trimaran.cli.output import ago, size
from trimaran.image.reference import Reference

if TYPE_CHECKING:
    from trimaran.cli.context import Context
    from trimaran.image.gc import Collected
    from trimaran.image.images import Images
    from trimaran.image.model import Image

NONE = "<none>"


def created(image: Image) -> float | None:
    """When an image was made, in seconds since the epoch; None if it does not say."""
    return seconds(image.config.get("created"))


def seconds(text: object) -> float | None:
    """A time of RFC 3339 in seconds since the epoch."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def since(moment: float | None) -> str:
    """How long ago that was."""
    from time import time

    return "N/A" if moment is None else f"{ago(time() - moment)} ago"


def row(images: Images, image: Image, *, truncate: bool) -> dict[str, Any]:
    """An image for a table."""
    reference = Reference.parse(image.reference) if image.reference else None
    digits = image.id.partition(":")[2]
    return {
        "Repository": reference.familiar_repository if reference else NONE,
        "Tag": (reference.tag or NONE) if reference else NONE,
        "ID": digits[:12] if truncate else image.id,
        "CreatedSince": since(created(image)),
        "CreatedAt": image.config.get("created", ""),
        "Size": size(image.size),
        "Digest": image.target,
        "Platform": str(image.platform),
        "Layers": len(image.layers),
        "Containers": len(images.store.holders(image.digest)),
    }


def matches(images: Images, image: Image, filters: Sequence[str], name: str | None) -> bool:
    """Whether an image passes a name and docker's ``--filter`` values."""
    if name and not _named(image, name):
        return False
    for text in filters:
        key, _, value = text.partition("=")
        if key == "reference":
            good = _named(image, value)
        elif key == "dangling":
            good = (not image.reference) == (value.lower() in ("true", "1"))
        elif key == "label":
            good = _labelled(image, value)
        elif key in ("before", "since"):
            mine, other = created(image) or 0.0, created(images.get(value)) or 0.0
            good = mine < other if key == "before" else mine > other
        else:
            raise UsageError(
                f"unknown filter {key!r}", hint="known: reference, dangling, label, before, since"
            )
        if not good:
            return False
    return True


def _named(image: Image, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    if not image.reference:
        return False
    reference = Reference.parse(image.reference)
    names = (
        *(reference.familiar, reference.familiar_repository),
        *(str(reference), reference.repository, reference.path.rpartition("/")[2]),
    )
    return any(fnmatchcase(name, pattern) for name in names)


def _labelled(image: Image, text: str) -> bool:
    name, equals, wanted = text.partition("=")
    labels = image.run_config.get("Labels") or {}
    return name in labels and (not equals or labels[name] == wanted)


def history(image: Image, *, truncate: bool) -> list[dict[str, Any]]:
    """How an image was made, the newest step first."""
    layers = list(image.layers)
    rows = []
    for entry in image.config.get("history") or [{} for _ in layers]:
        layer = layers.pop(0) if layers and not entry.get("empty_layer") else None
        by = str(entry.get("created_by") or "")
        rows.append(
            {
                "ID": "<missing>",
                "CreatedSince": since(seconds(entry.get("created"))),
                "CreatedAt": entry.get("created", ""),
                "CreatedBy": by[:44] + "…" if truncate and len(by) > 45 else by,
                "Size": size(layer.size if layer else 0),
                "Comment": entry.get("comment", ""),
            }
        )
    if rows:
        rows[-1]["ID"] = image.id.partition(":")[2][:12] if truncate else image.id
    return rows[::-1]


def document(images: Images, image: Image) -> dict[str, Any]:
    """An image as docker's ``image inspect`` shows it."""
    names = [Reference.parse(name) for name in images.store.names(image.digest)]
    return {
        "Id": image.id,
        "RepoTags": [name.familiar for name in names if name.tag],
        "RepoDigests": sorted({name.with_digest(image.target).familiar for name in names}),
        "Digest": image.digest,
        "MediaType": image.media_type,
        "Created": image.config.get("created", ""),
        "Author": image.config.get("author", ""),
        "Architecture": image.platform.architecture,
        "Variant": image.platform.variant,
        "Os": image.platform.os,
        "Size": image.size,
        "Config": dict(image.run_config),
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Layers": [
            {"Digest": x.digest, "Size": x.size, "MediaType": x.media_type, "ChainID": x.chain_id}
            for x in image.layers
        ],
        "History": image.config.get("history") or [],
    }


def report(context: Context, found: Collected) -> None:
    """Say what was removed."""
    for digest in found.images:
        context.print(f"image {digest}")
    context.print(f"Total reclaimed space: {size(found.bytes)}")


def changes(instructions: Sequence[str], parent: Mapping[str, Any]) -> dict[str, Any]:
    """A run configuration's keys from Dockerfile instructions (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ...)."""
    out: dict[str, Any] = {}
    for text in instructions:
        word, _, rest = text.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        if name in ("CMD", "ENTRYPOINT"):
            out[name.capitalize()] = _program(rest)
        elif name in ("USER", "WORKDIR", "STOPSIGNAL"):
            out[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[name]] = rest
        elif name == "ENV":
            kept = out.get("Env", list(parent.get("Env") or []))
            pairs = _pairs(rest)
            out["Env"] = [x for x in kept if x.partition("=")[0] not in pairs]
            out["Env"] += [f"{key}={value}" for key, value in pairs.items()]
        elif name == "LABEL":
            out["Labels"] = {**out.get("Labels", parent.get("Labels") or {}), **_pairs(rest)}
        elif name in ("EXPOSE", "VOLUME"):
            key = "ExposedPorts" if name == "EXPOSE" else "Volumes"
            words = _program(rest) if rest.startswith("[") else rest.split()
            named = [x if "/" in x or name == "VOLUME" else f"{x}/tcp" for x in words]
            out[key] = {**out.get(key, parent.get(key) or {}), **{x: {} for x in named}}
        else:
            raise UsageError(f"--change {text!r}", why=f"{word!r} cannot be changed so")
    return out


def _program(text: str) -> list[str]:
    from json import loads

    if not text.startswith("["):
        return ["/bin/sh", "-c", text]
    try:
        words = loads(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no JSON list", why=str(error)) from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"{text!r} is no list of strings")
    return words


def _pairs(text: str) -> dict[str, str]:
    from shlex import split

    try:
        words = split(text)
    except ValueError as error:
        raise UsageError(f"cannot read {text!r}", why=str(error)) from error
    if words and "=" not in words[0]:
        return {words[0]: text.partition(" ")[2].strip()}
    return {key: value for key, _, value in (word.partition("=") for word in words)}


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is whole."""
    import os

    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "xb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}", why=error.strerror or "") from error
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
