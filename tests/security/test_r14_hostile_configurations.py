"""R14: a config.json that is huge, deep, contradictory or wrong gives a clear error in bounded time."""

import json
import resource
import time

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]
USUAL = '"ociVersion": "1.3.0", "root": {"path": "rootfs"}'
DOCUMENTS = {
    "empty": ("", "the document is empty"),
    "no object": ("[]", "expected an object"),
    "no JSON": ("{]", "line 1, column 2"),
    "cut": ('{"ociVersion": ', "the document ends too early"),
    "deep": ("[" * 1_000_000, "nested deeper"),
    "deep objects": ('{"a":' * 200_000 + "1" + "}" * 200_000, "nested deeper"),
    "huge": (f'{{{USUAL}, "annotations": {{"a": "{"x" * (9 << 20)}"}}}}', "larger than"),
    "many keys": ("{" + ",".join(f'"k{n}":{{}}' for n in range(200_000)) + "}", "ociVersion: is missing"),
    "duplicate": (f'{{{USUAL}, "hostname": "a", "hostname": "b"}}', "given twice"),
    "huge number": (
        f'{{{USUAL}, "process": {{"cwd": "/", "oomScoreAdj": {"9" * 5000}}}}}',
        "too many digits",
    ),
    "NUL": (f'{{{USUAL}, "process": {{"cwd": "/\\u0000x"}}}}', "NUL"),
    "not UTF-8": (b'{"ociVersion": "\xff"}', "not UTF-8"),
    "namespaces": (
        f'{{{USUAL}, "linux": {{"namespaces": [{{"type": "pid"}}, {{"type": "pid"}}]}}}}',
        "given twice",
    ),
    "wrong type": (f'{{{USUAL}, "mounts": {{}}}}', "$.mounts: expected a list"),
    "many mounts": (
        f'{{{USUAL}, "mounts": {json.dumps([{"destination": f"/m{n}"} for n in range(20_000)])},'
        ' "process": {"cwd": "/"}}',
        "$.process.args",
    ),
}


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_r14_is_refused_in_bounded_time_and_memory(runtime: Runtime, name: str) -> None:
    document, message = DOCUMENTS[name]
    runtime.configure("true")
    data = document if isinstance(document, bytes) else document.encode()
    (runtime.bundle / "config.json").write_bytes(data)
    start = time.monotonic()
    result = runtime("create", "threat-1", preexec_fn=limit_memory)
    assert time.monotonic() - start < 20
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr) < 2000
