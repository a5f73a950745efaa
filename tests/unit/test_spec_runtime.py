"""spec/record.py and the types of config.json: what is read, and where a fault is said to be."""

from typing import Any

import pytest

from trimaran.errors import SpecError
from trimaran.spec import linux, resources, runtime, seccomp
from trimaran.spec.record import Record, camel_case, shown
from trimaran.spec.runtime import Config

MINIMAL = {"ociVersion": "1.3.0"}


def config(**fields: Any) -> Config:
    return Config.parse({**MINIMAL, **fields})


def test_reads_a_config() -> None:
    found = config(
        process={
            "args": ["sh"],
            "cwd": "/",
            "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
            "oomScoreAdj": -5,
        },
        mounts=[{"destination": "/p", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}],
        linux={"resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}},
    )
    assert found.process is not None
    assert found.process.user.additional_gids == [7]
    assert found.process.oom_score_adj == -5
    assert found.mounts[0].uid_mappings[0].host_id == 1
    assert found.linux is not None
    assert found.linux.resources is not None
    assert found.linux.resources.block_io is not None
    assert found.linux.resources.block_io.weight_device[0].weight == 10


def test_absent_and_null_fields_have_defaults() -> None:
    found = config(mounts=None, hostname=None, process={"cwd": "/", "args": None})
    assert found.mounts == []
    assert found.hostname == ""
    assert found.process is not None
    assert found.process.args == []
    assert found.process.user.uid == 0
    assert found.linux is None


def test_unknown_fields_are_ignored() -> None:
    assert config(futureField={"x": [1]}, linux={"somethingNew": 1}) == config(linux={})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ociVersion": 5}, "$.ociVersion: expected a string, not 5"),
        ({"process": []}, "$.process: expected an object, not a list"),
        ({"process": {}}, "$.process.cwd: is missing"),
        (
            {"process": {"cwd": "/", "user": {"uid": "x"}}},
            '$.process.user.uid: expected an integer from 0 to 4294967294, not "x"',
        ),
        (
            {"process": {"cwd": "/", "user": {"uid": 2**32 - 1}}},
            "$.process.user.uid: expected an integer from 0 to 4294967294, not 4294967295",
        ),
        (
            {"process": {"cwd": "/", "user": {"gid": -1}}},
            "$.process.user.gid: expected an integer from 0 to 4294967294, not -1",
        ),
        (
            {"process": {"cwd": "/", "user": {"additionalGids": [1, True]}}},
            "$.process.user.additionalGids[1]: expected an integer from 0 to 4294967294, not true",
        ),
        (
            {"process": {"cwd": "/", "oomScoreAdj": 1.0}},
            "$.process.oomScoreAdj: expected an integer from -2147483648 to 2147483647, not 1.0",
        ),
        ({"process": {"cwd": "/", "terminal": 1}}, "$.process.terminal: expected true or false, not 1"),
        ({"process": {"cwd": "/", "args": "sh"}}, '$.process.args: expected a list, not "sh"'),
        ({"process": {"cwd": "/", "args": [None]}}, "$.process.args[0]: expected a string, not null"),
        ({"annotations": {"a.b": 1}}, '$.annotations["a.b"]: expected a string, not 1'),
        (
            {"linux": {"namespaces": [{"type": "pid"}, {"type": "net"}]}},
            "$.linux.namespaces[1].type: expected one of",
        ),
        ({"linux": {"devices": [{"path": "/dev/x"}]}}, "$.linux.devices[0].type: is missing"),
        (
            {"linux": {"uidMappings": [{"containerID": 0, "size": 10**400, "hostID": 1}]}},
            "$.linux.uidMappings[0].size: expected an integer from 0 to 4294967295, not such a large number",
        ),
        (
            {"linux": {"rdma": 1, "resources": {"rdma": {"mlx5_1": {"hcaHandles": -1}}}}},
            "$.linux.resources.rdma.mlx5_1.hcaHandles: expected an integer from 0 to 4294967295, not -1",
        ),
    ],
)
def test_faults_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        config(**fields)
    assert str(caught.value).startswith(message)


def test_a_document_that_is_no_object() -> None:
    with pytest.raises(SpecError, match=r"^\$\.x: expected an object, not null$"):
        runtime.Process.parse(None, "$.x")


def every_record() -> list[type[Record]]:
    return [
        found
        for module in (runtime, linux, resources, seccomp)
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Record) and found.__module__ == module.__name__
    ]


@pytest.mark.parametrize("record", every_record(), ids=lambda record: record.__name__)
def test_every_record_compiles_and_is_written_as_it_was_read(record: type[Record]) -> None:
    shape = record._shape()
    sample = {key: example(record, name) for key, (name, _) in shape.fields.items()}
    assert record.parse(sample).to_json() == sample


def example(record: type[Record], name: str) -> Any:
    annotation = next(c.__annotations__[name] for c in record.__mro__ if name in c.__annotations__)
    annotation = annotation.removesuffix(" | None")
    if name in record._choices:
        chosen = record._choices[name][0]
        return [chosen] if annotation.startswith("list[") else chosen
    simple = {"str": "text", "bool": True, "list[str]": ["a"], "dict[str, str]": {"k": "v"}, "list[ID]": [3]}
    if annotation in simple:
        return simple[annotation]
    if annotation.startswith("list["):
        return []
    if annotation.startswith("dict["):
        return {}
    if annotation in ("U16", "U32", "U64", "I32", "I64", "ID"):
        return 7
    inner = next(found for found in every_record() if found.__name__ == annotation)
    return {key: example(inner, field) for key, (field, _) in inner._shape().fields.items()}


def test_names() -> None:
    assert camel_case("no_new_privileges") == "noNewPrivileges"
    assert "execCPUAffinity" in runtime.Process._shape().fields
    assert "disableOOMKiller" in resources.Memory._shape().fields


def test_shown_is_short() -> None:
    assert len(shown("x" * 1000)) < 70
    assert shown({}) == "an object"


def test_replace_makes_a_copy() -> None:
    old = config(hostname="a")
    assert (old.replace(hostname="b").hostname, old.hostname) == ("b", "a")
