"""The sandbox hull under the engine: the library's run, with its usual options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

from trimaran import Engine
from trimaran.errors import CommandNotFound, TimedOut

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with engine_with_busybox(str(tmp_path / "root")) as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True, volumes=True)


def run(engine: Engine, *command: str, **options: object):
    return engine.run(BUSYBOX, command, **{"network": "none", "isolation": "sandbox", **options})


def test_output_exit_code_and_input(engine: Engine) -> None:
    script = 'read line; echo "$line $A $(id -u):$(id -g) $(pwd)"; echo err >&2; exit 3'
    result = run(
        engine, "sh", "-c", script, stdin=b"hi\n", env={"A": "b"}, user="nobody:staff", workdir="/tmp"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"hi b 65534:50 /tmp\n", b"err\n")


def test_a_missing_command_and_a_limit_of_time(engine: Engine) -> None:
    with pytest.raises(CommandNotFound):
        run(engine, "missing")
    with pytest.raises(TimedOut):
        run(engine, "sleep", "100", timeout=1.0)
    assert list(engine.containers(all=True)) == []


def test_a_container_lives_and_is_executed_in(engine: Engine) -> None:
    container = engine.create(BUSYBOX, ["sleep", "100"], network="none", isolation="sandbox")
    container.start()
    result = container.exec(["sh", "-c", "echo $$; hostname"])
    assert result.exit_code == 0
    assert result.stdout.split()[1].decode() == container.id[:12]
    container.stop(timeout=1)
    container.remove()
