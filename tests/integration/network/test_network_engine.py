"""Networks and volumes from the engine's front door: containers that run programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox
from tests.support.network import HOST, OUTSIDE, World

from trimaran import Engine
from trimaran.errors import Conflict, InvalidInput
from trimaran.network.model import NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.peer("nft")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def engine(world: World, tmp_path: Path) -> Iterator[Engine]:
    with engine_with_busybox(str(tmp_path / "root")) as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True, volumes=True)
        made.core.networks.recover(lambda _: False)


def sh(engine: Engine, script: str, **options: object) -> str:
    result = engine.run(BUSYBOX, ["sh", "-c", script], timeout=20, **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.stderr
    return result.text


def test_the_default_network_reaches_out_and_leaves_nothing(world: World, engine: Engine) -> None:
    sh(engine, "true")
    links = set(world.host.links())
    with world.outside.listen(80) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"))
        thread.start()
        assert sh(engine, f"nc {OUTSIDE} 80 </dev/null") == "hello"
        thread.join()
    assert set(world.host.links()) == links
    assert engine.core.networks.ports() == []


def test_published_ports(world: World, engine: Engine) -> None:
    server = ["sh", "-c", "echo from inside | nc -l -p 80"]
    container = engine.start(BUSYBOX, server, ports=["8080:80"])
    deadline = time.monotonic() + 10
    while not world.outside.reaches(HOST, 8080):
        assert time.monotonic() < deadline
        container.start() if container.state == "exited" else time.sleep(0.05)
    with pytest.raises(Conflict, match="8080/tcp is taken: container"):
        engine.start(BUSYBOX, ["true"], ports=["8080:80"])
    assert len(engine.containers(all=True)) == 1


def test_names_on_a_named_network_and_the_files_in_etc(engine: Engine) -> None:
    engine.core.networks.create(NetworkSpec("web"))
    engine.start(BUSYBOX, ["sleep", "30"], name="db", network="web:alias=sql")
    for name in ("db", "sql"):
        assert "10.208.0.2" in sh(engine, f"nslookup {name}.web | tail -3", network="web")
    script = "cat /etc/hosts /etc/resolv.conf; hostname"
    text = sh(engine, script, network="web", hostname="box", add_host=["up:10.9.9.9", "host:host-gateway"])
    assert "10.9.9.9\tup\n" in text
    assert "10.208.0.1\thost\n" in text
    assert "\tbox\n" in text
    assert "nameserver 10.208.0.1\n" in text


def test_modes(world: World, engine: Engine) -> None:
    assert sh(engine, "ls /sys/class/net; cat /sys/class/net/lo/flags", network="none").split() == [
        "lo",
        "0x9",
    ]
    assert "wan0" in sh(engine, "ip -o link", network="host")
    first = engine.start(BUSYBOX, ["sleep", "30"], name="first")
    address = engine.core.networks.result(first.id).endpoints[0].ipv4
    assert address in sh(engine, "ip -o addr show eth0", network="container:first")
    subprocess.run(["ip", "netns", "add", "trimaran-test"], check=True)
    try:
        subprocess.run(["ip", "-n", "trimaran-test", "addr", "add", "10.9.8.7/32", "dev", "lo"], check=True)
        assert "10.9.8.7" in sh(engine, "ip -o addr show lo", network="ns:/run/netns/trimaran-test")
    finally:
        subprocess.run(["ip", "netns", "del", "trimaran-test"], check=True)
    with pytest.raises(InvalidInput, match="cannot go together"):
        sh(engine, "true", network=["host", "bridge"])


def test_fixed_addresses_and_a_static_mac(engine: Engine) -> None:
    engine.core.networks.create(NetworkSpec("six", subnets=("10.88.0.0/24", "fd88::/64")))
    script = "ip -o addr show eth0; cat /sys/class/net/eth0/address"
    text = sh(engine, script, network="six:ip=10.88.0.9,ip6=fd88::9,mac=02:00:00:00:00:09")
    assert "10.88.0.9/24" in text
    assert "fd88::9/64" in text
    assert text.endswith("02:00:00:00:00:09\n")


def test_a_volume_is_filled_kept_and_shared(engine: Engine) -> None:
    assert (
        sh(engine, "ls /etc | sort | head -1; echo kept > /etc/mine", volumes=["conf:/etc"], network="none")
        != ""
    )
    assert sh(engine, "cat /x/mine", volumes=["conf:/x:ro"], network="none") == "kept\n"
    with pytest.raises(AssertionError, match="Read-only"):
        sh(engine, "echo no > /x/mine", volumes=["conf:/x:ro"], network="none")
    sub = ["type=volume,src=conf,dst=/y,volume-subpath=mine"]
    assert sh(engine, "cat /y", mounts=sub, network="none") == "kept\n"


def test_read_only_is_recursive(engine: Engine, tmp_path: Path) -> None:
    below = tmp_path / "outer" / "inner"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=True)
    try:
        with pytest.raises(AssertionError, match="Read-only"):
            sh(engine, "touch /m/inner/x", volumes=[f"{tmp_path}/outer:/m:ro"], network="none")
        writable = f"type=bind,src={tmp_path}/outer,dst=/m,ro,bind-recursive=writable"
        sh(engine, "touch /m/inner/x && ! touch /m/x 2>/dev/null", mounts=[writable], network="none")
    finally:
        subprocess.run(["umount", str(below)], check=True)


def test_tmpfs_options(engine: Engine) -> None:
    text = sh(
        engine, "stat -c %a /t; grep ' /t ' /proc/mounts", tmpfs=["/t:size=1m,mode=700,exec"], network="none"
    )
    assert text.startswith("700\n")
    assert "size=1024k" in text
    assert "noexec" not in text


def test_an_image_as_a_volume(engine: Engine) -> None:
    mounts = [f"type=image,src={BUSYBOX},dst=/img", f"type=image,src={BUSYBOX},dst=/only,image-subpath=etc"]
    text = sh(
        engine,
        "ls /img/bin | wc -l; ls /only | wc -l; touch /img/x 2>&1 || true",
        mounts=mounts,
        network="none",
    )
    assert int(text.split()[0]) > 0
    assert "Read-only" in text


def test_what_ends_gives_its_network_back(engine: Engine) -> None:
    container = engine.start(BUSYBOX, ["sleep", "30"], ports=["8080:80"])
    assert len(engine.core.networks.ports()) == 1
    container.kill()
    container.wait(10)
    assert engine.core.networks.ports() == []
    assert not engine.core.networks.result(container.id).endpoints


def test_a_host_that_went_down_leaves_no_address_taken(engine: Engine) -> None:
    container = engine.start(BUSYBOX, ["sleep", "30"], ports=["8080:80"])
    container.kill()
    container.wait(10)
    # As the database of a host would be that was switched off while the container ran.
    connection = engine.core.database.connection()
    connection.execute("UPDATE container SET state = 'running', boot = 'another', pid = 1")
    connection.execute(
        "INSERT INTO network_container (id, name, resolver) VALUES (?, '', '[[], []]')", (container.id,)
    )
    with Engine(engine.core.paths.root) as after:
        assert [line for line in after.repaired if "ended with the host" in line]
        assert (
            after.core.database.connection().execute("SELECT count(*) FROM network_container").fetchone()[0]
            == 0
        )


def trimaran(engine: Engine, *words: str, check: bool = True) -> str:
    command = [f"{Path(sys.executable).parent}/trimaran", "--root", engine.core.paths.root, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if check else done.stderr


def test_from_the_command_line(world: World, engine: Engine) -> None:
    trimaran(engine, "network", "create", "--ipv6", "--label", "tier=1", "web")
    words = [
        "run",
        "-d",
        "--name",
        "srv",
        "--network",
        "web",
        "-p",
        "8080:80",
        "--ip",
        "10.208.0.77",
        "-v",
        "data:/srv",
    ]
    trimaran(engine, *words, BUSYBOX, "sh", "-c", "echo from inside | nc -l -p 80 > /srv/got")
    assert json.loads(trimaran(engine, "network", "inspect", "web"))[0]["Labels"] == {"tier": "1"}
    listed = trimaran(engine, "network", "ls", "--format", "{{.Name}} {{.Containers}}")
    assert listed.split("\n")[:-1] == ["web 1"]
    assert "0.0.0.0:8080->80/tcp" in trimaran(engine, "ps", "--format", "{{.Ports}}")
    with world.outside.connect(HOST, 8080) as client:
        client.sendall(b"to the volume")
        assert client.recv(100) == b"from inside\n"
    trimaran(engine, "wait", "srv")
    assert (
        trimaran(engine, "run", "--rm", "--network", "none", "-v", "data:/d:ro", BUSYBOX, "cat", "/d/got")
        == "to the volume"
    )
    error = trimaran(engine, "volume", "rm", "data", check=False)
    assert "volume data is in use: by container" in error
    trimaran(engine, "rm", "srv")
    trimaran(engine, "network", "rm", "web")
    assert trimaran(engine, "volume", "prune", "-a", "-f") == "data\n"


def test_connect_and_disconnect_from_the_command_line(engine: Engine) -> None:
    engine.core.networks.create(NetworkSpec("late"))
    container = engine.start(BUSYBOX, ["sleep", "30"], name="srv")
    trimaran(engine, "network", "connect", "--alias", "db", "late", "srv")
    names = [endpoint.network for endpoint in engine.core.networks.result(container.id).endpoints]
    assert names == ["bridge", "late"]
    assert "10.208.0.2" in sh(engine, "nslookup db.late | tail -3", network="late")
    trimaran(engine, "network", "disconnect", "bridge", "srv")
    assert trimaran(engine, "network", "reload") == ""
    container.remove(force=True)
    assert "is not on network" not in trimaran(engine, "network", "disconnect", "late", "srv", check=False)


def test_an_id_mapped_bind_shows_files_under_other_owners(engine: Engine, tmp_path: Path) -> None:
    directory = tmp_path / "owned"
    directory.mkdir()
    os.chown(directory, 1000, 2000)
    volume = f"{directory}:/m:idmap=uids=1000-0-1;gids=2000-0-1"
    assert sh(engine, "stat -c %u:%g /m; touch /m/new", volumes=[volume], network="none") == "0:0\n"
    status = (directory / "new").stat()
    assert (status.st_uid, status.st_gid) == (1000, 2000)


def test_a_slave_bind_sees_later_mounts_of_the_host_and_a_private_one_does_not(
    engine: Engine, tmp_path: Path
) -> None:
    top = tmp_path / "shared"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(top)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(top)], check=True)
        (top / "sub").mkdir()
        volumes = [f"{top}:/slave:rslave", f"{top}:/private"]
        container = engine.start(
            BUSYBOX,
            ["sh", "-c", "read x; ls /slave/sub /private/sub"],
            volumes=volumes,
            network="none",
            interactive=True,
        )
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(top / "sub")], check=True)
        (top / "sub" / "late").touch()
        pid = container.record.pid
        assert os.listdir(f"/proc/{pid}/root/slave/sub") == ["late"]
        assert os.listdir(f"/proc/{pid}/root/private/sub") == []
        container.remove(force=True)
        subprocess.run(["umount", str(top / "sub")], check=True)
    finally:
        subprocess.run(["umount", "-R", str(top)], check=True)
