"""The hulls by name, imported when one is first used."""

from __future__ import annotations

import os

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.engine.paths import Paths
    from trimaran.isolation import Isolation

NAMES = ("native", "sandbox", "vm", "oci:PROGRAM")


class Isolations:
    """The hulls of one root directory."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._made: dict[str, Isolation] = {}

    def get(self, name: str) -> Isolation:
        """The hull ``native``, ``sandbox`` or ``vm``, or ``oci:PROGRAM``: a foreign OCI runtime.

        Raises :class:`InvalidInput` for another name.
        """
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._make(name)
        return found

    def _make(self, name: str) -> Isolation:
        state = os.path.join(self._paths.run, name.partition(":")[0])
        if name == "native":
            from trimaran.runtime.hull import NativeIsolation

            return NativeIsolation(state)
        if name == "sandbox":
            from trimaran.sandbox.hull import SandboxIsolation

            return SandboxIsolation(state)
        if name == "vm":
            from trimaran.vm.hull import VmIsolation

            return VmIsolation(state)
        kind, _, program = name.partition(":")
        if kind == "oci" and program:
            from trimaran.engine.foreign import ForeignIsolation

            return ForeignIsolation(state, program)
        raise InvalidInput(f"there is no isolation '{name}'", hint=f"one of {', '.join(NAMES)}")
