"""spec/jsonio.py: the same values as the json package, and a clear error for each kind of hostile input."""

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import SpecError
from trimaran.spec import jsonio

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def has_nul(value: object) -> bool:
    return "\\u0000" in json.dumps(value).replace("\\\\", "")


@given(VALUES)
def test_agrees_with_the_json_package(value: object) -> None:
    data = json.dumps(value).encode()
    if has_nul(value):
        with pytest.raises(SpecError, match="NUL"):
            jsonio.parse(data)
    else:
        assert jsonio.parse(data) == json.loads(data)


@given(VALUES, st.sampled_from([0, 2, 4]))
def test_dump_is_read_back_by_the_json_package(value: object, indent: int) -> None:
    text = jsonio.dump(value, indent)
    assert json.loads(text) == value
    assert ("\n" in text) == bool(indent and value and isinstance(value, dict | list))


@pytest.mark.parametrize(
    ("data", "path", "why"),
    [
        (b"", "$", "the document is empty"),
        (b'{"a": ', "$", "the document ends too early"),
        (b'{"a": [1, 2}', "$", "line 1, column 12: "),
        (b"{\n  oops}", "$", "line 2, column 3: expecting property name enclosed in double quotes"),
        (b"{} {}", "$", "line 1, column 4: expected the end of the document"),
        (b'{"a": NaN}', "$", "NaN is not JSON"),
        (b"\xff", "$", "not UTF-8: byte 0 is 0xff"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "$.a.b", "the key is given twice"),
        (b'[{"x": "a\\u0000b"}]', "$[0].x", "a string contains a NUL character"),
        (b'{"a\\u0000": 1}', "$, a key", "a string contains a NUL character"),
        (b'["\\ud800"]', "$[0]", "a string contains half of a surrogate pair"),
        (b"[" * 101 + b"1" + b"]" * 101, "$", "nested deeper than 100 levels"),
        (b"[" * 100_000, "$", "nested deeper than 100 levels"),
        (b'{"a":' * 100_000, "$", "nested deeper than 100 levels"),
        (b"[" + b"9" * 100_000 + b"]", "$", "a number has too many digits"),
    ],
)
def test_faults_are_named(data: bytes, path: str, why: str) -> None:
    with pytest.raises(SpecError) as caught:
        jsonio.parse(data)
    assert caught.value.path == path
    assert caught.value.why.startswith(why)


def test_an_escaped_backslash_is_no_nul() -> None:
    assert jsonio.parse(b'["\\\\u0000", "\\ud83d\\ude00"]') == ["\\u0000", "\N{GRINNING FACE}"]


def test_size_is_limited() -> None:
    with pytest.raises(SpecError, match="larger than 10 bytes"):
        jsonio.parse(b"[1, 2, 3, 4]", max_bytes=10)


@pytest.mark.parametrize("unit", [b"[],", b'{"a":{}},', b'"\\u0000x",', b"0,"])
def test_the_largest_document_takes_bounded_time(unit: bytes) -> None:
    data = b"[" + unit * (jsonio.MAX_BYTES // len(unit) - 2) + b"1]"
    before = time.process_time()
    with pytest.raises(SpecError, match="NUL") if b"u0000" in unit else nullcontext():
        jsonio.parse(data)
    assert time.process_time() - before < 10


def test_the_json_package_is_not_imported() -> None:
    code = "import sys; from trimaran.spec import jsonio; jsonio.parse(b'{}'); print('json' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_a_syntax_error_is_placed_without_the_json_package():
    """The scanner raises through a class of json.decoder, which a runtime's process has not imported."""
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from trimaran.errors import SpecError\n"
        "from trimaran.spec import jsonio\n"
        "try: jsonio.parse(b'{]')\n"
        "except SpecError as error: print(error)\n"
    )
    source = str(Path(jsonio.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, source], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("$: line 1, column 2")
