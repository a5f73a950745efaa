"""The frame holds: what the project's own texts say about it is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import trimaran
from trimaran import errors

TOP = Path(__file__).resolve().parents[2]


def error_classes() -> list[type[errors.TrimaranError]]:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [c for c in classes if issubclass(c, errors.TrimaranError)]


def test_the_tree_at_the_top_of_errors_names_every_error_under_its_parent() -> None:
    rows = re.findall(r"^ {4}([│├└─ ]*)(\w+) {2,}\S", errors.__doc__ or "", re.MULTILINE)
    drawn: dict[str, str | None] = {}
    branch: list[str] = []
    for indent, name in rows:
        depth = len(indent) // 4
        branch[depth:] = [name]
        drawn[name] = branch[depth - 1] if depth else None
    real = {
        c.__name__: c.__base__.__name__ if c is not errors.TrimaranError else None for c in error_classes()
    }
    assert drawn == real


@pytest.mark.parametrize("error", [errors.TrimaranError, errors.ImageError, errors.NetworkError])
def test_an_error_is_one_line_that_says_what_why_and_what_to_do(error: type[errors.TrimaranError]) -> None:
    raised = error("cannot pull debian:12", why="no such tag", hint="see trimaran images")
    assert str(raised) == "cannot pull debian:12: no such tag (see trimaran images)"


def test_every_make_target_is_explained_by_make_help() -> None:
    makefile = (TOP / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split())  # type: ignore[union-attr]
    explained = set(re.findall(r"^## (\S+) ", makefile, re.MULTILINE))
    assert explained == targets - {"help"}


def test_the_public_names_exist() -> None:
    assert [name for name in trimaran.__all__ if not hasattr(trimaran, name)] == []


def test_packages_are_named_once() -> None:
    lines = [line.split("#")[0].strip() for line in (TOP / ".ci" / "packages").read_text().splitlines()]
    names = [line for line in lines if line]
    assert sorted(names) == sorted(set(names))
