"""The native runtime through its command, trimaran-oci: real containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from tests.support.bundles import usual_config, write_bundle

pytestmark = [pytest.mark.root, pytest.mark.also_in_lab, pytest.mark.peer("busybox")]
COMMAND = Path(sys.executable).parent / "trimaran-oci"


class Runtime:
    """trimaran-oci on a state root of its own."""

    def __init__(self, root: Path, bundle: Path) -> None:
        self.root = root
        self.bundle = bundle

    def __call__(self, *words: str, **options) -> subprocess.CompletedProcess:
        """Run it; output goes to files, since a container that stays would hold a pipe open."""
        command = [COMMAND, "--root", self.root, *words]
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            result = subprocess.run(command, stdout=out, stderr=err, cwd=self.bundle, timeout=30, **options)
            for file in (out, err):
                file.seek(0)
            result.stdout, result.stderr = out.read(), err.read()
        return result

    def configure(self, *args: str, **process) -> dict:
        config = usual_config(*args, **process)
        write_bundle(self.bundle, config)
        return config

    def state(self, id: str) -> dict:
        return json.loads(self("state", id).stdout)


def traces(directory: Path) -> tuple:
    """What a container could leave on the host."""
    # os.walk does not mind cgroups of others that go away meanwhile.
    found = (f"{at}/{name}" for at, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    cgroups = sorted(path for path in found if "runtime-test-" in path)
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line
    ]
    return cgroups, mounts


@pytest.fixture
def runtime(tmp_path):
    before = traces(tmp_path)
    runtime = Runtime(tmp_path / "state", tmp_path / "bundle")
    yield runtime
    for id in os.listdir(runtime.root) if runtime.root.exists() else []:
        runtime("delete", "--force", id)
    assert traces(tmp_path) == before
    assert not runtime.root.exists() or not os.listdir(runtime.root)


def test_run_gives_output_and_exit_code(runtime):
    runtime.configure("sh", "-c", "echo out; echo err >&2; exit 3")
    result = runtime("run", "runtime-test-1")
    assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert "does not exist" in runtime("state", "runtime-test-1").stderr


def test_life_cycle(runtime):
    runtime.configure("sleep", "30")
    assert runtime("create", "runtime-test-2").returncode == 0
    assert runtime.state("runtime-test-2")["status"] == "created"
    assert runtime("start", "runtime-test-2").returncode == 0
    state = runtime.state("runtime-test-2")
    assert state["status"] == "running"
    assert Path(f"/proc/{state['pid']}/cmdline").read_bytes() == b"sleep\x0030\0"
    assert "not created" in runtime("start", "runtime-test-2").stderr
    assert "it is running" in runtime("delete", "runtime-test-2").stderr
    assert runtime("kill", "runtime-test-2", "KILL").returncode == 0
    deadline = time.monotonic() + 5
    while runtime.state("runtime-test-2")["status"] != "stopped" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert runtime.state("runtime-test-2") | {"pid": 0} == runtime.state("runtime-test-2")
    assert "not running" in runtime("kill", "runtime-test-2", "KILL").stderr
    assert runtime("delete", "runtime-test-2").returncode == 0


def test_pid_file_and_list(runtime, tmp_path):
    runtime.configure("sleep", "30")
    runtime("create", "--pid-file", tmp_path / "pid", "runtime-test-3")
    state = runtime.state("runtime-test-3")
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    assert [s["id"] for s in json.loads(runtime("list", "--format=json").stdout)] == ["runtime-test-3"]
    assert runtime("list", "-q").stdout == "runtime-test-3\n"


def test_exec(runtime):
    runtime.configure("sleep", "30")
    runtime("run", "-d", "runtime-test-4", stdin=subprocess.DEVNULL)
    result = runtime(
        "exec", "--user", "1000:1001", "-e", "A=b", "runtime-test-4", "sh", "-c", "id; echo $A $HOME; exit 4"
    )
    assert (result.returncode, result.stdout) == (4, "uid=1000(user) gid=1001\nb /home/user\n")
    assert runtime("exec", "runtime-test-4", "hostname").stdout == "test\n"
    assert "not found in $PATH" in runtime("exec", "runtime-test-4", "nothing").stderr


def test_pause_is_seen_in_the_state(runtime):
    runtime.configure("sleep", "30")
    runtime("run", "-d", "runtime-test-5", stdin=subprocess.DEVNULL)
    freezer = next(Path("/sys/fs/cgroup").rglob("runtime-test-5/freezer.state"), None)
    freezer = freezer or next(Path("/sys/fs/cgroup").rglob("runtime-test-5/cgroup.freeze"))
    freezer.write_text("FROZEN" if freezer.name == "freezer.state" else "1")
    assert runtime.state("runtime-test-5")["status"] == "paused"
    freezer.write_text("THAWED" if freezer.name == "freezer.state" else "0")
    assert runtime.state("runtime-test-5")["status"] == "running"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["process"].update(args=["missing"]), "executable file not found"),
        (lambda c: c["process"].update(args=["/etc/passwd"]), "permission denied"),
        (lambda c: c["mounts"].append({"destination": "/x", "type": "nofs", "source": "x"}), r"fsopen nofs"),
        (
            lambda c: c["mounts"].append({"destination": "/x", "source": "/no", "options": ["bind"]}),
            "mounts[4]",
        ),
        (lambda c: c.update(root={"path": "nothing"}), "$.root.path"),
    ],
)
def test_a_failed_create_says_why_and_leaves_nothing(runtime, change, message):
    config = runtime.configure("true")
    change(config)
    write_bundle(runtime.bundle, config)
    result = runtime("create", "runtime-test-6")
    assert result.returncode == 1
    assert message in result.stderr
    assert not os.listdir(runtime.root)


def test_limits_are_those_of_the_cgroup(runtime):
    config = runtime.configure("sleep", "30")
    config["linux"]["resources"] = {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 12},
        "cpu": {"shares": 512},
    }
    write_bundle(runtime.bundle, config)
    runtime("run", "-d", "runtime-test-7", stdin=subprocess.DEVNULL)
    values = {p.name: p.read_text().strip() for p in Path("/sys/fs/cgroup").rglob("runtime-test-7/*.m*ax")}
    values |= {
        p.name: p.read_text().strip() for p in Path("/sys/fs/cgroup").rglob("runtime-test-7/memory.limit*")
    }
    assert values["pids.max"] == "12"
    assert str(64 << 20) in (values.get("memory.limit_in_bytes"), values.get("memory.max"))


def test_a_created_container_takes_little_memory(runtime):
    """At most 500 KiB resident (SPECIFICATION)."""
    runtime.configure("true")
    runtime("create", "runtime-test-8", stdin=subprocess.DEVNULL)
    pid = runtime.state("runtime-test-8")["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])
    assert 0 < resident <= 500


def test_terminal(runtime, tmp_path):
    import socket

    runtime.configure(
        "sh", "-c", "stty size; echo $TERM", terminal=True, consoleSize={"height": 31, "width": 97}
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        created = runtime("create", "--console-socket", tmp_path / "console", "runtime-test-9")
        assert created.returncode == 0, created.stderr
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 64, 1)
    runtime("start", "runtime-test-9")
    output = b""
    while b"\n" not in output:
        output += os.read(fds[0], 100)
    os.close(fds[0])
    assert output.startswith(b"31 97\r\n")


def test_pause_resume_ps_update_and_events(runtime):
    runtime.configure("sleep", "30")
    runtime("run", "-d", "runtime-test-10", stdin=subprocess.DEVNULL)
    pid = runtime.state("runtime-test-10")["pid"]
    assert json.loads(runtime("ps", "--format", "json", "runtime-test-10").stdout) == [pid]
    assert runtime("pause", "runtime-test-10").returncode == 0
    assert runtime.state("runtime-test-10")["status"] == "paused"
    assert "it is paused" in runtime("pause", "runtime-test-10").stderr
    assert runtime("resume", "runtime-test-10").returncode == 0
    assert runtime.state("runtime-test-10")["status"] == "running"
    assert runtime("update", "runtime-test-10", "--pids-limit", "9").returncode == 0
    event = json.loads(runtime("events", "--stats", "runtime-test-10").stdout)
    assert (event["type"], event["id"], event["data"]["pids"]["limit"]) == ("stats", "runtime-test-10", 9)
    assert event["data"]["cpu"]["usage"]["total"] > 0


def test_hooks_are_told_the_state_that_they_belong_to(runtime):
    config = runtime.configure("true")
    log = runtime.bundle / "log"
    shell = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 0.1; cat >> {log}; echo >> {log}"]}
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    config["hooks"] = {kind: [shell] for kind in kinds}
    write_bundle(runtime.bundle, config)
    assert runtime("run", "runtime-test-11").returncode == 0
    states = [json.loads(line) for line in log.read_text().splitlines()]
    assert [state["status"] for state in states] == ["created", "created", "created", "running", "stopped"]
    assert states[3]["pid"] == states[0]["pid"] > 0


def test_a_failed_poststart_hook_stops_the_container(runtime):
    config = runtime.configure("sleep", "30")
    config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    write_bundle(runtime.bundle, config)
    assert runtime("create", "runtime-test-12", stdin=subprocess.DEVNULL).returncode == 0
    result = runtime("start", "runtime-test-12")
    assert result.returncode == 1
    assert "$.hooks.poststart[0]: /bin/false: exit code 1" in result.stderr
    assert "does not exist" in runtime("state", "runtime-test-12").stderr
