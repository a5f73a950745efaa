"""A plan that is used again is the plan that would have been compiled."""

import json

import pytest
from tests.support.bundles import usual_config

from trimaran.errors import SpecError
from trimaran.isolation import CreateRequest, Root
from trimaran.plan.host import CgroupLayout, HostFacts
from trimaran.runtime import plans as plans_module
from trimaran.runtime import prepare
from trimaran.runtime.plans import Plans
from trimaran.spec import jsonio

FIRST, SECOND = "ab" * 32, "0123456789ef" + "c" * 52
LAYOUT = CgroupLayout("v1", {"memory": "/nowhere/memory", "pids": "/nowhere/pids"}, {})


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    host = HostFacts(capabilities=(1 << 41) - 1, kernel=(6, 1), uid=0, gid=0, cgroups=LAYOUT)
    monkeypatch.setattr(prepare, "host_facts", lambda: host)


def request(id: str, **changes) -> tuple[CreateRequest, str]:
    config = usual_config("sh", "-c", "echo hello")
    config["hostname"] = id[:12]
    config["linux"]["cgroupsPath"] = f"/trimaran/{id}"
    config["mounts"].append({"destination": "/etc/hosts", "source": f"/c/{id}/hosts", "options": ["bind"]})
    config.update(changes)
    root = Root(lower=("/l/2", "/l/1"), upper=f"/c/{id}/upper", work=f"/c/{id}/work")
    made = CreateRequest(id=id, bundle=f"/c/{id}", config=config, root=root, state=f"/run/{id}")
    return made, jsonio.dump(config)


def test_the_second_container_has_the_bytes_of_a_fresh_compilation():
    used, fresh = Plans(), Plans()
    used.get(*request(FIRST))
    again, alone = used.get(*request(SECOND)), fresh.get(*request(SECOND))
    assert again.wire == alone.wire
    assert (
        again.prepared.cgroups
        == alone.prepared.cgroups
        == [f"/nowhere/{c}/trimaran/{SECOND}" for c in LAYOUT.mounts]
    )
    assert FIRST.encode() not in again.wire
    assert SECOND[:12].encode() in again.wire


def test_it_is_compiled_once(monkeypatch):
    compiled = []
    compile = plans_module._compile
    monkeypatch.setattr(plans_module, "_compile", lambda *a: compiled.append(a[0]) or compile(*a))
    plans = Plans()
    for id in (FIRST, SECOND, FIRST):
        plans.get(*request(id))
    assert len(compiled) == 1
    plans.get(*request(FIRST, hostname="other"))
    assert len(compiled) == 2


def test_an_id_in_the_users_own_words_stays_what_it_was():
    plans = Plans()
    for id in (FIRST, SECOND):
        made, _ = request(id)
        config = json.loads(json.dumps(made.config))
        config["process"]["args"] = ["echo", f"{SECOND[:12]} and {FIRST}"]
        text = jsonio.dump(config)
        assert f"{SECOND[:12]} and {FIRST}".encode() in plans.get(made, text).wire


def test_what_is_wrong_is_told_of_the_container_that_was_asked_for():
    plans = Plans()
    wrong = {"namespaces": [{"type": t} for t in ("mount", "uts")], "cgroupsPath": f"/{FIRST}/../../x"}
    with pytest.raises(SpecError, match=r"\$\.linux\.cgroupsPath") as caught:
        plans.get(*request(FIRST, linux=wrong))
    assert plans._mark[:12] not in str(caught.value)


def test_another_kind_of_id_is_compiled_each_time():
    made, text = request(FIRST)
    short = CreateRequest(
        id="short", bundle=made.bundle, config=made.config, root=made.root, state=made.state
    )
    assert Plans().get(short, text).wire
