"""spec/validate.py: what a configuration may not say, and what it is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import SpecError
from trimaran.spec import ranges
from trimaran.spec.capabilities import NAMES, mask
from trimaran.spec.runtime import Config
from trimaran.spec.validate import RLIMITS, check
from trimaran.spec.validate_linux import sysctl_path

ALL_NAMESPACES = [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts", "cgroup", "time")]
IDS = [{"containerID": 0, "hostID": 1000, "size": 10}]


def process(**fields: Any) -> dict[str, Any]:
    return {"process": {"args": ["sh"], "cwd": "/", **fields}}


def linux(**fields: Any) -> dict[str, Any]:
    return {"linux": {"namespaces": ALL_NAMESPACES, **fields}}


def resources(**fields: Any) -> dict[str, Any]:
    return linux(resources=fields)


def checked(fields: dict[str, Any]) -> list[str]:
    return check(Config.parse({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ociVersion": "1.0.2-dev"},
        {"ociVersion": "1.2.0+dev.x"},
        process(oomScoreAdj=-1000, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}]),
        process(scheduler={"policy": "SCHED_FIFO", "priority": 10}),
        process(execCPUAffinity={"initial": "0-3,7", "final": ""}),
        {"hostname": "h", **linux()},
        linux(sysctl={"net/ipv4/conf/eth0.100/rp_filter": "1", "fs.mqueue.msg_max": "5", "kernel.sem": "1"}),
        linux(namespaces=[{"type": "user"}], uidMappings=IDS, gidMappings=IDS),
        linux(namespaces=[{"type": "user", "path": "/proc/1/ns/user"}]),
        linux(timeOffsets={"monotonic": {"secs": -5}}),
        linux(devices=[{"path": "/dev/fifo", "type": "p"}]),
        linux(netDevices={"eth0": {"name": "net%d"}, "eth1": {"name": "net%d"}}),
        linux(rootfsPropagation="rslave", maskedPaths=["/proc/kcore"]),
        linux(intelRdt={"closID": "/"}),
        linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
        resources(memory={"limit": -1, "swap": -1}, cpu={"quota": -1, "burst": 5, "cpus": "0"}),
        resources(devices=[{"allow": False, "access": "rwm", "major": -1}], unified={"memory.max": "1"}),
        {"hooks": {"poststop": [{"path": "/bin/true", "timeout": 1}]}},
    ],
)
def test_accepts(fields: dict[str, Any]) -> None:
    assert checked(fields) == []


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"ociVersion": "1.0"}, "$.ociVersion", "expected a version such as 1.3.0"),
        ({"ociVersion": "2.0.0"}, "$.ociVersion", "version 2.0.0 is newer"),
        ({"ociVersion": "1.٣.0"}, "$.ociVersion", "expected a version"),
        ({"root": None}, "$.root", "is missing"),
        ({"root": {"path": ""}}, "$.root.path", "is empty"),
        ({"annotations": {"": "x"}}, "$.annotations", "a key is empty"),
        ({"hostname": "h"}, "$.hostname", "it would be set on the host"),
        ({"hostname": "h" * 65, **linux()}, "$.hostname", "longer than 64 bytes"),
        ({"domainname": "d"}, "$.domainname", "it would be set on the host"),
        (process(cwd="rel"), "$.process.cwd", "expected an absolute path"),
        (process(args=[]), "$.process.args", "is missing"),
        (process(args=[""]), "$.process.args[0]", "the program's name is empty"),
        (process(oomScoreAdj=1001), "$.process.oomScoreAdj", "expected an integer from -1000 to 1000"),
        (
            process(rlimits=[{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
            "$.process.rlimits[0].type",
            '"RLIMIT_FOO" is no resource limit',
        ),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2),
            "$.process.rlimits[1].type",
            "RLIMIT_CPU is given twice",
        ),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            "$.process.rlimits[0].soft",
            "2 is above the hard limit",
        ),
        (
            process(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 8}),
            "$.process.ioPriority.priority",
            "expected an integer from 0 to 7",
        ),
        (process(scheduler={"policy": "SCHED_ISO"}), "$.process.scheduler.policy", "SCHED_ISO is reserved"),
        (
            process(scheduler={"policy": "SCHED_OTHER", "nice": 20}),
            "$.process.scheduler.nice",
            "expected an integer from -20",
        ),
        (
            process(scheduler={"policy": "SCHED_OTHER", "priority": 1}),
            "$.process.scheduler.priority",
            "has no meaning for SCHED_OTHER",
        ),
        (
            process(scheduler={"policy": "SCHED_RR", "period": 1}),
            "$.process.scheduler.period",
            "has no meaning",
        ),
        (process(execCPUAffinity={"final": "3-1"}), "$.process.execCPUAffinity.final", '"3-1" is no range'),
        ({"mounts": [{"destination": ""}]}, "$.mounts[0].destination", "is empty"),
        (
            {"mounts": [{"destination": "/a", "uidMappings": IDS}]},
            "$.mounts[0]",
            "uidMappings and gidMappings",
        ),
        ({"mounts": [{"destination": "/a", "options": ["idmap"]}]}, "$.mounts[0].options", "idmap needs"),
        ({"hooks": {"prestart": [{"path": "x"}]}}, "$.hooks.prestart[0].path", "expected an absolute path"),
        (
            {"hooks": {"startContainer": [{"path": "/x", "timeout": 0}]}},
            "$.hooks.startContainer[0].timeout",
            "expected a number of seconds",
        ),
        (linux(namespaces=[{"type": "pid"}] * 2), "$.linux.namespaces[1].type", '"pid" is given twice'),
        (linux(namespaces=[{"type": "pid", "path": "x"}]), "$.linux.namespaces[0].path", "expected an abso"),
        (linux(uidMappings=IDS), "$.linux.uidMappings", "no user namespace is asked for"),
        (linux(namespaces=[{"type": "user"}]), "$.linux.uidMappings", "is missing"),
        (
            linux(namespaces=[{"type": "user", "path": "/n"}], gidMappings=IDS),
            "$.linux.gidMappings",
            "the user namespace that is joined",
        ),
        (
            linux(uidMappings=[{"containerID": 0, "hostID": 2**32 - 5, "size": 5}]),
            "$.linux.uidMappings[0]",
            "reaches beyond",
        ),
        (
            linux(uidMappings=[{"containerID": 0, "hostID": 0, "size": 0}]),
            "$.linux.uidMappings[0].size",
            "is zero",
        ),
        (
            linux(uidMappings=[*IDS, {"containerID": 9, "hostID": 5, "size": 1}]),
            "$.linux.uidMappings[1].containerID",
            "overlaps",
        ),
        (
            linux(uidMappings=[*IDS, {"containerID": 10, "hostID": 1009, "size": 1}]),
            "$.linux.uidMappings[1].hostID",
            "overlaps",
        ),
        (linux(timeOffsets={"realtime": {}}), "$.linux.timeOffsets.realtime", "only the clocks"),
        (
            linux(timeOffsets={"boottime": {"nanosecs": 10**9}}),
            "$.linux.timeOffsets.boottime.nanosecs",
            "expe",
        ),
        (linux(namespaces=[], timeOffsets={"boottime": {}}), "$.linux.timeOffsets.boottime", "offsets need"),
        (
            linux(sysctl={"kernel.core_pattern": "|x"}),
            '$.linux.sysctl["kernel.core_pattern"]',
            "belongs to no",
        ),
        (linux(sysctl={"kernel.hostname": "x"}), '$.linux.sysctl["kernel.hostname"]', "contradicts"),
        (linux(sysctl={"net/../kernel/x": "x"}), '$.linux.sysctl["net/../kernel/x"]', "is no name"),
        (linux(sysctl={"net.//.//.kernel.x": ""}), '$.linux.sysctl["net.//.//.kernel.x"]', "is no name"),
        (
            linux(namespaces=[], sysctl={"net.x": "1"}),
            '$.linux.sysctl["net.x"]',
            "it would be set on the host",
        ),
        (
            linux(sysctl={"user.max_net_namespaces": "1"}),
            '$.linux.sysctl["user.max_net_namespaces"]',
            "it would",
        ),
        (linux(devices=[{"path": "x", "type": "c"}]), "$.linux.devices[0].path", "expected an absolute path"),
        (
            linux(devices=[{"path": "/x", "type": "c", "major": -1}]),
            "$.linux.devices[0].major",
            "expected an",
        ),
        (linux(netDevices={"a/b": {}}), '$.linux.netDevices["a/b"]', '"a/b" is no name'),
        (
            linux(netDevices={"a": {"name": "c"}, "b": {"name": "c"}}),
            "$.linux.netDevices.b.name",
            "c is given",
        ),
        (linux(namespaces=[], netDevices={"a": {}}), "$.linux.netDevices", "there is no network namespace"),
        (linux(maskedPaths=["x"]), "$.linux.maskedPaths[0]", "expected an absolute path"),
        (linux(namespaces=[], readonlyPaths=["/x"]), "$.linux.readonlyPaths", "they would be changed"),
        (linux(rootfsPropagation="sideways"), "$.linux.rootfsPropagation", '"sideways" is no'),
        (linux(cgroupsPath="/a/../../b"), "$.linux.cgroupsPath", '".." would lead out'),
        (linux(intelRdt={"closID": "a/b"}), "$.linux.intelRdt.closID", '"a/b" is no name'),
        (linux(intelRdt={"memBwSchema": "L3:0=f"}), "$.linux.intelRdt.memBwSchema", "expected one line"),
        (linux(intelRdt={"schemata": ["a\nb"]}), "$.linux.intelRdt.schemata[0]", "contains a newline"),
        (linux(memoryPolicy={"mode": "MPOL_BIND"}), "$.linux.memoryPolicy.nodes", "MPOL_BIND needs"),
        (
            linux(memoryPolicy={"mode": "MPOL_LOCAL", "nodes": "0"}),
            "$.linux.memoryPolicy.nodes",
            "MPOL_LOCAL",
        ),
        (linux(personality={"domain": "LINUX", "flags": ["X"]}), "$.linux.personality.flags[0]", "no flags"),
        (
            resources(devices=[{"allow": True, "type": "x"}]),
            "$.linux.resources.devices[0].type",
            "expected a",
        ),
        (
            resources(devices=[{"allow": True, "access": "rx"}]),
            "$.linux.resources.devices[0].access",
            "expec",
        ),
        (resources(memory={"limit": -2}), "$.linux.resources.memory.limit", "expected a number of bytes"),
        (resources(memory={"kernelTCP": -2}), "$.linux.resources.memory.kernelTCP", "expected a number"),
        (resources(memory={"limit": 10, "swap": 5}), "$.linux.resources.memory.swap", "memory and swap"),
        (resources(cpu={"cpus": "zero"}), "$.linux.resources.cpu.cpus", "expected a list"),
        (resources(cpu={"quota": 5, "burst": 6}), "$.linux.resources.cpu.burst", "6 is above the quota"),
        (
            resources(blockIO={"weightDevice": [{"major": 8, "minor": 0}]}),
            "$.linux.resources.blockIO.weightDevice[0]",
            "neither",
        ),
        (
            resources(hugepageLimits=[{"pageSize": "2M", "limit": 1}]),
            "$.linux.resources.hugepageLimits[0].pageSize",
            "expected a size",
        ),
        (resources(rdma={"mlx": {}}), "$.linux.resources.rdma.mlx", "neither hcaHandles"),
        (resources(unified={"../x": "1"}), '$.linux.resources.unified["../x"]', "is no file"),
        (resources(unified={"cgroup.procs": "1"}), '$.linux.resources.unified["cgroup.procs"]', "is no file"),
    ],
)
def test_refuses(fields: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(SpecError) as caught:
        checked(fields)
    assert (caught.value.path, caught.value.why[: len(why)]) == (path, why)


def test_warns() -> None:
    fields = {
        **process(capabilities={"bounding": ["CAP_CHOWN", "CAP_FLY"]}),
        "mounts": [{"destination": "tmp"}],
    }
    assert checked(fields) == [
        "$.process.capabilities.bounding[1]: CAP_FLY is unknown and left out",
        "$.mounts[0].destination: the relative path tmp is taken from /",
    ]


@given(st.sets(st.integers(0, ranges.MAX_NUMBER), max_size=30))
def test_ranges_of_single_numbers(numbers: set[int]) -> None:
    assert ranges.parse(",".join(map(str, numbers)), "$") == sorted(numbers)


@pytest.mark.parametrize("text", ["-", "1-", "-1", "a", "0-9999999", "1,,2", "٣"])
def test_ranges_refuse(text: str) -> None:
    with pytest.raises(SpecError):
        ranges.parse(text, "$.x")


def test_sysctl_paths() -> None:
    assert sysctl_path("net.ipv4.conf.eth0/100.rp_filter") == "net/ipv4/conf/eth0.100/rp_filter"
    assert sysctl_path("net/ipv4/conf/eth0.100/rp_filter") == "net/ipv4/conf/eth0.100/rp_filter"


def test_numbers_of_the_kernel() -> None:
    assert mask(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NOT_THERE"]) == 1 | 1 << 21
    assert NAMES.index("CAP_CHECKPOINT_RESTORE") == 40
    assert RLIMITS.index("RLIMIT_NOFILE") == 7
