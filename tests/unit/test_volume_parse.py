"""docker's mount syntax to data, and to mounts of the OCI configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import InvalidInput
from trimaran.volume.model import IdMap, MountRequest
from trimaran.volume.oci import special_to_oci, to_oci
from trimaran.volume.parse import parse_mount, parse_size, parse_tmpfs, parse_volume


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", MountRequest("volume", "/data")),
        ("db:/data", MountRequest("volume", "/data", "db")),
        ("db:/data:ro,nocopy", MountRequest("volume", "/data", "db", read_only=True, copy=False)),
        ("/srv:/data", MountRequest("bind", "/data", "/srv", create_source=True)),
        ("./x:/data:rw,z", MountRequest("bind", "/data", "./x", create_source=True, relabel="shared")),
        (
            "/s:/d:rslave,noexec",
            MountRequest("bind", "/d", "/s", propagation="rslave", flags=("noexec",), create_source=True),
        ),
        ("/s:/d:bind", MountRequest("bind", "/d", "/s", recursive=False, create_source=True)),
        ("/s:/d:idmap", MountRequest("bind", "/d", "/s", idmap=IdMap(), create_source=True)),
    ],
)
def test_volume_option(text: str, expected: MountRequest) -> None:
    assert parse_volume(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:b",
        "db:data",
        "db:/",
        "/:",
        "/a:/b:purple",
        "/a:/b:ro:x",
        "-db:/data",
        "d b:/data",
        "db:/d:shared",
    ]
    + ["x:/d", "/a:/b:idmap=uids=1-2", "/a:/b:idmap=uids=0-1-2", "a/b/../c\0:/d:\0"],
)
def test_what_is_no_volume_option(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_volume(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=bind,src=/srv,dst=/data,readonly", MountRequest("bind", "/data", "/srv", read_only=True)),
        ("target=/data", MountRequest("volume", "/data")),
        (
            "type=volume,source=db,target=/data,volume-subpath=a/b",
            MountRequest("volume", "/data", "db", subpath="a/b"),
        ),
        (
            "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700",
            MountRequest("tmpfs", "/t", size=64 << 20, mode=0o700),
        ),
        (
            "type=image,source=debian:12,target=/d,image-subpath=etc",
            MountRequest("image", "/d", "debian:12", subpath="etc"),
        ),
        ('type=bind,"src=/a,b",dst=/d', MountRequest("bind", "/d", "/a,b")),
        ("type=bind,src=/a,dst=/d,ro=false", MountRequest("bind", "/d", "/a")),
        (
            "type=bind,src=/a,dst=/d,ro,bind-recursive=writable,bind-propagation=rshared",
            MountRequest(
                "bind", "/d", "/a", read_only=True, recursive_read_only=False, propagation="rshared"
            ),
        ),
        (
            "src=db,dst=/d,volume-nocopy,volume-label=a=b,volume-opt=type=nfs,volume-opt=o=addr=10.0.0.1",
            MountRequest(
                "volume",
                "/d",
                "db",
                copy=False,
                labels={"a": "b"},
                options={"type": "nfs", "o": "addr=10.0.0.1"},
            ),
        ),
    ],
)
def test_mount_option(text: str, expected: MountRequest) -> None:
    assert parse_mount(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=bind,dst=/d",
        "type=bind,src=/a",
        "type=cake,dst=/d",
        "dst=/d,colour=red",
        "dst=d",
        "type=tmpfs,src=/a,dst=/d",
    ]
    + [
        "dst=/d,tmpfs-size=1",
        "dst=/d,volume-subpath=../x",
        "dst=/d,volume-subpath=/x",
        "dst=/d,ro=maybe",
        'dst="/d',
    ]
    + ["type=bind,src=/a,dst=/d,bind-propagation=loud", "dst=/d,src", "type=bind,src=/a,dst=/d,subpath=b"],
)
def test_what_is_no_mount_option(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_mount(text)


def test_tmpfs_option() -> None:
    assert to_oci(parse_tmpfs("/run"), "")["options"] == ["noexec", "nosuid", "nodev", "rw", "mode=1777"]
    mount = to_oci(parse_tmpfs("/run:size=1m,mode=755,uid=7,exec,ro"), "")
    assert mount["options"] == ["nosuid", "nodev", "exec", "ro", "size=1048576", "mode=755", "uid=7"]
    for text in ("run", "/run:mode=999", "/run:size=big", "/run:bogus", "/", "/run:uid=1 2"):
        with pytest.raises(InvalidInput):
            parse_tmpfs(text)


@given(st.text(alphabet="/.:,=\0 abro-zZ", max_size=30))
def test_any_text_is_a_mount_or_a_clear_error(text: str) -> None:
    for parse in (parse_volume, parse_mount, parse_tmpfs):
        try:
            request = parse(text)
        except InvalidInput:
            continue
        assert request.target.startswith("/")


def test_sizes() -> None:
    assert [parse_size(t) for t in ("0", "10", "10b", "1k", "1KiB", "2M", "3gb")] == [
        0,
        10,
        10,
        1024,
        1024,
        2 << 20,
        3 << 30,
    ]
    for text in ("", "k", "1.5m", "-1", "1x", "1kk"):
        with pytest.raises(InvalidInput):
            parse_size(text)


def test_read_only_reaches_the_mounts_below_unless_said_otherwise() -> None:
    assert to_oci(parse_volume("/a:/b:ro"), "/a")["options"] == ["rbind", "rprivate", "rro"]
    assert to_oci(parse_volume("/a:/b"), "/a")["options"] == ["rbind", "rprivate", "rw"]
    only = parse_mount("type=bind,src=/a,dst=/b,ro,bind-recursive=writable")
    assert to_oci(only, "/a")["options"] == ["rbind", "rprivate", "ro"]
    alone = parse_mount("type=bind,src=/a,dst=/b,ro,bind-recursive=disabled")
    assert to_oci(alone, "/a")["options"] == ["bind", "rprivate", "ro"]


def test_an_id_map_becomes_the_specification_s() -> None:
    mount = to_oci(parse_volume("/a:/b:idmap=uids=0-1000-10;gids=0-2000-10"), "/a")
    assert "idmap" in mount["options"]
    assert mount["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 10}]
    assert mount["gidMappings"] == [{"containerID": 0, "hostID": 2000, "size": 10}]
    assert "uidMappings" not in to_oci(parse_volume("/a:/b:idmap"), "/a")


def test_a_volume_that_is_a_file_system_of_its_own() -> None:
    request = parse_volume("db:/data:ro")
    assert special_to_oci(request, {"type": "nfs", "device": ":/export", "o": "addr=10.0.0.1"}) == {
        "destination": "/data",
        "type": "nfs",
        "source": ":/export",
        "options": ["addr=10.0.0.1", "ro"],
    }
