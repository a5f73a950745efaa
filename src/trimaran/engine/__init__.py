"""The engine: containers' life, over the hulls, the images, the networks and the state database."""

from __future__ import annotations

from trimaran.engine.engine import Engine

__all__ = ["Engine"]
