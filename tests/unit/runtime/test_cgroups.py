"""Finding the hierarchies, and planning a container's cgroups in each kind of host."""

import pytest

from trimaran.errors import SpecError
from trimaran.plan import cgroup_io, cgroup_v2, cgroups
from trimaran.plan.host import CgroupLayout
from trimaran.runtime.cgroups.layout import parse_layout
from trimaran.spec.resources import Resources

V2_INFO = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_INFO = (
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 23 0:29 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,xattr,name=systemd\n"
    "34 23 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)
OWN = "4:memory:/outer\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/user.slice\n"
V1 = parse_layout(V1_INFO, OWN)
V2 = parse_layout(V2_INFO, OWN)


def resources(**fields) -> Resources:
    return Resources.parse(fields)


def texts(plan) -> dict[str, str]:
    return {write.path: write.text for write in plan.writes if not write.optional}


def test_modes():
    assert (V1.mode, V2.mode) == ("v1", "v2")
    assert parse_layout(V1_INFO + V2_INFO, OWN).mode == "hybrid"
    assert parse_layout("", OWN) is None


def test_mounts_and_own_paths():
    assert V1.mounts["cpu"] == V1.mounts["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert V1.mounts["name=systemd"] == "/sys/fs/cgroup/with space"
    assert V1.own["memory"] == "/outer"


def test_v1_limits_go_to_their_controllers():
    plan = cgroups.plan(resources(memory={"limit": 100}, pids={"limit": 0}), V1, "/a/b", "id")
    assert texts(plan) == {
        "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "100",
        "/sys/fs/cgroup/pids/a/b/pids.max": "0",
    }
    assert plan.join == plan.directories
    assert "/sys/fs/cgroup/cpu,cpuacct/a/b" in plan.directories


ALL = ("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma", "devices")
EVERY_V1 = CgroupLayout("v1", {name: f"/c/{name}" for name in ALL}, {}, ("0-3", "0"))


def v1(**fields) -> dict[str, str]:
    plan = cgroups.plan(resources(**fields), EVERY_V1, "/a", "id")
    return {
        w.path.removeprefix("/c/"): w.text
        for w in plan.writes
        if "devices" not in w.path and "cpuset is born" not in w.why
    }


def v2(**fields) -> dict[str, str]:
    plan = cgroups.plan(resources(**fields), V2, "/a", "id")
    prefix = "/sys/fs/cgroup/a/"
    return {w.path.removeprefix(prefix): w.text for w in plan.writes if w.path.startswith(prefix)}


def test_v1_memory():
    assert v1(
        memory={"limit": 9, "swap": 10, "reservation": 5, "swappiness": 0, "disableOOMKiller": True}
    ) == {
        "memory/a/memory.limit_in_bytes": "9",
        "memory/a/memory.memsw.limit_in_bytes": "10",
        "memory/a/memory.soft_limit_in_bytes": "5",
        "memory/a/memory.swappiness": "0",
        "memory/a/memory.oom_control": "1",
    }
    assert v1(memory={"limit": -1})["memory/a/memory.memsw.limit_in_bytes"] == "-1"
    assert v1(memory={"limit": 0, "disableOOMKiller": False}) == {}


def test_v1_cpu_and_the_levels_of_a_cpuset():
    assert v1(cpu={"shares": 5, "quota": -1, "period": 7, "burst": 1, "realtimePeriod": 8, "cpus": "1"}) == {
        "cpuset/a/cpuset.cpus": "1",
        "cpu/a/cpu.shares": "5",
        "cpu/a/cpu.cfs_period_us": "7",
        "cpu/a/cpu.cfs_quota_us": "-1",
        "cpu/a/cpu.cfs_burst_us": "1",
        "cpu/a/cpu.rt_period_us": "8",
    }


def test_a_cpuset_is_filled_on_all_levels():
    plan = cgroups.plan(None, EVERY_V1, "/a/b", "id")
    assert [(w.path, w.text, w.optional) for w in plan.writes if "cpuset" in w.path] == [
        ("/c/cpuset/a/cpuset.cpus", "0-3", True),
        ("/c/cpuset/a/cpuset.mems", "0", True),
        ("/c/cpuset/a/b/cpuset.cpus", "0-3", False),
        ("/c/cpuset/a/b/cpuset.mems", "0", False),
    ]


DEVICE = {"major": 8, "minor": 16}


def test_v1_block_io_network_huge_pages_and_rdma():
    block_io = {
        "weight": 100,
        "weightDevice": [{**DEVICE, "weight": 50, "leafWeight": 40}],
        "throttleReadBpsDevice": [{**DEVICE, "rate": 1}],
        "throttleWriteIOPSDevice": [{**DEVICE, "rate": 2}],
    }
    assert v1(blockIO=block_io) == {
        "blkio/a/blkio.bfq.weight": "100",
        "blkio/a/blkio.bfq.weight_device": "8:16 50",
        "blkio/a/blkio.leaf_weight_device": "8:16 40",
        "blkio/a/blkio.throttle.read_bps_device": "8:16 1",
        "blkio/a/blkio.throttle.write_iops_device": "8:16 2",
    }
    assert v1(network={"classID": 5, "priorities": [{"name": "lo", "priority": 3}]}) == {
        "net_cls/a/net_cls.classid": "5",
        "net_prio/a/net_prio.ifpriomap": "lo 3",
    }
    assert v1(hugepageLimits=[{"pageSize": "2MB", "limit": 6}]) == {
        "hugetlb/a/hugetlb.2MB.rsvd.limit_in_bytes": "6",
        "hugetlb/a/hugetlb.2MB.limit_in_bytes": "6",
    }
    assert v1(rdma={"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}) == {
        "rdma/a/rdma.max": "mlx5_1 hca_handle=3 hca_object=4"
    }


def test_weights_have_a_second_name():
    plan = cgroups.plan(resources(blockIO={"weight": 1000}), V2, "/a", "id")
    other = next(w.other for w in plan.writes if w.path.endswith("io.bfq.weight"))
    assert other == ("/sys/fs/cgroup/a/io.weight", "default 10000")
    assert (cgroup_io.io_weight(10), cgroup_io.io_weight(1000)) == (1, 10000)


def test_v2_values():
    assert v2(
        memory={"limit": -1, "reservation": 4},
        cpu={"period": 50000, "idle": 1, "shares": 512, "burst": 3, "cpus": "0", "mems": "0"},
        pids={"limit": -1},
        blockIO={"throttleReadBpsDevice": [{**DEVICE, "rate": 1}]},
        unified={"io.max": "8:0 rbps=1\n8:16 wbps=2", "memory.high": "7"},
    ) == {
        "memory.swap.max": "max",
        "memory.max": "max",
        "memory.low": "4",
        "cpu.idle": "1",
        "cpu.max": "max 50000",
        "cpu.max.burst": "3",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "max",
        "io.max": "8:16 wbps=2",
        "memory.high": "7",
    }


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"memory": {"swappiness": 5}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"memory": {"kernel": 5}}, "memory.kernel"),
        ({"memory": {"swap": 5}}, "memory.swap"),
        ({"cpu": {"realtimeRuntime": 5}}, "cpu.realtimeRuntime"),
        ({"network": {"classID": 1}}, "network"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
    ],
)
def test_what_v2_cannot_express_is_refused(fields, where):
    with pytest.raises(SpecError) as caught:
        v2(**fields)
    assert caught.value.path == f"$.linux.resources.{where}"


def test_unified_limits_need_a_unified_hierarchy():
    with pytest.raises(SpecError, match="unified"):
        v1(unified={"memory.high": "1"})


def test_a_v2_process_is_born_in_its_cgroup_with_a_device_filter():
    plan = cgroups.plan(None, V2, "/a", "id")
    assert not plan.closed
    assert plan.device_program is not None
    assert plan.device_program[0] == "/sys/fs/cgroup/a"
    assert cgroups.plan(None, V2, "/a", "id", rootless=True).device_program is None
    assert cgroups.plan(resources(pids={"limit": 0}), V2, "/a", "id").closed


@pytest.mark.parametrize("given", ["/", "//", "/."])
def test_the_root_of_a_hierarchy_is_refused(given):
    with pytest.raises(SpecError, match="root of the hierarchy"):
        cgroups.plan(None, V2, given, "id")


def test_a_relative_path_is_below_our_own():
    assert "/sys/fs/cgroup/memory/outer/id" in cgroups.plan(None, V1, "", "id").directories


def test_v2_limits():
    wanted = resources(
        memory={"limit": 100, "swap": 150}, cpu={"shares": 1024, "quota": 5000}, unified={"pids.max": "7"}
    )
    assert texts(cgroups.plan(wanted, V2, "/a", "id")) == {
        "/sys/fs/cgroup/a/memory.max": "100",
        "/sys/fs/cgroup/a/memory.swap.max": "50",
        "/sys/fs/cgroup/a/cpu.weight": "100",
        "/sys/fs/cgroup/a/cpu.max": "5000 100000",
        "/sys/fs/cgroup/a/pids.max": "7",
    }


def test_without_a_path_a_v2_cgroup_is_beside_our_own():
    layout = CgroupLayout("v2", {"": "/sys/fs/cgroup"}, {"": "/system.slice/engine.service"})
    assert cgroups.plan(None, layout, "", "id").directories == ["/sys/fs/cgroup/system.slice/id"]


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000)])
def test_shares_become_a_weight(shares, weight):
    assert cgroup_v2.cpu_weight(shares) == weight


def test_a_path_that_climbs_is_refused():
    with pytest.raises(SpecError, match="leads upwards"):
        cgroups.plan(None, V2, "/a/../../b", "id")


def test_a_limit_without_its_controller_is_refused():
    layout = CgroupLayout("v1", {"cpu": "/sys/fs/cgroup/cpu"}, {})
    with pytest.raises(SpecError, match="no memory cgroup controller"):
        cgroups.plan(resources(memory={"limit": 1}), layout, "/a", "id")
