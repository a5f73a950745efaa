"""Restart policies, health checks and --rm of containers that nobody waits for: no daemon was started."""

import fcntl
import os
import time

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

from trimaran.engine import listing
from trimaran.errors import InvalidInput, NotFound

pytestmark = pytest.mark.root


@pytest.fixture
def engine(tmp_path):
    with engine_with_busybox(str(tmp_path / "root")) as it:
        yield it
        for container in it.containers(all=True):
            container.remove(force=True, volumes=True)
        lock = os.path.join(it.core.paths.run, "supervisor.lock")
        if os.path.exists(lock):
            with open(lock, encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # it ends by itself, when there is nothing left to do


def start(engine, *command: str, **options):
    return engine.start(BUSYBOX, command, network="none", **options)


def eventually(holds, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_restarts_on_failure_so_many_times(engine):
    container = start(engine, "sh", "-c", "echo again; exit 3", restart="on-failure:2")
    eventually(lambda: container.record.restarts == 2 and container.state == "exited")
    time.sleep(0.5)
    assert container.record.restarts == 2
    assert b"".join(r.data for r in container.logs()) == b"again\n" * 3


def test_always_restarts_until_it_is_stopped(engine):
    container = start(engine, "sh", "-c", "sleep 0.1", restart="always")
    eventually(lambda: container.record.restarts >= 2)
    eventually(lambda: container.state == "running")
    container.stop(timeout=0)
    restarts = container.record.restarts
    time.sleep(1)
    assert container.record.restarts == restarts
    assert container.state == "exited"


def test_detached_container_is_removed_when_it_has_ended(engine):
    container = start(engine, "sleep", "0.3", auto_remove=True)

    def gone() -> bool:
        try:
            engine.get(container.id)
        except NotFound:
            return True
        return False

    eventually(gone)


def test_waiting_for_a_container_that_is_removed_at_once(engine):
    container = start(engine, "sh", "-c", "sleep 0.5; exit 4", auto_remove=True)
    assert container.wait(20) == 4


def test_what_a_killed_command_was_to_remove_is_removed_at_the_next_look(engine):
    from trimaran import Engine
    from trimaran.engine.starting import Streams

    container = start(engine, "sh", "-c", "sleep 0.2", auto_remove=True, streams=Streams())
    assert container.wait(20) == 0
    with Engine(engine.core.paths.root) as later:
        assert later.names() == []


def test_health_is_checked(engine):
    container = start(
        engine, "sh", "-c", "touch /ok; sleep 1.5; rm /ok; exec sleep 60",
        health_cmd="test -e /ok", health_interval=0.2, health_retries=2,
    )  # fmt: skip
    eventually(lambda: listing.health(engine.core, container.record) == "healthy")
    eventually(lambda: listing.health(engine.core, container.record) == "unhealthy")
    actions = [event.action for event in engine.events()]
    assert actions.index("health_status: healthy") < actions.index("health_status: unhealthy")


@pytest.mark.parametrize("policy", ["sometimes", "always:3", "on-failure:x"])
def test_a_policy_that_is_none_is_refused(engine, policy):
    with pytest.raises(InvalidInput, match="no restart policy"):
        start(engine, "true", restart=policy)
