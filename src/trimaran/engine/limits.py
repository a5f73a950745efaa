"""Limits and devices: from the options to an OCI ``resources`` object. Pure."""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from trimaran.engine.options import Options

PERIOD_US = 100_000
MIN_MEMORY = 6 << 20
_RLIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)
# Character devices that every container has: null, zero, full, random, urandom, tty, console, ptmx, pts.
_DEFAULT_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


def resources(options: Options) -> dict[str, Any]:
    """What is limited; nothing for what is not. Raises :class:`InvalidInput`."""
    result: dict[str, Any] = {}
    for name, found in (("memory", _memory(options)), ("cpu", _cpu(options))):
        if found:
            result[name] = found
    if options.pids_limit:
        result["pids"] = {"limit": options.pids_limit}
    if options.blkio_weight:
        result["blockIO"] = {"weight": options.blkio_weight}
    return result


def _memory(options: Options) -> dict[str, Any]:
    limit, swap = options.memory, options.memory_swap
    found: dict[str, Any] = {}
    if limit:
        if limit < MIN_MEMORY:
            raise InvalidInput(f"a memory limit of {limit} bytes is too low", hint="6m is the least")
        found["limit"] = limit
        # As docker: as much swap as memory, unless it is said.
        found["swap"] = swap or limit * 2
        if 0 < found["swap"] < limit:
            raise InvalidInput("memory_swap is less than memory", hint="it counts both: memory and swap")
    elif swap > 0:
        raise InvalidInput("memory_swap needs memory", hint="limit both")
    if options.memory_reservation:
        found["reservation"] = options.memory_reservation
    if options.memory_swappiness >= 0:
        found["swappiness"] = options.memory_swappiness
    if options.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.cpus:
        if options.cpu_quota or options.cpu_period:
            raise InvalidInput("cpus contradicts cpu_quota and cpu_period", hint="give one or the other")
        found["period"] = PERIOD_US
        found["quota"] = round(options.cpus * PERIOD_US)
    for key, value in (
        ("quota", options.cpu_quota),
        ("period", options.cpu_period),
        ("shares", options.cpu_shares),
        ("cpus", options.cpuset_cpus),
        ("mems", options.cpuset_mems),
    ):
        if value:
            found[key] = value
    return found


def rlimits(given: Sequence[str]) -> list[dict[str, Any]]:
    """``NAME=SOFT[:HARD]``, -1 for no limit."""
    found = []
    for entry in given:
        name, _, value = entry.partition("=")
        soft, _, hard = value.partition(":")
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError:
            raise InvalidInput(f"'{entry}' is no ulimit", hint="such as nofile=1024:2048") from None
        if name not in _RLIMITS:
            raise InvalidInput(f"'{name}' is no ulimit", why=f"one of {', '.join(_RLIMITS)}")
        unlimited = (1 << 64) - 1
        soft_limit, hard_limit = (unlimited if n < 0 else n for n in (low, high))
        if soft_limit > hard_limit:
            raise InvalidInput(f"'{entry}': the soft limit is above the hard one")
        found.append({"type": f"RLIMIT_{name.upper()}", "soft": soft_limit, "hard": hard_limit})
    return found


def device_rules(options: Options, devices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The device rules: nothing, but making nodes, the usual devices, and those that were asked for."""
    if options.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    for major, minor in _DEFAULT_DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    for device in devices:
        numbers = {"major": device["major"], "minor": device["minor"]}
        rules.append(
            {"allow": True, "type": device["type"], **numbers, "access": device.get("access", "rwm")}
        )
    return rules + [_rule(entry) for entry in options.device_cgroup_rules]


def _rule(entry: str) -> dict[str, Any]:
    """``c 1:3 mr``, ``a *:* rwm``."""
    try:
        kind, numbers, access = entry.split()
        major, minor = numbers.split(":")
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        for key, value in (("major", major), ("minor", minor)):
            if value != "*":
                rule[key] = int(value)
    except ValueError:
        raise InvalidInput(f"'{entry}' is no device rule", hint="such as 'c 10:200 rwm'") from None
    if kind not in ("a", "b", "c") or not set(access) <= set("rwm"):
        raise InvalidInput(f"'{entry}' is no device rule", hint="such as 'c 10:200 rwm'")
    return rule
