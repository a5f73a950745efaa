"""Finding the hierarchies, and planning a container's cgroups in each kind of host."""

import pytest

from trimaran.errors import SpecError
from trimaran.plan import cgroups
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
        "/sys/fs/cgroup/pids/a/b/pids.max": "max",
    }
    assert plan.join == plan.directories
    assert "/sys/fs/cgroup/cpu,cpuacct/a/b" in plan.directories


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
    assert cgroups.cpu_weight(shares) == weight


def test_a_path_that_climbs_is_refused():
    with pytest.raises(SpecError, match="leads upwards"):
        cgroups.plan(None, V2, "/a/../../b", "id")


def test_a_limit_without_its_controller_is_refused():
    layout = CgroupLayout("v1", {"cpu": "/sys/fs/cgroup/cpu"}, {})
    with pytest.raises(SpecError, match="no memory cgroup controller"):
        cgroups.plan(resources(memory={"limit": 1}), layout, "/a", "id")
