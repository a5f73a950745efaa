"""Snapshots: unpacked layers, and root file systems made of them, behind one interface.

:mod:`trimaran.snapshot.base` is the contract, :func:`snapshotter` picks an implementation.
"""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.snapshot.base import Change, Draft, LayerFacts, Snapshotter, Usage
from trimaran.snapshot.register import AREA
from trimaran.state import Database

DRIVERS = ("overlay", "erofs", "fuse-overlayfs", "copy")

__all__ = ["AREA", "DRIVERS", "Change", "Draft", "LayerFacts", "Snapshotter", "Usage", "snapshotter"]


def snapshotter(root: str, database: Database, driver: str = "overlay") -> Snapshotter:
    """The snapshotter of this name on a root directory. The database was opened with :data:`AREA`.

    Raises InvalidInput for an unknown name, Unsupported if this host lacks what it needs.
    """
    if driver == "overlay":
        from trimaran.snapshot.overlay import OverlaySnapshotter

        return OverlaySnapshotter(root, database)
    if driver == "erofs":
        from trimaran.snapshot.erofs import ErofsSnapshotter

        return ErofsSnapshotter(root, database)
    if driver == "fuse-overlayfs":
        from trimaran.snapshot.fuse import FuseOverlaySnapshotter

        return FuseOverlaySnapshotter(root, database)
    if driver == "copy":
        from trimaran.snapshot.copied import CopySnapshotter

        return CopySnapshotter(root, database)
    raise InvalidInput(f"no snapshotter is called {driver!r}", hint=f"choose one of {', '.join(DRIVERS)}")
