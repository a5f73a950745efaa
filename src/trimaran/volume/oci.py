"""A mount request, with its source settled, as a mount of the OCI configuration. Pure.

runtime-spec config.md, "Mounts"; the options are those of mount_setattr(2) by their names there.
"""

from __future__ import annotations

from typing import Any

from trimaran.volume.model import MountRequest


def to_oci(request: MountRequest, source: str) -> dict[str, Any]:
    """The ``mounts`` entry. ``source`` is the path on the host that was settled; a tmpfs needs none."""
    if request.kind == "tmpfs":
        return _tmpfs(request)
    options = ["rbind" if request.recursive else "bind", request.propagation or "rprivate"]
    if request.read_only:
        options.append("rro" if request.recursive and request.recursive_read_only else "ro")
    else:
        options.append("rw")
    mount: dict[str, Any] = {"destination": request.target, "type": "bind", "source": source}
    if request.idmap is not None:
        options.append("ridmap" if request.idmap.recursive else "idmap")
        if request.idmap.uids:
            mount["uidMappings"] = _rows(request.idmap.uids)
            mount["gidMappings"] = _rows(request.idmap.gids)
    mount["options"] = [*options, *request.flags]
    return mount


def _rows(ranges: tuple[tuple[int, int, int], ...]) -> list[dict[str, int]]:
    # An id-mapped mount reads its user namespace the other way round: what is on disk is inside.
    return [{"containerID": disk, "hostID": seen, "size": size} for disk, seen, size in ranges]


def _tmpfs(request: MountRequest) -> dict[str, Any]:
    options = [*(request.flags or ("nosuid", "nodev", "noexec")), "ro" if request.read_only else "rw"]
    if request.size:
        options.append(f"size={request.size}")
    options.append(f"mode={0o1777 if request.mode is None else request.mode:o}")
    options += [f"{key}={value}" for key, value in request.options.items()]
    return {"destination": request.target, "type": "tmpfs", "source": "tmpfs", "options": options}


def special_to_oci(request: MountRequest, options: dict[str, str]) -> dict[str, Any]:
    """The entry for a volume that is a file system of its own (driver options type, device and o).

    The container mounts it itself, so it is gone with the container's mounts.
    """
    chosen = [option for option in options.get("o", "").split(",") if option]
    if request.read_only:
        chosen.append("ro")
    return {
        "destination": request.target,
        "type": options.get("type", "none"),
        "source": options.get("device", options.get("type", "none")),
        "options": [*chosen, *request.flags],
    }
