"""Containers in machines: on QEMU's emulation here, so each test boots as few machines as it can."""

import os
import time

import pytest
from tests.integration.vm.conftest import finished, wait_output

from trimaran.errors import CommandNotFound, Conflict, NotFound, PlanError
from trimaran.isolation import Root, Stdio
from trimaran.monitor import Control

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def test_a_program_runs_on_a_kernel_of_its_own(containers):
    code, output = containers.run("sh", "-c", "cat /proc/version; echo problem >&2; hostname; id -u; exit 7")
    assert code == 7
    lines = output.splitlines()
    assert os.uname().release not in lines[0]
    assert sorted(lines[1:]) == ["0", "problem", "test"]


def test_the_life_of_a_container(containers):
    hull = containers.hull
    id, state = containers.create(
        "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done", start=False
    )
    assert hull.status(id) == "created"
    with pytest.raises(Conflict):
        hull.create(_same(containers, id))
    hull.start(id)
    assert hull.status(id) == "running"
    with pytest.raises(Conflict):
        hull.start(id)

    code, output = finished(
        containers.exec(id, "sh", "-c", "echo in; cat /proc/1/cmdline | tr '\\0' ' '; exit 5")
    )
    assert code == 5
    assert output.startswith("in\nsh -c trap")
    with pytest.raises(CommandNotFound):
        containers.exec(id, "/no/such/program")

    hull.pause(id)
    assert hull.status(id) == "paused"
    with pytest.raises(Conflict):
        hull.pause(id)
    hull.resume(id)
    assert hull.status(id) == "running"

    used = hull.stats(id)
    assert used.memory > 0
    assert used.cpu_ns > 0
    assert used.pids >= 1
    hull.update(id, {"pids": {"limit": 50}, "memory": {"limit": 64 << 20}})
    changed = hull.stats(id)
    assert (changed.pids_limit, changed.memory_limit) == (50, 64 << 20)
    assert hull.processes(id)

    with pytest.raises(Conflict):
        hull.delete(id)
    hull.kill(id, 15)
    assert finished(state) == (3, "up\nbye\n")
    _wait_stopped(hull, id)
    with pytest.raises(Conflict):
        hull.kill(id, 9)
    hull.delete(id)
    with pytest.raises(NotFound):
        hull.status(id)


def _same(containers, id):
    from trimaran.isolation import CreateRequest

    return CreateRequest(id, "/", {}, Root(), str(containers.directory))


def _wait_stopped(hull, id):
    deadline = time.monotonic() + 10
    while hull.status(id) != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_is_not_there_leaves_nothing(containers):
    with pytest.raises(CommandNotFound):
        containers.create("/no/such/program")
    assert os.listdir(containers.hull.root) == []


def test_a_mistake_in_the_configuration_is_reported_with_its_operation(containers):
    with pytest.raises(PlanError) as caught:
        containers.create("true", mounts=[{"destination": "/x", "type": "nosuchfs", "source": "x"}])
    assert caught.value.index >= 0


def test_a_terminal(containers):
    _, state = containers.create(
        "sh",
        process={"terminal": True},
        stdio=Stdio("terminal", "open", log="none", size=(33, 77)),
        start=False,
    )
    with Control(str(state)) as control:
        control.attach(stdin=True)
        control.start()
        control.send_input(b"stty size; echo $((40+2))\n")
        assert b"33 77" in wait_output(control, b"42\r\n")
        control.resize(44, 88)
        control.send_input(b"stty size\n")
        wait_output(control, b"44 88")
        control.send_input(b"exit 9\n")
        assert control.wait(30).code == 9


def test_volumes(containers, tmp_path):
    data, fixed = tmp_path / "data", tmp_path / "fixed"
    data.mkdir()
    fixed.mkdir()
    (data / "given").write_text("from the host")
    (fixed / "file").write_text("unchanged")
    single = tmp_path / "hosts"
    single.write_text("127.0.0.1 here\n")
    script = """
        cat /data/given; echo; echo from the guest >/data/made; mkdir -p /data/a/b
        ln -s ../given /data/a/link
        chmod 640 /data/made; cat /data/a/link; echo
        echo x >/fixed/file; rm /fixed/file; touch /fixed/new
        cat /etc/hosts; grep -c . /fixed/file
        dd if=/dev/zero of=/data/big bs=1M count=3 2>/dev/null; ls -la /data | grep -c big
    """
    mounts = [
        {"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "rw"]},
        {"destination": "/fixed", "type": "bind", "source": str(fixed), "options": ["rbind", "ro"]},
        {"destination": "/etc/hosts", "type": "bind", "source": str(single), "options": ["bind", "ro"]},
    ]
    _, output = containers.run("sh", "-c", script, mounts=mounts)
    assert output.count("from the host\n") == 2
    assert output.count("Read-only file system") == 3
    assert "127.0.0.1 here" in output
    assert (data / "made").read_text() == "from the guest\n"
    assert (data / "made").stat().st_mode & 0o777 == 0o640
    assert (data / "a" / "link").is_symlink()
    assert (data / "big").stat().st_size == 3 << 20
    assert (fixed / "file").read_text() == "unchanged"
    assert os.listdir(fixed) == ["file"]


def test_input_output_and_a_memory_limit(containers):
    _, state = containers.create(
        "sh",
        "-c",
        "cat | wc -c; tail /dev/zero; echo code $?",
        stdio=Stdio("pipes", "open", log="none"),
        linux={"resources": {"memory": {"limit": 32 << 20}}},
        start=False,
    )
    with Control(str(state)) as control:
        control.attach(stdin=True)
        control.start()
        control.send_input(b"x" * 700_000)
        control.close_input()
        received = wait_output(control, b"code 137\n")
    assert b"700000\n" in received


def test_two_containers_in_one_machine(containers):
    first, _ = containers.create("sleep", "1000", options={"vm.keep": "yes"})
    second, state = containers.create("sh", "-c", "echo second; ls /", options={"vm.machine": first})
    code, output = finished(state)
    assert (code, output.splitlines()[0]) == (0, "second")
    assert containers.hull.status(second) == "stopped"
    assert containers.hull.status(first) == "running"
    containers.hull.delete(second)
    assert containers.hull.status(first) == "running"


def test_a_shared_directory_as_root(containers, vm_layer, tmp_path):
    import shutil

    root = tmp_path / "rootfs"
    shutil.copytree(vm_layer, root, symlinks=True)
    code, output = containers.run(
        "sh", "-c", "echo changed >/etc/new; cat /etc/new", root=Root(path=str(root))
    )
    assert (code, output) == (0, "changed\n")
    assert (root / "etc/new").read_text() == "changed\n"


def test_a_writable_disk_of_a_limited_size(containers):
    script = "df -m / | tail -1; dd if=/dev/zero of=/big bs=1M count=200 2>&1 | grep -c 'No space'"
    code, output = containers.run("sh", "-c", script, options={"vm.disk": str(64 << 20)})
    assert code == 0
    assert output.splitlines()[-1] == "1"


def test_clones_of_a_template_share_no_randomness_and_no_identity(containers):
    """V5: two machines that begin as copies of one."""
    script = "cd /proc/sys/kernel/random; cat uuid boot_id; head -c 32 /dev/urandom | base64; date +%s"
    outputs = []
    for _ in range(2):
        code, output = containers.run("sh", "-c", script, options={"vm.template": "yes"})
        assert code == 0
        outputs.append(output.split())
    first, second = outputs
    assert all(mine != other for mine, other in zip(first[:3], second[:3], strict=True))
    assert all(abs(int(lines[3]) - time.time()) < 60 for lines in outputs)
