"""What a container has used, read from its cgroups."""

from __future__ import annotations

from trimaran.runtime.cgroups.control import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_UNLIMITED = 1 << 60


def number(directory: str, file: str) -> int:
    """A file's number; 0 for ``max``, a huge one, or a file that is not there."""
    try:
        with open(f"{directory}/{file}") as handle:
            text = handle.read().strip()
    except OSError:
        return 0
    value = int(text) if text.isdigit() else 0
    return 0 if value >= _UNLIMITED else value


def table(directory: str, file: str) -> dict[str, int]:
    """A file of lines ``name number``."""
    try:
        with open(f"{directory}/{file}") as handle:
            rows = [line.split() for line in handle]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


def read(directories: list[str]) -> dict[str, int]:
    """The fields of :class:`trimaran.isolation.Stats` that can be known."""
    result: dict[str, int] = {}
    sources: tuple[tuple[str, Callable[[str], dict[str, int]]], ...] = (
        ("cpuacct.usage", _cpuacct),
        ("cpu.cfs_quota_us", _cpu_v1),
        ("memory.usage_in_bytes", _memory_v1),
        ("memory.current", _memory_v2),
        ("pids.current", _pids),
        ("blkio.throttle.io_service_bytes", _blkio),
        ("io.stat", _io_v2),
    )
    for file, reader in sources:
        if directory := find(directories, file):
            result.update(reader(directory))
    if "cpu_ns" not in result and (directory := find(directories, "cpu.stat")):
        result.update(_cpu_v2(directory))
    return result


def _cpuacct(directory: str) -> dict[str, int]:
    return {
        "cpu_ns": number(directory, "cpuacct.usage"),
        "cpu_user_ns": number(directory, "cpuacct.usage_user"),
        "cpu_system_ns": number(directory, "cpuacct.usage_sys"),
    }


def _cpu_v1(directory: str) -> dict[str, int]:
    return {"throttled_ns": table(directory, "cpu.stat").get("throttled_time", 0)}


def _cpu_v2(directory: str) -> dict[str, int]:
    found = table(directory, "cpu.stat")
    return {
        "cpu_ns": found.get("usage_usec", 0) * 1000,
        "cpu_user_ns": found.get("user_usec", 0) * 1000,
        "cpu_system_ns": found.get("system_usec", 0) * 1000,
        "throttled_ns": found.get("throttled_usec", 0) * 1000,
    }


def _memory_v1(directory: str) -> dict[str, int]:
    return {
        "memory": number(directory, "memory.usage_in_bytes"),
        "memory_limit": number(directory, "memory.limit_in_bytes"),
        "memory_inactive_file": table(directory, "memory.stat").get("total_inactive_file", 0),
        "oom_kills": table(directory, "memory.oom_control").get("oom_kill", 0),
    }


def _memory_v2(directory: str) -> dict[str, int]:
    return {
        "memory": number(directory, "memory.current"),
        "memory_limit": number(directory, "memory.max"),
        "memory_inactive_file": table(directory, "memory.stat").get("inactive_file", 0),
        "oom_kills": table(directory, "memory.events").get("oom_kill", 0),
    }


def _pids(directory: str) -> dict[str, int]:
    return {"pids": number(directory, "pids.current"), "pids_limit": number(directory, "pids.max")}


def _blkio(directory: str) -> dict[str, int]:
    totals = {"Read": 0, "Write": 0}
    with open(f"{directory}/blkio.throttle.io_service_bytes") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[1] in totals:
                totals[words[1]] += int(words[2])
    return {"read_bytes": totals["Read"], "written_bytes": totals["Write"]}


def _io_v2(directory: str) -> dict[str, int]:
    read = written = 0
    with open(f"{directory}/io.stat") as file:
        for line in file:
            values = dict(word.split("=") for word in line.split()[1:] if "=" in word)
            read += int(values.get("rbytes", 0))
            written += int(values.get("wbytes", 0))
    return {"read_bytes": read, "written_bytes": written}
