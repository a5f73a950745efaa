"""Limits as files of the v1 controllers (kernel documentation, admin-guide/cgroup-v1).

Each value is (controller, file, text, where from), in the order of writing.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan.cgroup_io import AT, rdma, v1_block_io, v1_network
from trimaran.plan.cgroup_values import Value, limit_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import CPU, HugepageLimit, Memory, Resources


def values(resources: Resources | None) -> list[Value]:
    """All limits. Raises SpecError for what only v2 has."""
    if resources is None:
        return []
    if resources.unified:
        raise SpecError(
            f"{AT}.unified",
            "this host's limits are those of cgroup v1",
            hint="use the fields for memory, cpu and so on",
        )
    result = [*_memory(resources.memory), *_cpu(resources.cpu)]
    if resources.pids and resources.pids.limit is not None:
        result.append(Value("pids", "pids.max", limit_text(resources.pids.limit), f"{AT}.pids.limit"))
    result += [
        *v1_block_io(resources.block_io),
        *_huge_pages(resources.hugepage_limits),
        *v1_network(resources.network),
        *rdma(resources.rdma),
    ]
    return result


def _memory(memory: Memory | None) -> list[Value]:
    if memory is None:
        return []
    # A group without a memory limit has no limit of both together either.
    swap = -1 if memory.limit == -1 and not memory.swap else memory.swap
    fields = (
        ("memory.limit_in_bytes", memory.limit or None, "limit", False),
        ("memory.memsw.limit_in_bytes", swap or None, "swap", False),
        ("memory.soft_limit_in_bytes", memory.reservation or None, "reservation", False),
        # Kernels from 5.16 on have no limit of their own for kernel memory.
        ("memory.kmem.limit_in_bytes", memory.kernel or None, "kernel", True),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp or None, "kernelTCP", True),
        ("memory.swappiness", memory.swappiness, "swappiness", False),
        ("memory.oom_control", 1 if memory.disable_oom_killer else None, "disableOOMKiller", False),
    )
    return [
        Value("memory", file, str(value), f"{AT}.memory.{field}", optional=optional)
        for file, value, field, optional in fields
        if value is not None
    ]


def _cpu(cpu: CPU | None) -> list[Value]:
    if cpu is None:
        return []
    fields: tuple[tuple[str, str, object, str], ...] = (
        ("cpu", "cpu.shares", cpu.shares or None, "shares"),
        # A period shorter than the quota must not be seen in between: the kernel takes the period first.
        ("cpu", "cpu.cfs_period_us", cpu.period or None, "period"),
        ("cpu", "cpu.cfs_quota_us", cpu.quota or None, "quota"),
        ("cpu", "cpu.cfs_burst_us", cpu.burst, "burst"),
        ("cpu", "cpu.rt_period_us", cpu.realtime_period or None, "realtimePeriod"),
        ("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime or None, "realtimeRuntime"),
        ("cpu", "cpu.idle", cpu.idle, "idle"),
        ("cpuset", "cpuset.cpus", cpu.cpus or None, "cpus"),
        ("cpuset", "cpuset.mems", cpu.mems or None, "mems"),
    )
    return [
        Value(controller, file, str(value), f"{AT}.cpu.{field}")
        for controller, file, value, field in fields
        if value is not None
    ]


def _huge_pages(limits: list[HugepageLimit]) -> list[Value]:
    result = []
    for number, limit in enumerate(limits):
        where = f"{AT}.hugepageLimits[{number}]"
        prefix, text = f"hugetlb.{limit.page_size}", str(limit.limit)
        # Reservations are limited where the kernel counts them (5.7), faults in any case.
        result.append(Value("hugetlb", f"{prefix}.rsvd.limit_in_bytes", text, where, optional=True))
        result.append(Value("hugetlb", f"{prefix}.limit_in_bytes", text, where))
    return result
