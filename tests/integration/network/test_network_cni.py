"""CNI: every plugin of Debian's package, chains, capabilities; and plugins that misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.network import HOST, OUTSIDE, Box, World, talk

from trimaran.errors import InvalidInput, NetworkError, NotFound, SpecError, TimedOut
from trimaran.network.cni.chain import Attachment, Chain
from trimaran.network.cni.directory import PLUGIN_DIRECTORIES
from trimaran.network.model import EndpointRequest, NetworkRequest, NetworkResult, NetworkSpec
from trimaran.network.parse import parse_ports
from trimaran.spec.cni import NetworkList

pytestmark = [pytest.mark.root, pytest.mark.peer("nft", "iptables")]
ID = "c" * 64


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("needs the package containernetworking-plugins")
    with World(tmp_path) as made:
        # Not every plugin turns on what it needs.
        made.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield made


def local(world: World, subnet: str = "10.77.0.0/24") -> dict[str, object]:
    folder = str(world.directory / "leases")
    return {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": folder,
    }


def network(world: World, *plugins: dict[str, object], version: str = "1.0.0") -> None:
    text = json.dumps({"cniVersion": version, "name": "net", "plugins": list(plugins)})
    world.manager.create(NetworkSpec("net", driver="cni", cni=text))


def attach(
    world: World, *, id: str = ID, ports: tuple[str, ...] = (), **wishes: object
) -> tuple[Box, NetworkResult]:
    box = world.container(id)
    endpoint = EndpointRequest("net", **{k: v for k, v in wishes.items() if k in ("ipv4", "mac", "aliases")})  # type: ignore[arg-type]
    rest = {k: v for k, v in wishes.items() if k in ("ingress", "egress", "cni_args")}
    request = NetworkRequest((endpoint,), tuple(map(parse_ports, ports)), **rest)  # type: ignore[arg-type]
    return box, world.manager.attach(id, box.netns, request)


def bridge(world: World, **keys: object) -> dict[str, object]:
    return {
        "type": "bridge",
        "bridge": "cni9",
        "isGateway": True,
        "ipMasq": True,
        "ipam": local(world),
        **keys,
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_bridge_and_host_local(world: World, version: str) -> None:
    network(world, bridge(world), version=version)
    a, result = attach(world)
    b, other = attach(world, id="d" * 64)
    assert result.endpoints[0].ipv4 == "10.77.0.2"
    assert result.gateway == "10.77.0.1"
    assert a.addresses() == {"10.77.0.2/24"}
    with b.listen(80) as server:
        assert talk(a.connect(other.endpoints[0].ipv4, 80), server) == "10.77.0.2"
    with world.outside.listen(80) as server:
        assert talk(a.connect(OUTSIDE, 80), server) == HOST
    if version != "0.3.1":
        world.manager.check(ID, a.netns)
        a.run("ip", "addr", "flush", "dev", "eth0")
        with pytest.raises(NetworkError, match="CNI plugin bridge failed to CHECK"):
            world.manager.check(ID, a.netns)
    world.manager.detach(ID, a.netns)
    assert "eth0" not in a.links()
    leases = os.listdir(world.directory / "leases" / "net")
    assert "10.77.0.2" not in leases
    assert "10.77.0.3" in leases


def test_portmap_and_firewall_and_tuning_in_a_chain(world: World) -> None:
    network(
        world,
        bridge(world),
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall", "backend": "iptables"},
        {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.ipv4.conf.all.log_martians": "1"}},
    )
    box, result = attach(world, ports=("8080:80",), mac="02:00:00:00:00:99")
    assert box.links()["eth0"].mac.hex(":") == result.endpoints[0].mac == "02:00:00:00:00:99"
    assert box.run("sysctl", "-n", "net.ipv4.conf.all.log_martians").strip() == "1"
    with box.listen(80) as server:
        assert talk(world.outside.connect(HOST, 8080), server) == OUTSIDE
    assert [str(port) for port in world.manager.ports()] == ["0.0.0.0:8080->80/tcp"]
    world.manager.detach(ID, box.netns)
    assert not world.outside.reaches(HOST, 8080)


def test_ptp(world: World) -> None:
    network(world, {"type": "ptp", "ipMasq": True, "ipam": local(world)})
    box, _ = attach(world)
    with world.outside.listen(80) as server:
        assert talk(box.connect(OUTSIDE, 80), server) == HOST


def test_static_addresses_by_capability(world: World) -> None:
    static = {"type": "static", "capabilities": {"ips": True}}
    network(world, bridge(world, ipam=static, capabilities={"ips": True}, isGateway=False, ipMasq=False))
    box, result = attach(world, ipv4="10.78.0.9/24")
    assert result.endpoints[0].ipv4 == "10.78.0.9"
    assert box.addresses() == {"10.78.0.9/24"}


def test_bandwidth(world: World) -> None:
    network(world, bridge(world), {"type": "bandwidth", "capabilities": {"bandwidth": True}})
    box, _ = attach(world, ingress=8_000_000, egress=4_000_000)
    shaped = subprocess.check_output(["tc", "qdisc", "show"], text=True)
    assert "rate 8Mbit" in shaped
    assert "rate 4Mbit" in shaped
    world.manager.detach(ID, box.netns)
    assert "rate 4Mbit" not in subprocess.check_output(["tc", "qdisc", "show"], text=True)


def test_macvlan_and_sbr(world: World) -> None:
    addresses = {"type": "static", "addresses": [{"address": "203.0.113.9/24"}]}
    macvlan = {"type": "macvlan", "master": "wan0", "ipam": addresses}
    network(world, macvlan)
    box, result = attach(world)
    with world.outside.listen(80) as server:
        assert talk(box.connect(OUTSIDE, 80), server) == result.endpoints[0].ipv4 == "203.0.113.9"
    world.manager.detach(ID, box.netns)
    world.manager.remove("net")
    network(world, macvlan, {"type": "sbr"})
    box, _ = attach(world)
    assert "from 203.0.113.9" in box.run("ip", "rule")


def test_host_device(world: World) -> None:
    subprocess.run(["ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1"], check=True)
    network(world, {"type": "host-device", "device": "spare0"})
    box, _ = attach(world)
    assert "eth0" in box.links()
    world.manager.detach(ID, box.netns)
    assert "spare0" in world.host.links()


def test_dhcp(world: World) -> None:
    if not os.path.exists("/usr/sbin/dnsmasq"):
        pytest.skip("needs the package dnsmasq-base")
    world.host.run("ip", "link", "add", "lan9", "type", "bridge")
    world.host.run("ip", "addr", "add", "10.79.0.1/24", "dev", "lan9")
    world.host.run("ip", "link", "set", "lan9", "up")
    listening = world.directory / "dhcp.sock"
    files = [f"--{name}-file={world.directory}/{name}" for name in ("pid", "dhcp-lease")]
    files[1] = f"--dhcp-leasefile={world.directory}/leases.dhcp"
    with (
        subprocess.Popen(
            [
                "dnsmasq",
                "--keep-in-foreground",
                "--port=0",
                "--interface=lan9",
                "--bind-interfaces",
                "--dhcp-range=10.79.0.50,10.79.0.59",
                "--conf-file=/dev/null",
                *files,
            ]
        ) as server,
        subprocess.Popen(["/usr/lib/cni/dhcp", "daemon", "-socketpath", str(listening)]) as daemon,
    ):
        try:
            deadline = time.monotonic() + 5
            while not listening.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            network(
                world,
                bridge(
                    world,
                    bridge="lan9",
                    isGateway=False,
                    ipMasq=False,
                    ipam={"type": "dhcp", "daemonSocketPath": str(listening)},
                ),
            )
            box, result = attach(world)
            assert result.endpoints[0].ipv4.startswith("10.79.0.5")
            world.manager.detach(ID, box.netns)
        finally:
            daemon.terminate()
            server.terminate()


STATIC = {"type": "static", "addresses": [{"address": "10.80.0.9/24"}]}
RARE = {
    "vlan": ({"master": "wan0", "vlanId": 5, "ipam": STATIC}, ["id", "5"]),
    "ipvlan": ({"master": "wan0", "ipam": STATIC}, []),
    "vrf": ({"vrfname": "v9"}, ["table", "9"]),
}


def kernel_has(kind: str) -> bool:
    add = ["ip", "link", "add", "probe0", "link", "wan0", "type", kind, *RARE[kind][1]]
    if subprocess.run(add, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["ip", "link", "del", "probe0"], check=True)
    return True


@pytest.mark.parametrize("kind", RARE)
def test_kinds_of_links_that_few_kernels_lack(world: World, kind: str) -> None:
    plugin = {"type": kind, **RARE[kind][0]}
    network(world, *([bridge(world), plugin] if kind == "vrf" else [plugin]))
    if kernel_has(kind):
        box, _ = attach(world)
        assert "eth0" in box.links()
        return
    with pytest.raises(NetworkError, match=rf"CNI plugin {kind} failed to ADD: .*not supported"):
        attach(world)
    assert world.traces()["network_endpoint"] == 0


def test_loopback_and_what_each_plugin_speaks() -> None:
    kinds = (
        sorted(set(os.listdir("/usr/lib/cni")) & set(os.listdir("/usr/lib/cni")))
        if os.path.isdir("/usr/lib/cni")
        else []
    )
    config = NetworkList({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": kind} for kind in kinds]})
    spoken = Chain(config, PLUGIN_DIRECTORIES).versions()
    assert set(spoken) == set(kinds)
    assert all("1.0.0" in versions for versions in spoken.values())


def test_a_network_by_the_name_in_the_configuration_directory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.directory / "net.d"
    folder.mkdir()
    monkeypatch.setenv("CNI_CONF_DIR", str(folder))
    text = {"cniVersion": "1.0.0", "name": "net", "plugins": [bridge(world)]}
    (folder / "10-net.conflist").write_text(json.dumps(text))
    box, result = attach(world)
    assert result.endpoints[0].ipv4 == "10.77.0.2"
    (folder / "10-net.conflist").unlink()
    # What was set up is taken down with the configuration that it was set up with.
    world.manager.detach(ID, box.netns)
    assert "10.77.0.2" not in os.listdir(world.directory / "leases" / "net")
    with pytest.raises(NotFound):
        attach(world)
    with pytest.raises(NotFound, match="no network other"):
        world.manager.get("other")


def test_ports_need_a_plugin_that_can(world: World) -> None:
    network(world, bridge(world))
    with pytest.raises(InvalidInput, match="ports cannot be published"):
        attach(world, ports=("80:80",))


def scripted(directory: Path, text: str, name: str = "odd") -> list[str]:
    """A plugin that is a shell script; the directory to look for it in."""
    path = directory / "plugins" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return [str(path.parent)]


def chain(
    directory: Path, text: str, *, version: str = "1.1.0", seconds: float = 10, **keys: object
) -> Chain:
    plugins = [{"type": "odd", **keys}]
    config = NetworkList({"cniVersion": version, "name": "n", "plugins": plugins})
    return Chain(config, scripted(directory, text), seconds=seconds)


ATTACHMENT = Attachment(
    ID, "eth0", "/proc/self/ns/net", {"ips": ["10.0.0.1/8"], "mac": "02:00:00:00:00:01"}, {"K8S_POD": "p"}
)


def test_a_plugin_is_told_all_that_the_specification_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = (
        f"cat > {log}.$CNI_COMMAND; env | grep ^CNI_ | sort > {log}.env.$CNI_COMMAND;"
        """[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.1.0", "ips": []}'"""
    )
    made = chain(tmp_path, text, capabilities={"ips": True, "portMappings": True})
    _, raw = made.add(ATTACHMENT)
    made.check(ATTACHMENT, raw)
    made.delete(ATTACHMENT, raw)
    made.status()
    made.collect([(ID, "eth0")])
    told = {c: json.loads(Path(f"{log}.{c}").read_text()) for c in ("ADD", "CHECK", "DEL", "STATUS", "GC")}
    expected = {"name": "n", "cniVersion": "1.1.0", "type": "odd"}
    assert told["ADD"] == {**expected, "runtimeConfig": {"ips": ["10.0.0.1/8"]}}
    assert told["CHECK"] == told["DEL"] == {**told["ADD"], "prevResult": raw}
    assert told["STATUS"] == expected
    assert told["GC"] == {**expected, "cni.dev/valid-attachments": [{"containerID": ID, "ifname": "eth0"}]}
    environment = Path(f"{log}.env.ADD").read_text().splitlines()
    assert environment == [
        "CNI_ARGS=K8S_POD=p",
        "CNI_COMMAND=ADD",
        f"CNI_CONTAINERID={ID}",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/proc/self/ns/net",
        f"CNI_PATH={tmp_path}/plugins",
    ]
    assert Path(f"{log}.env.STATUS").read_text().splitlines() == [
        "CNI_COMMAND=STATUS",
        f"CNI_PATH={tmp_path}/plugins",
    ]


def test_old_versions_are_not_asked_what_they_do_not_know(tmp_path: Path) -> None:
    made = chain(tmp_path, 'echo "$CNI_COMMAND" >> ' + str(tmp_path / "log"), version="1.0.0")
    made.status()
    made.collect([])
    assert not (tmp_path / "log").exists()
    old = chain(tmp_path, "cat > " + str(tmp_path / "told"), version="0.3.1")
    old.delete(ATTACHMENT, {"ips": []})
    assert "prevResult" not in json.loads((tmp_path / "told").read_text())
    with pytest.raises(NetworkError, match="has no CHECK"):
        old.check(ATTACHMENT, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'echo \'{"code": 11, "msg": "no more", "details": "try in a while"}\'; exit 1',
            "no more: try in a while .the plugin asks to try again",
        ),
        ("echo 'it is all broken' >&2; exit 3", "exit code 3, .*it wrote 'it is all broken'"),
        ("echo 'not json'", "answered ADD with nonsense: .*it wrote 'not json'"),
        ("printf '\\033[31mred\\001'; exit 1", r"it wrote '\[31mred'"),
        ("kill -9 $$", "signal 9, .*it wrote nothing"),
        ("head -c 3000000 /dev/zero | tr '\\0' '['; exit 0", "answered ADD with nonsense"),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1", "exit code 1, .*it wrote 'xxxx"),
        ("yes '{' | head -c 2000000", "nonsense"),
    ],
)
def test_a_plugin_that_fails_is_quoted(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        chain(tmp_path, f"[ $CNI_COMMAND = ADD ] || exit 0\n{text}").add(ATTACHMENT)


def test_a_result_that_breaks_the_specification(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"\$\.ips\[0\]\.address"):
        chain(tmp_path, "[ $CNI_COMMAND = ADD ] && echo '{\"ips\": [{}]}'; exit 0").add(ATTACHMENT)


def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = f"[ $CNI_COMMAND = ADD ] || exit 0; sleep 100 & echo $! > {tmp_path}/child; wait"
    start = time.monotonic()
    with pytest.raises(TimedOut, match=r"odd did not finish ADD: it took more than 0\.5 s"):
        chain(tmp_path, text, seconds=0.5).add(ATTACHMENT)
    assert time.monotonic() - start < 5
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_failed_chain_is_undone_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name, code in (("one", 0), ("two", 0), ("three", 1)):
        scripted(
            tmp_path,
            f'echo "$CNI_COMMAND {name}" >> {log}; echo "{{}}"; [ $CNI_COMMAND = DEL ] || exit {code}',
            name,
        )
    config = NetworkList(
        {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": t} for t in ("one", "two", "three")]}
    )
    with pytest.raises(NetworkError, match="CNI plugin three failed to ADD"):
        Chain(config, [str(tmp_path / "plugins")]).add(ATTACHMENT)
    assert log.read_text().splitlines() == [
        "ADD one",
        "ADD two",
        "ADD three",
        "DEL three",
        "DEL two",
        "DEL one",
    ]


def test_no_such_plugin(tmp_path: Path) -> None:
    config = NetworkList({"name": "n", "plugins": [{"type": "nonesuch"}]})
    with pytest.raises(NotFound, match=r"no CNI plugin nonesuch: it is not in /.*apt-get install"):
        Chain(config, [str(tmp_path)]).add(ATTACHMENT)
