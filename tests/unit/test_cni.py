"""CNI configurations and results, of all versions, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import NotFound, SpecError
from trimaran.network.cni import directory
from trimaran.spec.cni import NetworkList, at_least, parse_result


def config(**changes: object) -> dict[str, object]:
    return {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}], **changes}


def test_a_list() -> None:
    read = NetworkList(config(disableCheck="true"))
    assert (read.name, read.version, read.disable_check, read.disable_gc) == ("net", "1.0.0", True, False)
    assert read.plugins == [{"type": "bridge"}]


def test_the_newest_common_version_is_spoken() -> None:
    assert NetworkList(config(cniVersions=["0.4.0", "1.1.0", "9.0.0"])).version == "1.1.0"
    assert NetworkList({"name": "n", "type": "bridge"}).version == "0.1.0"
    assert at_least("1.0.0", "0.4.0")
    assert not at_least("0.3.1", "0.4.0")


def test_a_single_plugin_is_a_list_of_one() -> None:
    read = NetworkList({"cniVersion": "0.3.1", "name": "n", "type": "ptp", "mtu": 1400})
    assert read.plugins == [{"cniVersion": "0.3.1", "name": "n", "type": "ptp", "mtu": 1400}]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([], "$"),
        (config(name="a/b"), "$.name"),
        (config(name=""), "$.name"),
        (config(name="-a"), "$.name"),
        (config(cniVersion="7.0.0"), "$.cniVersion"),
        (config(cniVersions=[1]), "$.cniVersions"),
        (config(plugins=[]), "$.plugins"),
        (config(plugins={}), "$.plugins"),
        (config(plugins=["bridge"]), "$.plugins[0]"),
        (config(plugins=[{"type": "bridge"}, {}]), "$.plugins[1].type"),
        (config(plugins=[{"type": "../../bin/sh"}]), "$.plugins[0].type"),
        (config(plugins=[{"type": ".."}]), "$.plugins[0].type"),
        (config(plugins=[{"type": "x", "capabilities": []}]), "$.plugins[0].capabilities"),
        (config(disableCheck=1), "$.disableCheck"),
    ],
)
def test_what_is_wrong_and_where(value: object, path: str) -> None:
    with pytest.raises(SpecError) as raised:
        NetworkList(value)
    assert raised.value.path == path


RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/a"}],
    "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {"nameservers": ["10.1.0.1"]},
}


def test_a_result_of_now_and_of_old() -> None:
    now = parse_result(RESULT)
    assert (now.ips[0].address, now.ips[0].interface, now.interfaces[0].name) == ("10.1.0.5/16", 0, "eth0")
    old = parse_result(
        {
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "fd00::5/64"},
            "dns": {"nameservers": ["10.1.0.1"]},
        }
    )
    assert [address.address for address in old.ips] == ["10.1.0.5/16", "fd00::5/64"]
    assert (old.routes[0].dst, old.dns.nameservers) == ("0.0.0.0/0", ["10.1.0.1"])


@pytest.mark.parametrize(
    "value", [[], {"ips": [{}]}, {"ips": "x"}, {"interfaces": [{"name": 1}]}, {"ip4": {}}]
)
def test_what_is_no_result(value: object) -> None:
    with pytest.raises(SpecError):
        parse_result(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda c: st.lists(c) | st.dictionaries(st.text(max_size=8), c),
    )
)
def test_any_json_is_a_configuration_or_a_clear_error(value: object) -> None:
    for read in (NetworkList, parse_result):
        try:
            read(value)
        except SpecError:
            continue


def test_files_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    (second / "10-one.conflist").write_text('{"name": "one", "plugins": [{"type": "ptp"}]}')
    (first / "20-two.conf").write_text('{"name": "two", "type": "bridge"}')
    (first / "05-broken.conf").write_text('{"name": "broken"')
    (first / "README").write_text("not a configuration")
    (second / "20-two.conf").write_text('{"name": "shadowed", "type": "bridge"}')
    directories = [str(first), str(second), str(tmp_path / "none")]
    found = directory.load(directories)
    assert [Path(path).name for path, _ in found] == ["05-broken.conf", "10-one.conflist", "20-two.conf"]
    assert isinstance(found[0][1], SpecError)
    assert directory.find("", directories).name == "one"
    assert directory.find("two", directories).plugins[0]["type"] == "bridge"
    with pytest.raises(NotFound):
        directory.find("shadowed", directories)
    (first / "20-two.conf").unlink()
    with pytest.raises(SpecError, match=r"05-broken\.conf"):
        directory.find("", [str(first)])
