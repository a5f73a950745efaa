"""What the fields of ``linux.resources`` say together, of a configuration or for an update."""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec import ranges
from trimaran.spec.record import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import CPU, BlockIO, DeviceRule, Memory, Resources


def check_resources(resources: Resources, path: str = "$.linux.resources") -> None:
    """Raises SpecError."""
    for number, rule in enumerate(resources.devices):
        _check_device_rule(rule, f"{path}.devices[{number}]")
    if resources.memory is not None:
        _check_memory(resources.memory, f"{path}.memory")
    if resources.cpu is not None:
        _check_cpu(resources.cpu, f"{path}.cpu")
    if resources.block_io is not None:
        _check_block_io(resources.block_io, f"{path}.blockIO")
    for number, limit in enumerate(resources.hugepage_limits):
        if not _is_page_size(limit.page_size):
            raise SpecError(
                f"{path}.hugepageLimits[{number}].pageSize",
                f'expected a size such as 2MB, not "{limit.page_size}"',
            )
    for name, rdma in resources.rdma.items():
        if rdma.hca_handles is None and rdma.hca_objects is None:
            raise SpecError(f"{path}.rdma{step(name)}", "neither hcaHandles nor hcaObjects is given")
    for name in resources.unified:
        if "/" in name or name in ("", ".", "..", "cgroup.procs", "cgroup.threads"):
            raise SpecError(f"{path}.unified{step(name)}", "is no file of limits in a cgroup")


def _check_device_rule(rule: DeviceRule, path: str) -> None:
    if rule.type not in ("", "a", "b", "c"):
        raise SpecError(f"{path}.type", f'expected a, b or c, not "{rule.type}"')
    if not set(rule.access) <= set("rwm"):
        raise SpecError(f"{path}.access", f'expected letters of "rwm", not "{rule.access}"')
    for key, value in (("major", rule.major), ("minor", rule.minor)):
        if value is not None and not -1 <= value < 1 << 32:
            raise SpecError(f"{path}.{key}", f"{value} is no device number")


def _check_memory(memory: Memory, path: str) -> None:
    for key in ("limit", "reservation", "swap", "kernel", "kernel_tcp"):
        value = getattr(memory, key)
        if value is not None and value < -1:
            name = "kernelTCP" if key == "kernel_tcp" else key
            raise SpecError(f"{path}.{name}", f"expected a number of bytes, or -1 for no limit, not {value}")
    limit, swap = memory.limit or 0, memory.swap or 0
    if limit > 0 and 0 < swap < limit:
        raise SpecError(f"{path}.swap", "memory and swap together are less than the memory limit")
    if swap > 0 and limit == -1:
        raise SpecError(f"{path}.swap", "swap is limited, but memory is not")
    if memory.swappiness is not None and memory.swappiness > 200:
        raise SpecError(f"{path}.swappiness", f"expected an integer from 0 to 200, not {memory.swappiness}")


def _check_cpu(cpu: CPU, path: str) -> None:
    ranges.parse(cpu.cpus, f"{path}.cpus")
    ranges.parse(cpu.mems, f"{path}.mems")
    if cpu.burst and cpu.quota is not None and 0 < cpu.quota < cpu.burst:
        raise SpecError(f"{path}.burst", f"{cpu.burst} is above the quota, {cpu.quota}")
    if cpu.idle is not None and cpu.idle not in (0, 1):
        raise SpecError(f"{path}.idle", f"expected 0 or 1, not {cpu.idle}")


def _check_block_io(block_io: BlockIO, path: str) -> None:
    for number, device in enumerate(block_io.weight_device):
        if device.weight is None and device.leaf_weight is None:
            raise SpecError(f"{path}.weightDevice[{number}]", "neither weight nor leafWeight is given")


def _is_page_size(text: str) -> bool:
    digits = text[:-2]
    return text[-2:] in ("KB", "MB", "GB") and digits.isascii() and digits.isdigit() and digits[0] != "0"
