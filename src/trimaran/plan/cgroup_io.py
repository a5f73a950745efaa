"""Limits on block devices, networks and RDMA devices, as files of a cgroup (config-linux.md)."""

from __future__ import annotations

from trimaran.errors import SpecError
from trimaran.plan.cgroup_values import Value
from trimaran.spec.record import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.resources import BlockIO, Network, Rdma, ThrottleDevice

AT = "$.linux.resources"


def v1_block_io(block_io: BlockIO | None) -> list[Value]:
    """Files of the blkio controller; weights are the BFQ scheduler's (5.0), or the CFQ scheduler's."""
    if block_io is None:
        return []
    values: list[Value] = []
    if block_io.weight:
        values.append(_weight("weight", str(block_io.weight), f"{AT}.blockIO.weight"))
    if block_io.leaf_weight:
        where = f"{AT}.blockIO.leafWeight"
        values.append(Value("blkio", "blkio.leaf_weight", str(block_io.leaf_weight), where))
    for number, device in enumerate(block_io.weight_device):
        where = f"{AT}.blockIO.weightDevice[{number}]"
        at = f"{device.major}:{device.minor}"
        if device.weight:
            values.append(_weight("weight_device", f"{at} {device.weight}", where))
        if device.leaf_weight:
            values.append(Value("blkio", "blkio.leaf_weight_device", f"{at} {device.leaf_weight}", where))
    for key, file, _, devices in _throttles(block_io):
        for number, throttle in enumerate(devices):
            text = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            where = f"{AT}.blockIO.{key}[{number}]"
            values.append(Value("blkio", f"blkio.throttle.{file}", text, where))
    return values


def _weight(file: str, text: str, where: str) -> Value:
    return Value("blkio", f"blkio.bfq.{file}", text, where, other=(f"blkio.{file}", text))


def _throttles(block_io: BlockIO) -> list[tuple[str, str, str, list[ThrottleDevice]]]:
    """JSON key, file of v1, key of io.max, devices."""
    return [
        ("throttleReadBpsDevice", "read_bps_device", "rbps", block_io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "write_bps_device", "wbps", block_io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "read_iops_device", "riops", block_io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "write_iops_device", "wiops", block_io.throttle_write_iops_device),
    ]


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for a weight of v1 (10 to 1000), on a straight line, as runc and crun do."""
    return 1 + (weight - 10) * 9999 // 990


def v2_block_io(block_io: BlockIO | None) -> list[Value]:
    """Files of the io controller; weights are the BFQ scheduler's, on the scale of v1, or io.weight's."""
    if block_io is None:
        return []
    if block_io.leaf_weight:
        raise SpecError(f"{AT}.blockIO.leafWeight", "cgroup v2 has no such thing")
    values: list[Value] = []
    if block_io.weight:
        other = ("io.weight", f"default {io_weight(block_io.weight)}")
        text, where = str(block_io.weight), f"{AT}.blockIO.weight"
        values.append(Value("io", "io.bfq.weight", text, where, other=other))
    for number, device in enumerate(block_io.weight_device):
        where = f"{AT}.blockIO.weightDevice[{number}]"
        if device.leaf_weight:
            raise SpecError(f"{where}.leafWeight", "cgroup v2 has no such thing")
        if device.weight:
            at = f"{device.major}:{device.minor}"
            other = ("io.weight", f"{at} {io_weight(device.weight)}")
            values.append(Value("io", "io.bfq.weight", f"{at} {device.weight}", where, other=other))
    for key, _, name, devices in _throttles(block_io):
        for number, throttle in enumerate(devices):
            text = f"{throttle.major}:{throttle.minor} {name}={throttle.rate}"
            values.append(Value("io", "io.max", text, f"{AT}.blockIO.{key}[{number}]"))
    return values


def v1_network(network: Network | None) -> list[Value]:
    """Files of net_cls and net_prio; v2 has neither."""
    if network is None:
        return []
    where = f"{AT}.network"
    values: list[Value] = []
    if network.class_id is not None:
        values.append(Value("net_cls", "net_cls.classid", str(network.class_id), f"{where}.classID"))
    for number, priority in enumerate(network.priorities):
        text = f"{priority.name} {priority.priority}"
        values.append(Value("net_prio", "net_prio.ifpriomap", text, f"{where}.priorities[{number}]"))
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
        values.append(Value("rdma", "rdma.max", " ".join(words), f"{AT}.rdma{step(name)}"))
    return values
