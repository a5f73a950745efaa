"""References: normalisation as docker's, and no text that parses and does not survive a round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import InvalidReference
from trimaran.image.reference import Reference, is_digest, is_short_name, is_tag

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/debian:12", "docker.io/library/debian:12", "debian:12"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
        ("Upper/app", "Upper/app:latest", "Upper/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("a__b/c-d---e.f", "docker.io/a__b/c-d---e.f:latest", "a__b/c-d---e.f:latest"),
        (f"debian@sha256:{HEX}", f"docker.io/library/debian@sha256:{HEX}", f"debian@sha256:{HEX}"),
        (f"q.io/x:1@sha256:{HEX}", f"q.io/x:1@sha256:{HEX}", f"q.io/x:1@sha256:{HEX}"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
    ],
)
def test_normalises(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "a//b",
        "/a",
        "a/",
        "Debian",
        "a b",
        "a:",
        "a:-x",
        "a:" + "t" * 129,
        "a@sha256:1234",
        "a@md5:" + "0" * 32,
        f"a@sha256:{HEX.upper()}",
        "a_.b",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "host:99999/a",
        "host:/a",
        "ho_st.x/a",
        "[::1/a",
        HEX,
        "../../etc/passwd",
        "a/../b",
        "x" * 256,
        "a\n",
        "a\0b",
        "é",
        "localhost:5000/é",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


def test_bare_names_get_no_tag() -> None:
    assert str(Reference.parse_bare("debian")) == "docker.io/library/debian"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("debian", True),
        ("a/b:1", True),
        ("localhost/a", False),
        ("a.b/c", False),
        ("a.b", True),
        ("h:1/x", False),
    ],
)
def test_short_names(text: str, short: bool) -> None:
    assert is_short_name(text) is short


def test_digests_and_tags() -> None:
    assert is_digest("sha512:" + HEX * 2)
    assert not is_digest("sha256:" + HEX + "\n")
    assert is_tag("_x.1-y")
    assert not is_tag(".x")


@given(st.text(alphabet="aZ09.:/@_-[]é\n\0", max_size=40) | st.text(max_size=600))
def test_what_parses_survives_a_round_trip(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert ".." not in reference.path
    assert str(reference).isascii()
    assert str(reference).isprintable()
