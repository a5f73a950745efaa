"""Golden plans: what a configuration compiles to, as text."""

import json
import os
from pathlib import Path

import pytest

from trimaran.errors import SpecError
from trimaran.plan import compile, text, wire
from trimaran.plan.build import Build, Overlay
from trimaran.plan.host import HostFacts
from trimaran.plan.operations import Plan
from trimaran.spec.runtime import Config

DATA = Path(__file__).parent / "golden"
ROOT = HostFacts(capabilities=(1 << 41) - 1, kernel=(6, 1), uid=0, gid=0, cgroups=None)
CASES = sorted(path.stem for path in DATA.glob("*.json"))


def compiled(config: dict, host: HostFacts = ROOT, **options) -> Plan:
    build = Build(Config.parse(config), host, id="golden", bundle="/bundle", **options)
    return compile.create(build, cgroup=None, confinement=None, state='{"pid": @PID@}')


def load(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text())


def test_there_are_cases():
    assert len(CASES) >= 3


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    got = text.render(compiled(load(name)))
    path = DATA / f"{name}.plan"
    if "TRIMARAN_UPDATE_GOLDEN" in os.environ:
        path.write_text(got)
    assert got == path.read_text()


def test_the_same_input_gives_the_same_bytes():
    config = load("usual")
    assert wire.encode(compiled(config)) == wire.encode(compiled(config))


def test_layers_become_an_overlay():
    overlay = Overlay(["/l/2", "/l/1"], "/c/upper", "/c/work", "/c/scratch")
    plan = compiled(load("usual"), overlay=overlay)
    operation = next(o for o in plan.operations if o.name == "overlay")
    assert operation.args[1:4] == (["/l/2", "/l/1"], "/c/upper", "/c/work")


def test_capability_that_the_host_lacks_is_a_warning():
    host = HostFacts(capabilities=0, kernel=(6, 1), uid=0, gid=0, cgroups=None)
    plan = compiled(load("usual"), host)
    assert any("CAP_CHOWN" in warning for warning in plan.warnings)


def test_without_a_mount_namespace_nothing_is_planned():
    config = load("usual")
    config["linux"]["namespaces"] = [{"type": "pid"}]
    with pytest.raises(SpecError, match="mount namespace"):
        compiled(config)


def test_the_listener_filter_comes_after_ready():
    from trimaran.plan.process import Confinement

    build = Build(Config.parse(load("usual")), ROOT, id="golden", bundle="/bundle")
    plan = compile.create(build, cgroup=None, confinement=Confinement(b"\0" * 8, 0, where="$.linux.seccomp"))
    names = [operation.name for operation in plan.operations]
    assert names.index("ready") < names.index("seccomp") < names.index("execve")
    assert names[names.index("seccomp") + 1] == "capabilities"
