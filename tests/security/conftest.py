"""What the tests of the runtime's threats share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.runtimes import Runtime, runtime_in


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """trimaran-oci with a state root and a bundle of its own."""
    with runtime_in(tmp_path) as runtime:
        yield runtime


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory of the host that no container may touch."""
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "secret").write_text("of the host")
    return directory
