"""Manifests, configurations, platforms: whatever the bytes, an error of ours or a sound document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import ImageError, InvalidInput
from trimaran.image.config import chain_ids, diff_ids, parse_config, platform_of
from trimaran.image.manifest import Index, Manifest, parse_manifest
from trimaran.image.platform import Platform

DIGEST = "sha256:" + "0" * 64
WORDS = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "manifests", "layers", "config", "digest", "size", "platform", "os"),
        *("architecture", "annotations", "subject", "urls", "rootfs", "diff_ids", "history", "Env", "Cmd"),
        *("application/vnd.oci.image.manifest.v1+json", "linux", "amd64", DIGEST, "", "\0"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**60)
    | st.floats(allow_nan=False)
    | WORDS
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)


@given(st.dictionaries(WORDS, JSON, max_size=8))
def test_any_json_is_parsed_or_refused(document: dict[str, Any]) -> None:
    for parse in (parse_manifest, parse_config):
        try:
            parse(json.dumps({"schemaVersion": 2, **document}).encode())
        except ImageError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(data)


def descriptor(**changes: Any) -> dict[str, Any]:
    return {"mediaType": "application/x", "digest": DIGEST, "size": 1, **changes}


def manifest(**changes: Any) -> bytes:
    document = {"schemaVersion": 2, "config": descriptor(), "layers": [descriptor()], **changes}
    return json.dumps(document).encode()


def test_artifacts_are_manifests_but_no_images() -> None:
    parsed = parse_manifest(manifest(artifactType="application/sbom", subject=descriptor()))
    assert isinstance(parsed, Manifest)
    assert not parsed.is_image
    assert parsed.subject is not None
    assert parsed.artifact_type == "application/sbom"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"layers": [descriptor(size="1")]}, r"\$\.layers\[0\]\.size"),
        ({"layers": [descriptor(size=True)]}, r"\$\.layers\[0\]\.size"),
        ({"layers": {}}, r"\$\.layers"),
        ({"config": []}, r"\$\.config"),
        ({"annotations": {"a": 1}}, r"\$\.annotations"),
        ({"config": descriptor(platform={"os": "a/b", "architecture": "c"})}, r"\$\.config\.platform"),
    ],
)
def test_errors_name_the_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ImageError, match=where):
        parse_manifest(manifest(**changes))


def index(*platforms: str) -> Index:
    entries = []
    for number, text in enumerate(platforms):
        parts = text.split("/")
        platform = dict(zip(("os", "architecture", "variant"), parts, strict=False))
        entries.append(
            descriptor(
                mediaType="application/vnd.oci.image.manifest.v1+json",
                digest=f"sha256:{number:064}",
                platform=platform,
            )
        )
    parsed = parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(parsed, Index)
    return parsed


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (("linux/amd64", "linux/arm64"), "linux/arm64", 1),
        (("linux/arm64/v8", "linux/amd64"), "arm64", 0),
        (("linux/arm/v5", "linux/arm/v6", "linux/arm/v7"), "linux/arm/v6", 1),
        (("linux/arm/v5", "linux/arm/v7"), "linux/arm/v6", 0),
        (("linux/arm/v7",), "linux/arm/v6", None),
        (("windows/amd64",), "linux/amd64", None),
        (("unknown/unknown", "linux/amd64"), "linux/amd64", 1),
        (("linux/amd64", "linux/amd64"), "linux/amd64", 0),
    ],
)
def test_selection_by_platform(offered: tuple[str, ...], wanted: str, chosen: int | None) -> None:
    found = index(*offered).select(Platform.parse(wanted))
    assert (int(found.digest[7:]) if found else None) == chosen


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "li nux/amd64", "linux/am\0d"])
def test_platforms_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        Platform.parse(text)


def test_chain_ids_are_those_of_the_specification() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert chain_ids([a]) == [a]
    # printf 'sha256:aaa… sha256:bbb…' | sha256sum
    assert chain_ids([a, b])[1] != b
    assert chain_ids([a, b, b])[:2] == chain_ids([a, b])


def test_a_configuration_without_layers() -> None:
    parsed = parse_config(b'{"architecture":"arm","variant":"v6","os":"linux","config":null}')
    assert diff_ids(parsed) == []
    assert str(platform_of(parsed)) == "linux/arm/v6"
