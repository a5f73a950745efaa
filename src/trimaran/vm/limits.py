"""A container's limits as files of the guest's cgroup v2: pure. Linux admin-guide/cgroup-v2.rst."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trimaran.plan.build import CgroupPlan, FileWrite
from trimaran.vm.translate import CGROUPS

if TYPE_CHECKING:
    from trimaran.spec.resources import Resources

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
_DEFAULT_PERIOD = 100_000


def cgroup_plan(id: str, resources: Resources | None) -> CgroupPlan:
    """The cgroup of container ID, its limits, and that its first process joins it."""
    directory = f"{CGROUPS}/{id}"
    writes = [
        FileWrite(f"{directory}/{name}", text, "$.linux.resources", optional=name in _OPTIONAL)
        for name, text in (limits(resources) if resources else ())
    ]
    return CgroupPlan([directory], writes, [directory])


_OPTIONAL = frozenset(("memory.swap.max",))


def limits(resources: Resources) -> Iterator[tuple[str, str]]:
    """(file, text) of each limit that RESOURCES names."""
    memory, cpu, pids = resources.memory, resources.cpu, resources.pids
    if memory is not None:
        if memory.limit is not None:
            yield "memory.max", _limit(memory.limit)
        if memory.reservation is not None:
            yield "memory.low", _limit(memory.reservation)
        if memory.swap is not None and memory.swap >= 0 and memory.limit is not None and memory.limit >= 0:
            # The specification's swap is memory and swap together; the file is swap alone.
            yield "memory.swap.max", str(max(0, memory.swap - memory.limit))
    if cpu is not None:
        if cpu.shares:
            # From 2..262144 to 1..10000, as the kernel's documentation of the move to v2 has it.
            yield "cpu.weight", str(1 + (min(max(cpu.shares, 2), 262144) - 2) * 9999 // 262142)
        if cpu.quota is not None or cpu.period:
            quota = str(cpu.quota) if cpu.quota is not None and cpu.quota > 0 else "max"
            yield "cpu.max", f"{quota} {cpu.period or _DEFAULT_PERIOD}"
    if pids is not None and pids.limit is not None:
        yield "pids.max", str(pids.limit) if pids.limit > 0 else "max"
    yield from resources.unified.items()


def _limit(value: int) -> str:
    return str(value) if value >= 0 else "max"


def memory_size(limit: int, default: int, overhead: int) -> int:
    """Bytes of memory of a machine for one container: its limit and what the guest's kernel takes."""
    wanted = limit + overhead if limit > 0 else default
    return (wanted + (2 << 20) - 1) >> 21 << 21


def cpu_count(quota: int, period: int, host: int) -> int:
    """Virtual CPUs of a machine for one container: enough for its quota, no more than the host has."""
    if quota <= 0:
        return 1
    return max(1, min(host, -(-quota // (period or _DEFAULT_PERIOD))))
