"""Fixtures of the sandbox's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import sandboxes


@pytest.fixture
def box() -> Iterator[sandboxes.Box]:
    with sandboxes.box() as made:
        yield made
