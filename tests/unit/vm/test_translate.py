"""What a configuration for the host becomes in a guest."""

import pytest

from trimaran.errors import SpecError
from trimaran.spec.resources import Resources
from trimaran.spec.runtime import Config
from trimaran.spec.validate import check
from trimaran.vm.limits import cgroup_plan, cpu_count, limits, memory_size
from trimaran.vm.machine import Disk, MachineSpec, Nic
from trimaran.vm.qemu.command import arguments
from trimaran.vm.translate import Share, translate


def config(**change):
    base = {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["true"],
            "cwd": "/",
            "apparmorProfile": "docker-default",
            "selinuxLabel": "system_u:x:y:z",
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "h",
        "linux": {
            "namespaces": [
                {"type": "pid"},
                {"type": "mount"},
                {"type": "uts"},
                {"type": "ipc", "path": "/proc/99/ns/ipc"},
                {"type": "network", "path": "/run/netns/x"},
                {"type": "user"},
            ],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "cgroupsPath": "/host/path",
        },
        "hooks": {"prestart": [{"path": "/bin/evil"}]},
    }
    base.update(change)
    return base


def test_nothing_of_the_host_is_left():
    translated = translate(config(), "c1", "/bundle")
    result = translated.config
    assert translated.network == "/run/netns/x"
    assert {(s["type"], s.get("path", "")) for s in result["linux"]["namespaces"]} == {
        ("pid", ""),
        ("mount", ""),
        ("uts", ""),
        ("network", "/proc/1/ns/net"),
        ("ipc", "/proc/1/ns/ipc"),
    }
    assert "uidMappings" not in result["linux"]
    assert "hooks" not in result
    assert set(result["process"]) == {"args", "cwd"}
    assert result["linux"]["cgroupsPath"] == "/c1"
    assert result["root"] == {"path": "/run/trimaran/c1/root", "readonly": True}
    check(Config.parse(result))


def test_the_given_configuration_is_not_changed():
    given = config()
    translate(given, "c1", "/bundle")
    assert given == config()


def test_bind_mounts_become_shares_and_devices_the_guests_own():
    mounts = [
        {"destination": "/a", "type": "bind", "source": "/host/a", "options": ["rbind", "ro"]},
        {"destination": "/b", "source": "relative", "options": ["bind"]},
        {"destination": "/dev/null", "type": "bind", "source": "/dev/null", "options": ["bind"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
    ]
    translated = translate(config(mounts=mounts), "c1", "/bundle")
    assert translated.shares == (
        Share("/host/a", "/run/trimaran/c1/share/0", True),
        Share("/bundle/relative", "/run/trimaran/c1/share/1", False),
    )
    sources = [mount["source"] for mount in translated.config["mounts"]]
    assert sources == ["/run/trimaran/c1/share/0", "/run/trimaran/c1/share/1", "/dev/null", "tmpfs"]


def test_the_hosts_network_is_refused_in_words():
    with pytest.raises(SpecError, match="cannot use the host's"):
        translate(config(linux={"namespaces": [{"type": "mount"}]}), "c1", "/")


def test_limits_as_files():
    resources = Resources.parse(
        {
            "memory": {"limit": 1000, "swap": 3000, "reservation": 500},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
            "pids": {"limit": -1},
            "unified": {"memory.high": "900"},
        }
    )
    assert dict(limits(resources)) == {
        "memory.max": "1000",
        "memory.low": "500",
        "memory.swap.max": "2000",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "pids.max": "max",
        "memory.high": "900",
    }
    plan = cgroup_plan("c1", resources)
    assert plan.directories == plan.join == ["/sys/fs/cgroup/c1"]
    assert all(write.path.startswith("/sys/fs/cgroup/c1/") for write in plan.writes)


@pytest.mark.parametrize(
    ("quota", "period", "host", "wanted"),
    [(0, 0, 8, 1), (150000, 100000, 8, 2), (900000, 100000, 4, 4), (1000, 100000, 4, 1)],
)
def test_cpus_follow_the_quota(quota, period, host, wanted):
    assert cpu_count(quota, period, host) == wanted


def test_memory_is_the_limit_and_the_kernels_share_in_whole_large_pages():
    assert memory_size(100 << 20, 512 << 20, 96 << 20) == 196 << 20
    assert memory_size((100 << 20) + 1, 0, 96 << 20) == 198 << 20
    assert memory_size(0, 512 << 20, 96 << 20) == 512 << 20


def test_a_disk_is_opened_read_only_by_the_host(tmp_path):
    """V2: the guest has no say in it."""
    disks = [Disk("/img/with,comma", "layer0"), Disk("/scratch", "scratch", read_only=False)]
    spec = MachineSpec(str(tmp_path), "/vmlinux", "/initrd", disks=disks, nic=Nic(9, "02:00:00:00:00:01"))
    words = arguments("qemu", spec, accelerator="tcg", tsc_khz=1000)
    drives = [word for word in words if word.startswith("id=disk")]
    assert "file=/img/with,,comma" in drives[0]
    assert "readonly=on" in drives[0]
    assert "readonly=off" in drives[1]
    assert "virtio-net-device,netdev=net,mac=02:00:00:00:00:01" in words
    assert "tsc_early_khz=1000" in words[words.index("-append") + 1]


def test_a_template_and_its_clones_have_the_same_devices():
    disks = [Disk("/a", "layer0"), Disk("/b", "layer1")]
    bare = MachineSpec("/d", "/vmlinux", "/initrd")
    clone = MachineSpec("/d", "/vmlinux", "/initrd", disks=disks, nic=Nic(9, "02:00:00:00:00:01"))

    def kinds(spec):
        words = arguments("qemu", spec, accelerator="tcg", template=True)
        return [word.split(",")[0] for at, word in enumerate(words) if words[at - 1] == "-device"]

    assert kinds(bare) == kinds(clone)
