"""Limits as files of the unified hierarchy (kernel documentation, admin-guide/cgroup-v2).

What v1 has and v2 cannot express is an error, as the specification wants it (config-linux.md, "Unified").
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan.cgroup_io import AT, rdma, v2_block_io
from trimaran.plan.cgroup_values import Value, limit_text
from trimaran.spec.record import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import CPU, Memory, Resources

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc")
DEFAULT_PERIOD = 100_000


def values(resources: Resources | None) -> list[Value]:
    """All limits, in the order of writing. Raises SpecError for what only v1 has."""
    if resources is None:
        return []
    result = [*_memory(resources.memory), *_cpu(resources.cpu)]
    if resources.pids and resources.pids.limit is not None:
        result.append(Value("pids", "pids.max", limit_text(resources.pids.limit), f"{AT}.pids.limit"))
    result += v2_block_io(resources.block_io)
    for number, limit in enumerate(resources.hugepage_limits):
        where = f"{AT}.hugepageLimits[{number}]"
        prefix, text = f"hugetlb.{limit.page_size}", str(limit.limit)
        result.append(Value("hugetlb", f"{prefix}.rsvd.max", text, where, optional=True))
        result.append(Value("hugetlb", f"{prefix}.max", text, where))
    result += rdma(resources.rdma)
    if resources.network and (resources.network.class_id is not None or resources.network.priorities):
        raise _v1_only(f"{AT}.network")
    for file, text in resources.unified.items():
        # Files such as io.max take one device at a time.
        for line in text.splitlines() or [""]:
            result.append(Value("", file, line, f"{AT}.unified{step(file)}"))
    return result


def _v1_only(where: str) -> SpecError:
    return SpecError(where, "cgroup v2 has no such limit", hint="leave it out on this host")


def _memory(memory: Memory | None) -> list[Value]:
    if memory is None:
        return []
    for key, asked in (
        ("kernel", (memory.kernel or 0) > 0),
        ("kernelTCP", (memory.kernel_tcp or 0) > 0),
        ("swappiness", memory.swappiness is not None),
        ("disableOOMKiller", bool(memory.disable_oom_killer)),
    ):
        if asked:
            raise _v1_only(f"{AT}.memory.{key}")
    result = []
    swap = swap_limit(memory)
    if swap is not None:
        result.append(Value("memory", "memory.swap.max", limit_text(swap), f"{AT}.memory.swap"))
    if memory.limit:
        result.append(Value("memory", "memory.max", limit_text(memory.limit), f"{AT}.memory.limit"))
    if memory.reservation:
        text = limit_text(memory.reservation)
        result.append(Value("memory", "memory.low", text, f"{AT}.memory.reservation"))
    return result


def swap_limit(memory: Memory) -> int | None:
    """The limit of swap alone, which v2 wants, from that of memory and swap together; None: as it is."""
    if not memory.swap:
        return -1 if memory.limit == -1 else None
    if memory.swap == -1:
        return -1
    if not memory.limit or memory.limit < 0:
        raise SpecError(f"{AT}.memory.swap", "needs a memory limit too: it is the sum of both")
    return memory.swap - memory.limit


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), with 1024 near the default of 100.

    The curve 10^(l^2/612 + 125*l/612 - 7/34) of l = log2(shares), which runc and crun use.
    """
    from math import ceil, log2

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = log2(shares)
    return ceil(10 ** (exponent * exponent / 612 + 125 * exponent / 612 - 7 / 34))


def _cpu(cpu: CPU | None) -> list[Value]:
    if cpu is None:
        return []
    if cpu.realtime_runtime or cpu.realtime_period:
        raise _v1_only(f"{AT}.cpu.realtime{'Runtime' if cpu.realtime_runtime else 'Period'}")
    result = []
    if cpu.idle is not None:
        result.append(Value("cpu", "cpu.idle", str(cpu.idle), f"{AT}.cpu.idle"))
    # An idle group has the least weight, and takes no other.
    if cpu.shares and not cpu.idle:
        result.append(Value("cpu", "cpu.weight", str(cpu_weight(cpu.shares)), f"{AT}.cpu.shares"))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        field = "quota" if cpu.quota else "period"
        text = f"{quota} {cpu.period or DEFAULT_PERIOD}"
        result.append(Value("cpu", "cpu.max", text, f"{AT}.cpu.{field}"))
    if cpu.burst is not None:
        result.append(Value("cpu", "cpu.max.burst", str(cpu.burst), f"{AT}.cpu.burst"))
    if cpu.cpus:
        result.append(Value("cpuset", "cpuset.cpus", cpu.cpus, f"{AT}.cpu.cpus"))
    if cpu.mems:
        result.append(Value("cpuset", "cpuset.mems", cpu.mems, f"{AT}.cpu.mems"))
    return result
