"""The Container Network Interface: configurations, results and errors, versions 0.1.0 to 1.1.0.

https://www.cni.dev/docs/spec/. Configurations keep the objects of their plugins as they are: a plugin's
keys are its own.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec.record import U32, Record, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""What we speak, oldest first. Before 0.3.0 there are no chains, and results have another form."""

# Spec 1.0, section 1: the network's and the container's name.
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Interface(Record):
    """A link that a plugin made: on the host where ``sandbox`` is absent."""

    name: str
    mac: str = ""
    mtu: U32 = 0
    sandbox: str = ""


class Address(Record):
    """An address given: with its prefix; ``interface`` is an index into the result's list."""

    address: str
    gateway: str = ""
    interface: U32 | None = None


class Route(Record):
    """A route made. ``gw`` absent: the gateway of the address."""

    dst: str
    gw: str = ""


class Dns(Record):
    """What belongs into a resolv.conf."""

    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class Result(Record):
    """What a chain gave a container, in the form of version 0.3.0 and later."""

    cni_version: str = ""
    interfaces: list[Interface] = []
    ips: list[Address] = []
    routes: list[Route] = []
    dns: Dns = Dns()


class PluginError(Record):
    """How a plugin says that it failed (section 5). Codes up to 99 are the specification's."""

    cni_version: str = ""
    code: U32 = 0
    msg: str = ""
    details: str = ""


class NetworkList:
    """A configuration list: plugins that are called one after the other.

    ``versions`` are those that the list offers (``cniVersions``, 1.1) or its one ``cniVersion``.
    """

    __slots__ = ("disable_check", "disable_gc", "name", "plugins", "versions")

    def __init__(self, value: Any, path: str = "$") -> None:
        """Read a list, or the configuration of one plugin (before 1.0). Raises SpecError."""
        if type(value) is not dict:
            raise SpecError(path, f"expected an object, not {shown(value)}")
        if "plugins" not in value and "type" in value:
            plugin = dict(value)
            value = {"name": plugin.get("name"), "cniVersion": plugin.get("cniVersion"), "plugins": [plugin]}
        self.name = check_name(value.get("name"), f"{path}.name")
        self.versions = _versions(value, path)
        self.disable_check = _switch(value, "disableCheck", path)
        self.disable_gc = _switch(value, "disableGC", path)
        self.plugins = _plugins(value.get("plugins"), f"{path}.plugins")

    @property
    def version(self) -> str:
        """The newest version that the list offers and we speak."""
        return self.versions[-1]


def check_name(value: object, path: str) -> str:
    """A network's name or a container's id. Raises SpecError."""
    if type(value) is not str or not value or not set(value) <= _NAME or not value[0].isalnum():
        raise SpecError(path, f"expected letters, digits, _, . and -, not {shown(value)}")
    return value


def _versions(value: dict[str, Any], path: str) -> list[str]:
    offered = value.get("cniVersions") or [value.get("cniVersion") or "0.1.0"]
    if type(offered) is not list or not all(type(version) is str for version in offered):
        raise SpecError(f"{path}.cniVersions", "expected a list of strings")
    known = [version for version in VERSIONS if version in offered]
    if not known:
        what = f"speaks {', '.join(map(str, offered))}; known are {VERSIONS[0]} to {VERSIONS[-1]}"
        raise SpecError(f"{path}.cniVersion", what)
    return known


def _switch(value: dict[str, Any], key: str, path: str) -> bool:
    found: object = value.get(key, False)
    # The specification lets this one be text, for the sake of old libraries.
    if found in ("true", "false"):
        return found == "true"
    if found is True or found is False:
        return found
    raise SpecError(f"{path}.{key}", f"expected true or false, not {shown(found)}")


def _plugins(value: object, path: str) -> list[dict[str, Any]]:
    if type(value) is not list or not value:
        raise SpecError(path, "expected a list of one plugin or more")
    for number, plugin in enumerate(value):
        where = f"{path}[{number}]"
        if type(plugin) is not dict:
            raise SpecError(where, f"expected an object, not {shown(plugin)}")
        kind = plugin.get("type")
        if type(kind) is not str or not kind or "/" in kind or kind in (".", "..") or "\0" in kind:
            raise SpecError(f"{where}.type", f"expected the name of a program, not {shown(kind)}")
        capabilities = plugin.get("capabilities", {})
        if type(capabilities) is not dict:
            raise SpecError(f"{where}.capabilities", f"expected an object, not {shown(capabilities)}")
    return value


def parse_result(value: object) -> Result:
    """A result of any version, in the newest form. Raises SpecError."""
    if type(value) is dict and ("ip4" in value or "ip6" in value):
        value = _modern(value)
    return Result.parse(value)


def _modern(old: dict[str, Any]) -> dict[str, Any]:
    """The form of 0.1.0 and 0.2.0, with ``ip4`` and ``ip6``, in that of 0.3.0."""
    ips: list[object] = []
    routes: list[object] = []
    for key in ("ip4", "ip6"):
        part = old.get(key)
        if type(part) is dict:
            ips.append({"address": part.get("ip"), "gateway": part.get("gateway") or ""})
            found = part.get("routes") or []
            routes += found if type(found) is list else [found]
    return {"cniVersion": old.get("cniVersion", ""), "ips": ips, "routes": routes, "dns": old.get("dns", {})}


def at_least(version: str, other: str) -> bool:
    """Whether a version of ours is the other one or newer."""
    return VERSIONS.index(version) >= VERSIONS.index(other)
