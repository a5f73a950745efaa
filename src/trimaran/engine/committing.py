"""An image of what a container has changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimaran.errors import Conflict
from trimaran.image.images import Images

if TYPE_CHECKING:
    from trimaran.engine.core import Core
    from trimaran.image.model import Image


def commit(
    core: Core,
    id: str,
    name: str,
    *,
    config: Mapping[str, Any],
    message: str = "",
    author: str = "",
    pause: bool = True,
) -> Image:
    """Make an image of a container's image and changes; a running container is frozen meanwhile.

    ``config`` overrides keys of the image's run configuration. Raises Conflict for a container whose root
    cannot be written.
    """
    from trimaran.engine.container import Container

    record = core.containers.find(id)
    upper = core.snapshots.root(record.id).upper
    if upper is None:
        raise Conflict(f"cannot commit {record.name}", why="its root file system is not writable")
    container = Container(core, record.id)
    freeze = pause and container.state == "running"
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if freeze:
        container.pause()
    try:
        return Images(core.images, core.snapshots).commit(
            core.images.get(record.image_digest), fd, name, config=config, message=message, author=author
        )
    finally:
        if freeze:
            container.unpause()
        os.close(fd)
