"""R13: annotations, which may come from an image, are data: nothing of them runs on the host."""

from pathlib import Path

import pytest
from tests.support.runtimes import Runtime

pytestmark = [pytest.mark.root, pytest.mark.peer("busybox")]


def test_r13_no_annotation_acts(runtime: Runtime, host: Path) -> None:
    trace = host / "made"
    config = runtime.configure("echo", "hello")
    config["annotations"] = {
        "run.oci.hooks.stdout": str(trace),
        "run.oci.hooks.stderr": str(trace),
        "run.oci.handler": "wasm",
        "module.wasm.image/variant": "compat",
        "org.criu.config": str(trace),
        "hooks": f'{{"prestart": [{{"path": "/bin/touch", "args": ["touch", "{trace}"]}}]}}',
        "io.katacontainers.config.hypervisor.path": "/bin/touch",
        "org.opencontainers.image.ref.name": f"$(touch {trace})",
        "nul\u0001\n": "'; touch /x",
    }
    config["hooks"] = {"createRuntime": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]}
    runtime.write(config)
    assert runtime("run", "threat-1").stdout == "hello\n"
    assert not trace.exists()
