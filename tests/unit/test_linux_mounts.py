"""What can be said about mounts without making any."""

from __future__ import annotations

import pytest

from trimaran.linux import mounts


@pytest.mark.parametrize(
    ("release", "single"),
    [("6.1.0-56-cloud-amd64", False), ("6.4-rc1", False), ("6.5.0", True), ("6.18.5", True), ("7.0", True)],
)
def test_layers_are_given_one_by_one_from_6_5_on(release: str, single: bool) -> None:
    assert mounts.takes_single_layers(release) is single
