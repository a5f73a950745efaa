"""An image as a volume: its layers, read-only, at a place in a container (overlayfs takes two or more)."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trimaran.errors import InvalidInput, NotFound
from trimaran.snapshot.merged import Merged
from trimaran.volume.model import MountRequest
from trimaran.volume.oci import to_oci


def image_mount(request: MountRequest, layers: Sequence[str]) -> dict[str, Any]:
    """The ``mounts`` entry for the image's layer directories, the uppermost first.

    Raises NotFound if the image has no such ``subpath``, InvalidInput if that is a link.
    """
    read_only = replace(request, read_only=True, recursive=False)
    subpath = "/".join(part for part in request.subpath.split("/") if part not in ("", "."))
    with Merged(layers) as merged:
        below = merged.directories(os.fsencode(subpath))
        found = merged.find(os.fsencode(subpath)) if subpath else None
    if found is not None and not stat.S_ISDIR(found[1].st_mode):
        if not stat.S_ISREG(found[1].st_mode):
            raise InvalidInput(f"{subpath} of image {request.source} is neither a file nor a directory")
        return to_oci(read_only, os.path.join(layers[found[0]], subpath))
    if not below:
        raise NotFound(f"image {request.source} has no {subpath or 'layers'}")
    paths = [os.path.join(layers[number], subpath) if subpath else layers[number] for number in below]
    if len(paths) == 1:
        return to_oci(read_only, paths[0])
    options = [*(f"lowerdir+={path}" for path in paths), "ro", *request.flags]
    return {"destination": request.target, "type": "overlay", "source": "overlay", "options": options}
