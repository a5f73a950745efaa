"""The engine on the native hull: run, life cycle, recovery, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

from trimaran import CommandFailed, Engine
from trimaran.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidInput, NotFound, TimedOut

pytestmark = pytest.mark.root


@pytest.fixture
def engine(tmp_path):
    with engine_with_busybox(str(tmp_path / "root")) as it:
        yield it
        for container in it.containers(all=True):
            container.remove(force=True, volumes=True)


def run(engine: Engine, *command: str, **options):
    return engine.run(BUSYBOX, command, **{"network": "none", **options})


def traces(engine: Engine) -> dict[str, object]:
    """What a container may leave on the host: mounts, cgroups, processes, files, rows."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line for line in file if engine.core.paths.root in line]
    ids = {row[0] for row in engine.core.database.connection().execute("SELECT actor FROM event")}
    cgroups = [d for d, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(d) in ids]
    files = sorted(
        os.path.join(d, f)
        for d, _, names in os.walk(engine.core.paths.root)
        for f in names
        if "/layers/" not in d and not f.startswith("state.db")
    )
    rows = engine.core.database.connection().execute("SELECT count(*) FROM container").fetchone()[0]
    intents = engine.core.database.connection().execute("SELECT count(*) FROM intent").fetchone()[0]
    return {"mounts": mounts, "cgroups": cgroups, "files": files, "rows": rows, "intents": intents}


def test_output_exit_code_and_nothing_left(engine):
    run(engine, "true")
    before = traces(engine)
    result = run(engine, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert traces(engine) == before


def test_input_environment_user_and_directory(engine):
    script = 'read line; echo "$line $A $(id -u):$(id -g) $(pwd) $HOME"'
    result = run(
        engine, "sh", "-c", script, stdin=b"hello\n", env={"A": "b c"}, user="nobody:staff", workdir="/tmp"
    )
    assert result.text == "hello b c 65534:50 /tmp /\n"


def test_missing_command_is_127_and_unexecutable_is_126(engine):
    with pytest.raises(CommandNotFound) as missing:
        run(engine, "no-such-program")
    assert missing.value.exit_code == 127
    with pytest.raises(CommandNotExecutable) as unusable:
        run(engine, "/etc/passwd")
    assert unusable.value.exit_code == 126
    assert traces(engine)["rows"] == 0


def test_failed_command_can_raise(engine):
    with pytest.raises(CommandFailed, match="exit code 1: no luck"):
        run(engine, "sh", "-c", "echo no luck >&2; exit 1", check=True)


def test_time_out_kills_and_removes(engine):
    began = time.monotonic()
    with pytest.raises(TimedOut):
        run(engine, "sleep", "60", timeout=0.3)
    assert time.monotonic() - began < 10
    assert traces(engine)["rows"] == 0


def test_output_without_end_is_bounded(engine):
    result = run(engine, "sh", "-c", "head -c 5000000 /dev/zero", output_limit=1000)
    assert len(result.stdout) == 1000


def test_output_comes_while_it_runs(engine):
    pieces = []
    run(engine, "sh", "-c", "echo a; sleep 0.2; echo b", on_output=lambda name, data: pieces.append(data))
    assert pieces == [b"a\n", b"b\n"]


def test_many_threads_share_an_engine(engine):
    from concurrent.futures import ThreadPoolExecutor

    before = traces(engine)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: run(engine, "sh", "-c", f"echo {n}; exit {n}"), range(24)))
    assert [(r.exit_code, r.text) for r in results] == [(n, f"{n}\n") for n in range(24)]
    assert traces(engine) == before


def test_life_cycle(engine):
    container = engine.create(BUSYBOX, ["sh", "-c", "echo up; exec sleep 60"], name="one", network="none")
    assert container.state == "created"
    with pytest.raises(Conflict, match="the name one is taken"):
        engine.create(BUSYBOX, ["true"], name="one")
    container.start()
    assert container.state == "running"
    with pytest.raises(Conflict):
        container.start()
    with pytest.raises(Conflict):
        container.remove()
    container.pause()
    assert container.state == "paused"
    container.unpause()
    assert container.stop(timeout=0.2) == 137
    assert container.state == "exited"
    assert b"".join(r.data for r in container.logs()) == b"up\n"
    container.start()
    container.kill("TERM")
    container.kill("KILL")
    assert container.wait(10) == 137
    assert [r.data for r in container.logs(tail=1)] == [b"up\n"]
    container.rename("two")
    assert engine.get("two").id == engine.get(container.id[:10]).id == container.id
    container.remove()
    with pytest.raises(NotFound):
        engine.get("two")


def test_another_process_sees_and_waits(engine):
    container = engine.start(BUSYBOX, ["sh", "-c", "sleep 0.5; exit 9"], network="none")
    code = (
        "import sys, trimaran\n"
        "with trimaran.Engine(sys.argv[1]) as engine:\n"
        "    container = engine.get(sys.argv[2])\n"
        "    print(container.state, container.wait(20))\n"
    )
    arguments = [sys.executable, "-c", code, engine.core.paths.root, container.id]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "running 9\n"
    assert container.exit_code == 9


def test_killed_owner_leaves_nothing(engine):
    code = (
        "import sys, trimaran\n"
        "trimaran.Engine(sys.argv[1]).run('busybox', ['sh', '-c', 'echo up; exec sleep 60'],\n"
        "    network='none', on_output=lambda name, data: print('up', flush=True))\n"
    )
    arguments = [sys.executable, "-c", code, engine.core.paths.root]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"up\n"
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and traces(engine)["rows"]:
        Engine(engine.core.paths.root).close()
    assert traces(engine)["rows"] == traces(engine)["intents"] == 0


def test_container_of_a_killed_monitor_has_ended(engine):
    container = engine.start(BUSYBOX, ["sleep", "60"], network="none")
    with open(os.path.join(engine.core.paths.state(container.id), "monitor.pid"), encoding="ascii") as file:
        os.kill(int(file.read().split()[0]), signal.SIGKILL)
    assert container.wait(10) == 137
    assert container.record.error == "its monitor was killed"
    container.remove()


def test_memory_limit_is_told(engine):
    result = run(engine, "sh", "-c", "x=x; while :; do x=$x$x; done", memory=16 << 20)
    assert (result.exit_code, result.oom) == (137, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 1}, "too low"),
        ({"colour": "red"}, "'colour' is no option"),
        ({"cap_add": ["FLY"]}, "'FLY' is no capability"),
        ({"user": "ghost"}, "the image has no user 'ghost'"),
        ({"user": "4294967295"}, "no user or group"),
        ({"ulimits": ["nofile=2:1"]}, "above the hard one"),
        ({"env": ["=x"]}, "no environment variable"),
        ({"isolation": "paper"}, "no isolation 'paper'"),
        ({"security_opt": ["magic"]}, "no security option"),
        ({"network": "none", "volumes": ["/:/"]}, "root"),
        ({"name": "../x"}, "no name for a container"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(engine, options, message):
    before = traces(engine)
    with pytest.raises((InvalidInput, NotFound), match=message):
        run(engine, "true", **options)
    assert traces(engine) == before
