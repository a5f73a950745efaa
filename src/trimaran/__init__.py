"""Trimaran: a container engine with three isolations, as a library, a command and servers.

with trimaran.Engine() as engine:
    result = engine.run("debian:12", ["cat", "/etc/os-release"])
    print(result.exit_code, result.text)
"""

from __future__ import annotations

from trimaran._version import VERSION as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine.container import Container as Container
    from trimaran.engine.engine import Engine as Engine
    from trimaran.engine.result import CommandFailed as CommandFailed
    from trimaran.engine.result import Result as Result

__all__ = ["CommandFailed", "Container", "Engine", "Result", "__version__"]

# Imported when first used: trimaran-oci and the command's help have no use for the engine.
_PLACES = {
    "Engine": "trimaran.engine.engine",
    "Container": "trimaran.engine.container",
    "Result": "trimaran.engine.result",
    "CommandFailed": "trimaran.engine.result",
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'trimaran' has no attribute {name!r}")
