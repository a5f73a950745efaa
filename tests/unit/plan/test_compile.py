"""Golden plans: what a configuration compiles to, as text."""

import json
import os
from pathlib import Path

import pytest

from trimaran.errors import SpecError, Unsupported
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


def test_capabilities_that_other_sets_forbid_are_a_warning():
    config = load("usual")
    config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
    }  # fmt: skip
    plan = compiled(config)
    operation = next(o for o in plan.operations if o.name == "capabilities")
    assert operation.args == (1 << 5, 1 << 5, 0, 0)
    assert [w.split(": ")[1] for w in plan.warnings] == [
        "CAP_CHOWN would have to be permitted too",
        "CAP_KILL would have to be permitted and inheritable too",
    ]


def names(plan: Plan) -> list[str]:
    return [operation.name for operation in plan.operations]


def test_without_a_mount_namespace_nothing_is_mounted():
    config = load("usual")
    config["linux"]["namespaces"] = [{"type": "pid"}]
    found = names(compiled(config))
    assert "chroot" in found
    assert not {"tree", "attach", "pivot", "propagation", "mknod"} & set(found)


def test_without_a_process_there_is_nothing_to_execute():
    config = load("usual")
    del config["process"]
    found = compiled(config)
    assert names(found)[-2:] == ["ready", "execve"]
    assert found.operations[-1].args == ([""], [])


def with_mount(**mount) -> dict:
    config = load("usual")
    config["mounts"] = [mount]
    return config


MAP = [{"containerID": 0, "hostID": 1000, "size": 10}]


def test_a_mapped_bind_is_made_by_the_calling_process():
    mount = {"destination": "/d", "source": "/s", "options": ["rbind", "ridmap"]}
    plan = compiled(with_mount(**mount, uidMappings=MAP, gidMappings=MAP))
    found = names(plan)
    assert found.index("tree") < found.index("user_namespace") < found.index("setattr") < found.index("clone")
    maker = plan.operations[found.index("user_namespace")]
    assert maker.args[1:] == ("0 1000 10\n", "0 1000 10\n")
    assert plan.operations[found.index("setattr")].args[1:] == (0x100000, 0, 0, 1, maker.args[0])


def test_only_binds_can_be_mapped():
    mount = {"destination": "/d", "type": "tmpfs", "options": ["idmap"]}
    with pytest.raises(SpecError, match="only a bind mount"):
        compiled(with_mount(**mount, uidMappings=MAP, gidMappings=MAP))


def test_a_read_only_tmpfs_is_filled_before_it_is_read_only():
    plan = compiled(with_mount(destination="/d", type="tmpfs", options=["tmpcopyup", "ro", "nodev"]))
    at = names(plan).index("copy_up")
    made, filled, sealed = plan.operations[at - 1 : at + 2]
    assert (made.name, made.args[4]) == ("filesystem", 0x4)
    assert filled.args[2] == "/d"
    assert (sealed.name, sealed.args[1]) == ("setattr", 0x1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c["process"].update(apparmorProfile="p"), "apparmorProfile"),
        (lambda c: c["process"].update(selinuxLabel="a:b:c:d"), "selinuxLabel"),
        (lambda c: c["linux"].update(mountLabel="a:b:c:d"), "mountLabel"),
        (lambda c: c["linux"].update(intelRdt={}), "intelRdt"),
    ],
)
def test_what_the_host_lacks_is_said(change, field):
    config = load("usual")
    change(config)
    with pytest.raises(Unsupported, match=field):
        compiled(config)


def test_what_the_host_has_is_applied():
    host = HostFacts(
        capabilities=0, kernel=(6, 1), uid=0, gid=0, cgroups=None,
        lsms=frozenset({"selinux", "apparmor"}), resctrl="/sys/fs/resctrl",
    )  # fmt: skip
    config = with_mount(destination="/d", type="tmpfs")
    config["process"].update(apparmorProfile="p", selinuxLabel="a:b:c:d")
    config["linux"].update(
        mountLabel="x:y", intelRdt={"closID": "k", "memBwSchema": "MB:0=50", "enableMonitoring": True}
    )
    lines = text.render(compiled(config, host), why=False)
    assert 'options=["context=x:y"]' in lines or "options=[context=x:y]" in lines
    assert 'path=thread-self/attr/apparmor/exec text="exec p"' in lines
    assert "path=thread-self/attr/exec text=a:b:c:d" in lines
    assert 'write root=host path=/sys/fs/resctrl/k/schemata text="MB:0=50\\n"' in lines
    assert "enroll path=/sys/fs/resctrl/k/mon_groups/golden/tasks" in lines


def test_memory_policy():
    config = load("usual")
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]}
    operation = next(o for o in compiled(config).operations if o.name == "memory_policy")
    assert operation.args == (2 | 1 << 15, b"\1" + bytes(7) + b"\2" + bytes(7))


def test_many_mounts_need_few_slots():
    config = load("usual")
    config["mounts"] = [{"destination": f"/m{i}", "type": "tmpfs", "source": "x"} for i in range(1000)]
    assert len(compiled(config).slots) > 1000
    assert wire.encode(compiled(config))


def test_the_listener_filter_comes_after_ready():
    from trimaran.plan.process import Confinement

    build = Build(Config.parse(load("usual")), ROOT, id="golden", bundle="/bundle")
    plan = compile.create(build, cgroup=None, confinement=Confinement(b"\0" * 8, 0, where="$.linux.seccomp"))
    found = names(plan)
    assert found.index("ready") < found.index("seccomp")
    assert found[-2:] == ["seccomp", "execve"]
