"""The light data classes and the JSON of the database behave as the standard library's do."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran import values
from trimaran.state import text


def classes(module):
    field = module.field

    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: dict = field(default_factory=dict)

        def total(self) -> int:
            return self.x + self.y

    Point.__annotations__ = {"x": int, "y": int, "tags": dict}
    return module.dataclass(frozen=True)(Point)


@pytest.mark.parametrize("module", [values, dataclasses])
def test_fields_defaults_and_methods(module):
    kind = classes(module)
    point = kind(1, tags={"a": 1})
    assert (point.x, point.y, point.tags, point.total(), kind.__doc__) == (1, 2, {"a": 1}, 3, "A point.")
    assert point == kind(x=1, y=2, tags={"a": 1}) != kind(2)
    assert repr(point).endswith("Point(x=1, y=2, tags={'a': 1})")
    assert list(kind.__dataclass_fields__) == ["x", "y", "tags"]
    assert kind(1).tags is not kind(1).tags


@pytest.mark.parametrize("module", [values, dataclasses])
@pytest.mark.parametrize("arguments", [((), {}), ((1, 2, {}, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_wrong_arguments(module, arguments):
    with pytest.raises(TypeError):
        classes(module)(*arguments[0], **arguments[1])


@pytest.mark.parametrize("module", [values, dataclasses])
def test_cannot_be_changed(module):
    with pytest.raises(AttributeError):
        classes(module)(1).x = 2


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("\udc80"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS)
def test_json_is_json(document):
    assert text.dumps(document) == json.dumps(document)
    assert text.loads(text.dumps(document)) == document


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError):
        text.dumps({"a": object()})


def test_opening_an_engine_imports_nothing_dear():
    code = (
        "import sys; import trimaran.engine.engine, trimaran.cli.run, trimaran.runtime.hull; "
        "print([m for m in 'argparse json re dataclasses enum typing'.split() if m in sys.modules])"
    )
    run = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"
