"""Limits on block devices, networks and RDMA devices, as files of a cgroup (config-linux.md).

Each value is (controller, file, text, where from), in the order of writing.
"""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.spec.record import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import BlockIO, Network, Rdma, ThrottleDevice

    Value = tuple[str, str, str, str]

AT = "$.linux.resources"
V1_WEIGHTS = (10, 1000)


def v1_block_io(block_io: BlockIO | None, bfq: bool) -> list[Value]:
    """Files of the blkio controller; ``bfq`` says that weights are those of the BFQ scheduler (5.0)."""
    if block_io is None:
        return []
    prefix = "blkio.bfq" if bfq else "blkio"
    values: list[Value] = []
    for name, weight in (("weight", block_io.weight), ("leafWeight", block_io.leaf_weight)):
        if weight:
            file = f"{prefix}.weight" if name == "weight" else "blkio.leaf_weight"
            values.append(("blkio", file, str(weight), f"{AT}.blockIO.{name}"))
    for number, device in enumerate(block_io.weight_device):
        where = f"{AT}.blockIO.weightDevice[{number}]"
        at = f"{device.major}:{device.minor}"
        if device.weight:
            values.append(("blkio", f"{prefix}.weight_device", f"{at} {device.weight}", where))
        if device.leaf_weight:
            values.append(("blkio", "blkio.leaf_weight_device", f"{at} {device.leaf_weight}", where))
    for key, file, _, devices in _throttles(block_io):
        for number, throttle in enumerate(devices):
            text = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            values.append(("blkio", f"blkio.throttle.{file}", text, f"{AT}.blockIO.{key}[{number}]"))
    return values


def _throttles(block_io: BlockIO) -> list[tuple[str, str, str, list[ThrottleDevice]]]:
    """JSON key, file of v1, key of io.max, devices."""
    return [
        ("throttleReadBpsDevice", "read_bps_device", "rbps", block_io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "write_bps_device", "wbps", block_io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "read_iops_device", "riops", block_io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "write_iops_device", "wiops", block_io.throttle_write_iops_device),
    ]


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for a weight of v1 (10 to 1000), on a straight line, as runc has it."""
    return 1 + (weight - 10) * 9999 // 990


def v2_block_io(block_io: BlockIO | None, bfq: bool) -> list[Value]:
    """Files of the io controller; ``bfq`` says that there is io.bfq.weight, whose scale is that of v1."""
    if block_io is None:
        return []
    if block_io.leaf_weight:
        raise SpecError(f"{AT}.blockIO.leafWeight", "cgroup v2 has no such thing")
    values: list[Value] = []
    if block_io.weight:
        text = str(block_io.weight) if bfq else f"default {io_weight(block_io.weight)}"
        file = "io.bfq.weight" if bfq else "io.weight"
        values.append(("io", file, text, f"{AT}.blockIO.weight"))
    for number, device in enumerate(block_io.weight_device):
        where = f"{AT}.blockIO.weightDevice[{number}]"
        if device.leaf_weight:
            raise SpecError(f"{where}.leafWeight", "cgroup v2 has no such thing")
        weight = device.weight or V1_WEIGHTS[0]
        text = f"{device.major}:{device.minor} {weight if bfq else io_weight(weight)}"
        values.append(("io", "io.bfq.weight" if bfq else "io.weight", text, where))
    for key, _, name, devices in _throttles(block_io):
        for number, throttle in enumerate(devices):
            text = f"{throttle.major}:{throttle.minor} {name}={throttle.rate}"
            values.append(("io", "io.max", text, f"{AT}.blockIO.{key}[{number}]"))
    return values


def v1_network(network: Network | None) -> list[Value]:
    """Files of net_cls and net_prio; v2 has neither."""
    if network is None:
        return []
    where = f"{AT}.network"
    values: list[Value] = []
    if network.class_id is not None:
        values.append(("net_cls", "net_cls.classid", str(network.class_id), f"{where}.classID"))
    for number, priority in enumerate(network.priorities):
        text = f"{priority.name} {priority.priority}"
        values.append(("net_prio", "net_prio.ifpriomap", text, f"{where}.priorities[{number}]"))
    return values


def rdma(devices: dict[str, Rdma]) -> list[Value]:
    """rdma.max, the same in both versions; what is not given stays as it is."""
    values: list[Value] = []
    for name, limits in devices.items():
        words = [name]
        if limits.hca_handles is not None:
            words.append(f"hca_handle={limits.hca_handles}")
        if limits.hca_objects is not None:
            words.append(f"hca_object={limits.hca_objects}")
        values.append(("rdma", "rdma.max", " ".join(words), f"{AT}.rdma{step(name)}"))
    return values
