"""The engine: containers' life, over the hulls, the images, the networks and the state database."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine.engine import Engine as Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> object:
    # Not imported by those who want one of the small modules only.
    if name == "Engine":
        from trimaran.engine.engine import Engine

        return Engine
    raise AttributeError(f"module 'trimaran.engine' has no attribute {name!r}")
