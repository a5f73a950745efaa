"""The examples of docs/how-to/library.md, each as it stands there."""

import os
import re

import pytest
from tests.support.engines import BUSYBOX, engine_with_busybox

PAGE = os.path.join(os.path.dirname(__file__), "../../docs/how-to/library.md")

with open(PAGE, encoding="utf-8") as file:
    EXAMPLES = re.findall(r"^## (.*?)\n.*?^```python\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)


@pytest.mark.root
@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(tmp_path, monkeypatch, title, code):
    root = str(tmp_path / "root")
    engine_with_busybox(root).close()
    monkeypatch.setenv("TRIMARAN_ROOT", root)
    exec(compile(code, title, "exec"), {"image": BUSYBOX})
    with engine_with_busybox(root) as engine:
        assert engine.names() == []


def test_every_section_has_an_example():
    assert len(EXAMPLES) == 7
