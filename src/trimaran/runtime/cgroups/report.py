"""What a container uses, in the form of runc's events (what ``runc events --stats`` prints as "data").

Times in nanoseconds, sizes in bytes; ``max`` gives the largest number, an absent controller zero, as there.
"""

from __future__ import annotations

import os

from trimaran.runtime.cgroups.control import find
from trimaran.runtime.cgroups.stats import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_LIMIT = (1 << 64) - 1
_MICROSECOND = 1000


def stats(directories: list[str], pid: int) -> dict[str, object]:
    """All that the cgroups know; ``pid`` leads to the network namespace."""
    unified = find(directories, "cgroup.controllers")
    v2 = unified if unified and len(directories) == 1 else None
    if v2:
        found: dict[str, object] = {"cpu": _cpu_v2(v2), "memory": _memory_v2(v2), "blkio": _io_v2(v2)}
    else:
        found = {"cpu": _cpu_v1(directories), "memory": _memory_v1(directories), "blkio": _blkio(directories)}
    return {
        "cpu": found["cpu"],
        "cpuset": _cpuset(directories),
        "memory": found["memory"],
        "pids": _pids(directories),
        "blkio": found["blkio"],
        "hugetlb": _hugetlb(directories),
        "intel_rdt": {},
        "network_interfaces": interfaces(pid),
    }


def _limit(directory: str, file: str) -> int:
    try:
        with open(f"{directory}/{file}") as handle:
            text = handle.read().strip()
    except OSError:
        return 0
    return NO_LIMIT if text == "max" else int(text)


def _cpu_v1(directories: list[str]) -> dict[str, object]:
    usage: dict[str, object] = {}
    if directory := find(directories, "cpuacct.usage"):
        usage = {
            "total": number(directory, "cpuacct.usage"),
            "percpu": _numbers(directory, "cpuacct.usage_percpu"),
            "kernel": number(directory, "cpuacct.usage_sys"),
            "user": number(directory, "cpuacct.usage_user"),
        }
    throttling = table(find(directories, "cpu.cfs_quota_us") or "", "cpu.stat")
    return {
        "usage": usage,
        "throttling": {
            "periods": throttling.get("nr_periods", 0),
            "throttledPeriods": throttling.get("nr_throttled", 0),
            "throttledTime": throttling.get("throttled_time", 0),
        },
    }


def _cpu_v2(directory: str) -> dict[str, object]:
    found = table(directory, "cpu.stat")
    result: dict[str, object] = {
        "usage": {
            "total": found.get("usage_usec", 0) * _MICROSECOND,
            "kernel": found.get("system_usec", 0) * _MICROSECOND,
            "user": found.get("user_usec", 0) * _MICROSECOND,
        },
        "throttling": {
            "periods": found.get("nr_periods", 0),
            "throttledPeriods": found.get("nr_throttled", 0),
            "throttledTime": found.get("throttled_usec", 0) * _MICROSECOND,
        },
    }
    return _with_pressure(result, directory, "cpu.pressure")


def _numbers(directory: str, file: str) -> list[int]:
    try:
        with open(f"{directory}/{file}") as handle:
            return [int(word) for word in handle.read().split()]
    except OSError:
        return []


def _with_pressure(result: dict[str, object], directory: str, file: str) -> dict[str, object]:
    found = pressure(directory, file)
    return {**result, "psi": found} if found else result


def pressure(directory: str, file: str) -> dict[str, dict[str, float]]:
    """Pressure stall information: ``some`` and ``full``, in percent and microseconds (psi.rst)."""
    try:
        with open(f"{directory}/{file}") as handle:
            lines = handle.read().splitlines()
    except OSError:
        return {}
    result: dict[str, dict[str, float]] = {}
    for line in lines:
        kind, *words = line.split()
        result[kind] = {
            key: int(value) if key == "total" else float(value)
            for key, value in (word.split("=") for word in words)
        }
    return result


def _memory_v1(directories: list[str]) -> dict[str, object]:
    directory = find(directories, "memory.usage_in_bytes")
    if directory is None:
        return {}
    raw = table(directory, "memory.stat")
    result: dict[str, object] = {"cache": raw.get("cache", 0)}
    for key, prefix in (
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ):
        result[key] = {
            "limit": _limit(directory, f"{prefix}.limit_in_bytes"),
            "usage": number(directory, f"{prefix}.usage_in_bytes"),
            "max": number(directory, f"{prefix}.max_usage_in_bytes"),
            "failcnt": number(directory, f"{prefix}.failcnt"),
        }
    result["raw"] = raw
    return result


def _memory_v2(directory: str) -> dict[str, object]:
    raw = table(directory, "memory.stat")
    memory = {
        "limit": _limit(directory, "memory.max"),
        "usage": number(directory, "memory.current"),
        "max": number(directory, "memory.peak"),
        "failcnt": table(directory, "memory.events").get("max", 0),
    }
    swap_limit = _limit(directory, "memory.swap.max")
    swap = {
        # Both together, as v1 counts.
        "limit": min(memory["limit"] + swap_limit, NO_LIMIT),
        "usage": memory["usage"] + number(directory, "memory.swap.current"),
        "failcnt": table(directory, "memory.swap.events").get("fail", 0),
    }
    result: dict[str, object] = {
        "cache": raw.get("file", 0), "usage": memory, "swap": swap, "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0}, "raw": raw,
    }  # fmt: skip
    return _with_pressure(result, directory, "memory.pressure")


def _cpuset(directories: list[str]) -> dict[str, object]:
    from trimaran.spec import ranges

    directory = find(directories, "cpuset.cpus")
    if directory is None:
        return {}
    result: dict[str, object] = {}
    for key, file in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        with open(f"{directory}/{file}") as handle:
            result[key] = ranges.parse(handle.read().strip(), file)
    for key in ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_pressure",
                "memory_spread_page", "memory_spread_slab", "sched_load_balance",
                "sched_relax_domain_level"):  # fmt: skip
        path = f"{directory}/cpuset.{key}"
        if os.path.exists(path):
            with open(path) as handle:
                result[key] = int(handle.read())
    return result


def _pids(directories: list[str]) -> dict[str, object]:
    directory = find(directories, "pids.current")
    if directory is None:
        return {}
    return {"current": number(directory, "pids.current"), "limit": number(directory, "pids.max")}


def _blkio(directories: list[str]) -> dict[str, object]:
    directory = find(directories, "blkio.throttle.io_service_bytes_recursive") or find(
        directories, "blkio.throttle.io_service_bytes"
    )
    if directory is None:
        return {}
    result: dict[str, object] = {}
    for key, name in (
        ("ioServiceBytesRecursive", "io_service_bytes"),
        ("ioServicedRecursive", "io_serviced"),
    ):
        for file in (f"blkio.throttle.{name}_recursive", f"blkio.throttle.{name}"):
            if os.path.exists(f"{directory}/{file}"):
                result[key] = _blkio_entries(directory, file)
                break
    return result


def _blkio_entries(directory: str, file: str) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    with open(f"{directory}/{file}") as handle:
        for line in handle:
            words = line.split()
            if len(words) == 3:
                major, _, minor = words[0].partition(":")
                entries.append(
                    {"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])}
                )
    return entries


def _io_v2(directory: str) -> dict[str, object]:
    kinds = {"rbytes": ("ioServiceBytesRecursive", "Read"), "wbytes": ("ioServiceBytesRecursive", "Write"),
             "rios": ("ioServicedRecursive", "Read"), "wios": ("ioServicedRecursive", "Write")}  # fmt: skip
    result: dict[str, Any] = {"ioServiceBytesRecursive": [], "ioServicedRecursive": []}
    try:
        with open(f"{directory}/io.stat") as handle:
            lines = handle.read().splitlines()
    except OSError:
        return {}
    for line in lines:
        device, *words = line.split()
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if key in kinds and minor:
                name, operation = kinds[key]
                result[name].append(
                    {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                )
    return _with_pressure(result, directory, "io.pressure")


def _hugetlb(directories: list[str]) -> dict[str, object]:
    result: dict[str, object] = {}
    for directory in directories:
        names = os.listdir(directory) if os.path.isdir(directory) else []
        for name in names:
            size, _, file = name.removeprefix("hugetlb.").partition(".")
            if not name.startswith("hugetlb.") or file not in ("usage_in_bytes", "current"):
                continue
            prefix = f"hugetlb.{size}"
            result[size] = {
                "usage": number(directory, name),
                "max": number(directory, f"{prefix}.max_usage_in_bytes"),
                "failcnt": number(directory, f"{prefix}.failcnt")
                or table(directory, f"{prefix}.events").get("max", 0),
            }
    return result


def interfaces(pid: int) -> list[dict[str, object]]:
    """Counters of the network devices that the process sees, the loopback device left out."""
    try:
        with open(f"/proc/{pid}/net/dev") as handle:
            lines = handle.read().splitlines()[2:]
    except OSError:
        return []
    result = []
    for line in lines:
        name, _, rest = line.partition(":")
        values = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(values) >= 12:
            received = dict(zip(("RxBytes", "RxPackets", "RxErrors", "RxDropped"), values[:4], strict=True))
            sent = dict(zip(("TxBytes", "TxPackets", "TxErrors", "TxDropped"), values[8:12], strict=True))
            result.append({"Name": name.strip(), **received, **sent})
    return result
