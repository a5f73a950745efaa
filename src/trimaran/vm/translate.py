"""Turns a container's configuration for the host into one for the guest: pure, data to data.

What the machine itself gives is dropped (the network, user and host-path namespaces, labels of the host's
security modules, host cgroups); what the guest lacks is brought in (bind mounts become shares).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimaran.errors import SpecError
from trimaran.plan.host import CgroupLayout, HostFacts

RUN = "/run/trimaran"
CGROUPS = "/sys/fs/cgroup"
_ALL_CAPABILITIES = (1 << 41) - 1
_OWN_NAMESPACES = ("pid", "mount", "ipc", "uts", "cgroup", "time")
_DROPPED = (
    "uidMappings",
    "gidMappings",
    "timeOffsets",
    "intelRdt",
    "netDevices",
    "memoryPolicy",
    "mountLabel",
)
# Devices that every guest has too: a bind of the host's is a bind of the guest's.
_GUEST_DEVICES = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "fuse")
)


@dataclass(frozen=True)
class Share:
    """A bind mount: ``source`` on the host is shown at ``target`` in the guest."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Translated:
    """A configuration for the guest, and what it needs of the host. ``network`` is a namespace's path."""

    config: dict[str, Any]
    shares: tuple[Share, ...]
    network: str


def guest_facts(kernel: str) -> HostFacts:
    """What a plan for the guest may rely on; KERNEL is its version."""
    major, minor = (int(part) for part in kernel.split(".")[:2])
    layout = CgroupLayout("v2", {"": CGROUPS}, {"": "/"})
    return HostFacts(capabilities=_ALL_CAPABILITIES, kernel=(major, minor), uid=0, gid=0, cgroups=layout)


def translate(config: Mapping[str, Any], id: str, bundle: str) -> Translated:
    """The configuration of container ID for the guest. Raises :class:`SpecError` for what no guest can do."""
    result = dict(config)
    linux = dict(config.get("linux") or {})
    given = linux.get("namespaces") or []
    network = _network(given)
    linux["namespaces"] = _namespaces(given)
    if _has(given, "time"):
        linux["timeOffsets"] = linux.get("timeOffsets") or {}
    for field in _DROPPED:
        if field != "timeOffsets" or not _has(given, "time"):
            linux.pop(field, None)
    linux["cgroupsPath"] = f"/{id}"
    result["linux"] = linux
    result["root"] = {**(config.get("root") or {}), "path": f"{RUN}/{id}/root"}
    result["mounts"], shares = _mounts(config.get("mounts") or [], id, bundle)
    result.pop("hooks", None)
    if config.get("process"):
        result["process"] = translate_process(config["process"])
    return Translated(result, tuple(shares), network)


def translate_process(process: Mapping[str, Any]) -> dict[str, Any]:
    """A ``process`` object without the labels of the host's security modules."""
    return {key: value for key, value in process.items() if key not in ("apparmorProfile", "selinuxLabel")}


def _has(namespaces: list[Mapping[str, Any]], kind: str) -> bool:
    return any(namespace.get("type") == kind and not namespace.get("path") for namespace in namespaces)


def _namespaces(given: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """New ones stay new; what would be joined on the host is the guest's own. Users are the guest's."""
    result = [{"type": kind} for kind in _OWN_NAMESPACES if kind == "mount" or _has(given, kind)]
    result.append({"type": "network", "path": "/proc/1/ns/net"})
    for kind in ("ipc", "uts"):
        if not _has(given, kind):
            result.append({"type": kind, "path": f"/proc/1/ns/{kind}"})
    return result


def _network(namespaces: list[Mapping[str, Any]]) -> str:
    """Path of the network namespace whose interface the guest takes over; "" for none."""
    for index, namespace in enumerate(namespaces):
        if namespace.get("type") == "network":
            path = namespace.get("path") or ""
            if not isinstance(path, str):
                raise SpecError(f"$.linux.namespaces[{index}].path", "is not a text")
            return path
    raise SpecError(
        "$.linux.namespaces",
        "has no network namespace: a microVM has a network of its own and cannot use the host's",
        hint="choose another network, or another isolation",
    )


def _mounts(
    mounts: list[Mapping[str, Any]], id: str, bundle: str
) -> tuple[list[dict[str, Any]], list[Share]]:
    result: list[dict[str, Any]] = []
    shares: list[Share] = []
    for index, given in enumerate(mounts):
        mount = dict(given)
        options = list(mount.get("options") or [])
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            source = _source(mount, index, bundle)
            if source not in _GUEST_DEVICES:
                target = f"{RUN}/{id}/share/{index}"
                shares.append(Share(source, target, "ro" in options or "rro" in options))
                source = target
            mount["source"] = source
        result.append(mount)
    return result, shares


def _source(mount: Mapping[str, Any], index: int, bundle: str) -> str:
    source = mount.get("source")
    if not isinstance(source, str) or not source:
        raise SpecError(f"$.mounts[{index}].source", "is missing")
    return source if source.startswith("/") else f"{bundle}/{source}"
