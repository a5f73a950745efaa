"""The table of operations here and the one that the executor is compiled from are the same."""

import re
from pathlib import Path

from trimaran.plan.operations import OPERATIONS

DEFINITIONS = Path(__file__).parents[3] / "native/common/operations.def"


def test_operations_match_the_executor():
    found = re.findall(
        r'^OPERATION\((\d+), (\w+), "(\w*)", [HPC| ]+\)$', DEFINITIONS.read_text(), re.MULTILINE
    )
    assert {name: (int(code), signature) for code, name, signature in found} == {
        name: (code, signature) for name, (code, signature, _) in OPERATIONS.items()
    }


def test_every_argument_has_a_name():
    for name, (_, signature, names) in OPERATIONS.items():
        assert len(signature) == len(names), name
