"""Trimaran: a container engine with three isolations, as a library, a command and servers."""

from __future__ import annotations

from trimaran._version import VERSION as __version__

__all__ = ["__version__"]
