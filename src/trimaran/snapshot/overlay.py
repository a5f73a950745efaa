"""The kernel's overlayfs, which the hull mounts itself inside the container's mount namespace.

An ordinary user's overlay is mounted in a user namespace with the option ``userxattr``; his layers mark
opaque directories by ``user.overlay.opaque`` (Documentation/filesystems/overlayfs, "User xattr").
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from trimaran.errors import Unsupported
from trimaran.linux import mounts
from trimaran.snapshot.directories import DirectorySnapshotter

# A renamed directory or a file without its content would make an upper directory that only this kernel,
# with these settings, can read.
OPTIONS = ("redirect_dir=off", "metacopy=off", "index=off")


class OverlaySnapshotter(DirectorySnapshotter):
    """Overlay of directories, for root and for ordinary users."""

    name = "overlay"

    def _mount(self, lower: Sequence[str], upper: str | None = None, work: str | None = None) -> int:
        if os.geteuid() != 0:
            raise Unsupported(
                "an ordinary user cannot mount an image for the host to see",
                hint="use the snapshotter fuse-overlayfs, or work inside a container",
            )
        attributes = 0 if upper else mounts.MOUNT_ATTR_RDONLY
        # Without an upper directory, overlayfs wants two layers at least.
        layers = lower if upper or len(lower) > 1 else [*lower, self.empty_layer()]
        return mounts.overlay(layers, upper, work, OPTIONS, attributes)
