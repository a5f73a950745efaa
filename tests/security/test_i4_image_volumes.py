"""I4: what an image declares as a volume leads outside of it (CVE-2022-23648).

Filling a volume reads the image's tree and writes the volume: neither a link in the image nor dots in the
declared path may bring a file of the host into the volume, or a file of the image onto the host.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimaran.errors import InvalidInput
from trimaran.volume.copyup import copy_up
from trimaran.volume.parse import checked_target


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """An image and an empty volume, beside a secret of the host."""
    image, volume = tmp_path / "image", tmp_path / "volume"
    (image / "srv").mkdir(parents=True)
    volume.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    return image, volume


def fill(image: Path, volume: Path, path: str) -> bool:
    root, target = os.open(image, os.O_RDONLY), os.open(volume, os.O_RDONLY)
    try:
        return copy_up(root, path, target)
    finally:
        os.close(root)
        os.close(target)


@pytest.mark.parametrize(
    "path", ["/../secret", "/srv/../../secret", "/../../../../../../../../etc", "/srv/../../../secret"]
)
def test_dots_end_at_the_image_s_root(trees: tuple[Path, Path], path: str) -> None:
    assert not fill(*trees, path)
    assert os.listdir(trees[1]) == []


@pytest.mark.parametrize(
    "target", ["{}/secret", "../secret", "../../secret", "/proc/self/root", "/proc/self/cwd"]
)
def test_a_link_in_the_image_is_followed_inside_it_only(trees: tuple[Path, Path], target: str) -> None:
    image, volume = trees
    (image / "data").symlink_to(target.format(image.parent))
    assert not fill(image, volume, "/data")
    assert os.listdir(volume) == []


def test_links_in_the_copied_tree_are_copied_as_links(trees: tuple[Path, Path]) -> None:
    image, volume = trees
    (image / "srv" / "out").symlink_to(image.parent / "secret")
    (image / "srv" / "deep").mkdir()
    (image / "srv" / "deep" / "up").symlink_to("../../../secret/key")
    assert fill(image, volume, "/srv")
    assert (volume / "out").is_symlink()
    assert (volume / "deep" / "up").is_symlink()
    assert sorted(os.listdir(image.parent / "secret")) == ["key"]


def test_a_declared_path_is_absolute_and_more_than_the_root() -> None:
    for path in ("", "data", "../data", "/", "//", "/./", "/a\0b"):
        with pytest.raises(InvalidInput):
            checked_target(path, "the image's volume", path)
