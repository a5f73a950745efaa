"""What every hull does, whatever stands between container and host (trimaran.isolation).

TRIMARAN_HULLS names the hulls to hold to it. crun is not among the defaults: it refuses hosts whose cgroup
hierarchies are mixed, as this one's may be.
"""

import os
import shutil
import time

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

from trimaran.engine import config, users
from trimaran.engine.options import Options
from trimaran.errors import CommandNotFound, Conflict, NotFound
from trimaran.isolation import CreateRequest, ExecRequest, Stdio
from trimaran.monitor import Control, Exit, read_exit

pytestmark = pytest.mark.root

DEFAULT = [
    "native",
    *(["oci:runc"] if shutil.which("runc") else []),
    *(["vm"] if shutil.which("qemu-system-x86_64") else []),
]
HULLS = os.environ.get("TRIMARAN_HULLS", ",".join(DEFAULT)).split(",")


class Bench:
    """One hull, and containers of the busybox image on it."""

    def __init__(self, engine, hull: str, directory) -> None:
        self.core = engine.core
        self.hull = engine.core.isolations.get(hull)
        self.directory = directory
        self.ids: list[str] = []

    def request(self, *command: str, stdio: Stdio | None = None, **options) -> CreateRequest:
        id = f"contract-{os.getpid()}-{len(self.ids)}-{time.monotonic_ns()}"
        self.ids.append(id)
        image = self.core.images.get(BUSYBOX)
        state, bundle = self.directory / f"{id}.state", self.directory / f"{id}.bundle"
        state.mkdir(mode=0o700)
        bundle.mkdir()
        inputs = config.Inputs(
            id=id, image=image.run_config, command=command, user=users.User(), cgroups_path=f"/trimaran/{id}"
        )
        return CreateRequest(
            id=id,
            bundle=str(bundle),
            config=config.generate(inputs, Options(options)),
            root=self.core.snapshots.prepare(id, image.chain_ids[-1]),
            state=str(state),
            stdio=stdio or Stdio(log=f"cri:{bundle}/log"),
        )

    def create(self, *command: str, start: bool = False, **options) -> CreateRequest:
        request = self.request(*command, **options)
        process = self.hull.create(request)
        self.core.adopt(request.id, process)
        if start:
            self.hull.start(request.id)
        return request

    def wait(self, state: str, seconds: float = 20) -> Exit:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := read_exit(state):
                return found
            time.sleep(0.01)
        raise AssertionError("it did not exit in time")

    def log(self, request: CreateRequest) -> str:
        with open(os.path.join(request.bundle, "log"), encoding="utf-8") as file:
            return "".join(line.split(" ", 3)[3] for line in file)

    def close(self) -> None:
        for id in self.ids:
            self.hull.delete(id, force=True)
            self.core.snapshots.remove(id)


@pytest.fixture(params=HULLS)
def bench(request, tmp_path):
    with engine_with_busybox(str(tmp_path / "root")) as engine:
        it = Bench(engine, request.param, tmp_path)
        yield it
        it.close()


def test_created_waits_and_start_lets_it_go(bench):
    made = bench.create("sh", "-c", "echo ran; exit 7")
    assert bench.hull.status(made.id) == "created"
    time.sleep(0.1)
    assert read_exit(made.state) is None
    bench.hull.start(made.id)
    assert bench.wait(made.state).code == 7
    assert bench.hull.status(made.id) == "stopped"
    assert bench.log(made) == "ran\n"


def test_second_start_and_second_create_are_conflicts(bench):
    made = bench.create("sleep", "60", start=True)
    with pytest.raises(Conflict):
        bench.hull.start(made.id)
    with pytest.raises(Conflict):
        bench.hull.create(made)
    assert bench.hull.status(made.id) == "running"


def test_unknown_container(bench):
    for call in (bench.hull.start, bench.hull.status, bench.hull.pause, bench.hull.processes):
        with pytest.raises(NotFound):
            call("nobody")
    bench.hull.delete("nobody")


def test_missing_program_is_said_at_create_or_start(bench):
    request = bench.request("no-such-program")
    with pytest.raises(CommandNotFound):
        _run_to_the_end(bench, request)


def _run_to_the_end(bench: Bench, request: CreateRequest) -> None:
    """A hull tells it from create or start; or its monitor does, by the exit record."""
    bench.core.adopt(request.id, bench.hull.create(request))
    bench.hull.start(request.id)
    if bench.wait(request.state).code == 127:
        raise CommandNotFound("the exit record says so")


def test_kill_and_its_exit_code(bench):
    made = bench.create("sleep", "60", start=True)
    bench.hull.kill(made.id, 9)
    assert bench.wait(made.state).code == 137
    with pytest.raises(Conflict):
        bench.hull.kill(made.id, 9)


def test_delete_needs_force_while_it_lives(bench):
    made = bench.create("sleep", "60", start=True)
    with pytest.raises(Conflict):
        bench.hull.delete(made.id)
    bench.hull.delete(made.id, force=True)
    bench.hull.delete(made.id)
    with pytest.raises(NotFound):
        bench.hull.status(made.id)


def test_pause_and_resume(bench):
    made = bench.create("sh", "-c", "while :; do echo x; sleep 0.05; done", start=True)
    bench.hull.pause(made.id)
    assert bench.hull.status(made.id) == "paused"
    time.sleep(0.2)
    before = len(bench.log(made))
    time.sleep(0.3)
    assert len(bench.log(made)) == before
    bench.hull.resume(made.id)
    assert bench.hull.status(made.id) == "running"


def test_exec_with_its_own_exit_record(bench):
    made = bench.create("sleep", "60", start=True)
    state = bench.directory / "exec"
    state.mkdir(mode=0o700)
    process = {**made.config["process"], "args": ["sh", "-c", "echo in; exit 5"]}
    stdio = Stdio(log=f"cri:{made.bundle}/log")
    bench.core.adopt("exec", bench.hull.exec(made.id, ExecRequest("one", process, str(state), stdio)))
    assert bench.wait(str(state)).code == 5
    assert bench.log(made) == "in\n"
    assert bench.hull.status(made.id) == "running"


def test_processes_are_listed(bench):
    made = bench.create("sh", "-c", "sleep 60 & sleep 60; true", start=True)
    deadline = time.monotonic() + 10
    while len(bench.hull.processes(made.id)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(bench.hull.processes(made.id)) == 3


def test_terminal(bench):
    made = bench.create(
        "sh", "-c", "read line; echo got $line; exit 6",
        tty=True,
        stdio=Stdio("terminal", "open", size=(30, 100)),
        start=True,
    )  # fmt: skip
    with Control(made.state) as control:
        control.attach(stdin=True)
        control.send_input(b"hello\n")
        output = b"".join(event.data for event in control.events())
    assert b"got hello\r\n" in output
    assert bench.wait(made.state).code == 6
