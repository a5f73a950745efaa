"""The ``linux.resources`` object: limits that cgroups enforce (config-linux.md, "Control groups").

Memory in bytes, -1 for no limit; CPU times in microseconds. None means "leave as it is".
"""

from __future__ import annotations

from trimaran.spec.record import I64, U16, U32, U64, Record


class DeviceRule(Record):
    """Allow or deny devices; ``type`` is ``a``, ``b`` or ``c``, None or -1 stands for every number."""

    allow: bool
    type: str = ""
    major: I64 | None = None
    minor: I64 | None = None
    access: str = ""


class Memory(Record):
    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernel_tcp: I64 | None = None
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None

    _names = {"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"}


class CPU(Record):
    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: I64 | None = None


class Pids(Record):
    limit: I64 | None = None


class BlockIODevice(Record):
    major: I64
    minor: I64


class WeightDevice(BlockIODevice):
    weight: U16 | None = None
    leaf_weight: U16 | None = None


class ThrottleDevice(BlockIODevice):
    rate: U64


class BlockIO(Record):
    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = []
    throttle_write_iops_device: list[ThrottleDevice] = []

    _names = {
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    }


class HugepageLimit(Record):
    """``page_size`` as the kernel writes it: ``2MB``, ``1GB``."""

    page_size: str
    limit: U64


class InterfacePriority(Record):
    name: str
    priority: U32


class Network(Record):
    class_id: U32 | None = None
    priorities: list[InterfacePriority] = []

    _names = {"class_id": "classID"}


class Rdma(Record):
    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


class Resources(Record):
    """All limits; ``unified`` are files of the v2 hierarchy, written as they are."""

    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: list[HugepageLimit] = []
    network: Network | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}

    _names = {"block_io": "blockIO"}
