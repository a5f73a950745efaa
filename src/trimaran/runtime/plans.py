"""Compiled containers, used again for others that differ in their ids alone.

A program that runs one image again and again compiles the same plan each time, but for the id in the host
name, paths and cgroups. So a plan is compiled for a mark in the id's place, of the same length (lengths are
part of the wire form), and the id is put there for each container.
"""

from __future__ import annotations

import os

from trimaran.errors import TrimaranError
from trimaran.plan import wire
from trimaran.plan.build import Overlay
from trimaran.runtime import creating, prepare
from trimaran.spec import jsonio, validate
from trimaran.spec.runtime import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.isolation import CreateRequest, Root
    from trimaran.plan.operations import Plan
    from trimaran.runtime.prepare import Prepared

_KEPT = 32
_ID, _SHORT = 64, 12
"""Lengths of the ids that the engine gives, and of their short form, which is the usual host name."""


class Ready:
    """A container ready to be launched: its plan, the plan's wire form, and what to remove with it."""

    __slots__ = ("plan", "prepared", "wire")

    def __init__(self, plan: Plan, wire: bytes, prepared: Prepared) -> None:
        self.plan = plan
        self.wire = wire
        self.prepared = prepared


class Plans:
    """The plans compiled last. Not bound to a state root."""

    def __init__(self) -> None:
        # Random, so that no configuration has it in it by chance or on purpose.
        self._mark = os.urandom(_ID // 2).hex()
        self._kept: dict[tuple[str, ...], Ready] = {}

    def get(self, request: CreateRequest, text: str) -> Ready:
        """The container of a request, whose configuration is ``text`` as JSON.

        Raises SpecError and what else compiling raises.
        """
        id = request.id
        if len(id) != _ID:
            return _compile(id, request.bundle, text, _overlay(request.root, request.state))
        root = request.root
        parts = (
            text,
            request.bundle,
            request.state,
            root.path or "",
            root.upper or "",
            root.work or "",
            "\0".join(root.options),
            "\0".join(root.lower),
        )
        key = tuple(_swap(part, id, self._mark) for part in parts)
        found = self._kept.get(key)
        if found is None:
            found = self._compile(request, text, key)
            if found is None:
                return _compile(id, request.bundle, text, _overlay(root, request.state))
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = found
        return self._for(found, id)

    def _compile(self, request: CreateRequest, text: str, key: tuple[str, ...]) -> Ready | None:
        """The plan for the mark; None if that fails: the true request then says what is wrong with it."""
        marked, bundle, state, path, upper, work, _, lower = key
        overlay = None
        if not path:
            options = list(request.root.options)
            overlay = Overlay(lower.split("\0"), upper, work, state, options)
        try:
            return _compile(self._mark, bundle, marked, overlay)
        except TrimaranError:
            return None

    def _for(self, ready: Ready, id: str) -> Ready:
        data = ready.wire.replace(self._mark.encode(), id.encode())
        data = data.replace(self._mark[:_SHORT].encode(), id[:_SHORT].encode())
        old = ready.prepared
        prepared = prepare.Prepared(
            old.plan,
            _swap(old.rootfs, self._mark, id),
            [_swap(path, self._mark, id) for path in old.cgroups],
            _swap(old.oom, self._mark, id),
            [_swap(path, self._mark, id) for path in old.resctrl],
        )
        for directory in prepared.cgroups:
            prepare.check_empty(directory)
        return Ready(ready.plan, data, prepared)


def _swap(text: str, old: str, new: str) -> str:
    return text.replace(old, new).replace(old[:_SHORT], new[:_SHORT])


def _compile(id: str, bundle: str, text: str, overlay: Overlay | None) -> Ready:
    config = Config.parse(jsonio.parse(text.encode()))
    validate.check(config)
    prepared = prepare.container(id, bundle, config, creating.CreateOptions(overlay=overlay))
    return Ready(prepared.plan, wire.encode(prepared.plan), prepared)


def _overlay(root: Root, state: str) -> Overlay | None:
    """The root's layers; the monitor's directory is at hand for kernels that must mount them somewhere."""
    if root.path is not None:
        return None
    return Overlay(list(root.lower), root.upper or "", root.work or "", state, list(root.options))
