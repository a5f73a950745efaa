"""policy.json with sigstore keys: only what the right key has signed for the right name is pulled."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support import images
from tests.support.fake_registry import FakeRegistry, Handler, fake_registry

from trimaran.errors import InvalidInput
from trimaran.image.client import Retry, Transport
from trimaran.image.policy import SIGNATURE, NotTrusted, verifier
from trimaran.image.pull import PullOptions, pull
from trimaran.image.store import AREA, ImageStore
from trimaran.state import Database

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(text).decode()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FakeRegistry]:
    images.write_layout(str(tmp_path / "layout"), [images.archive([images.regular("x", b"x")])])
    with fake_registry(str(tmp_path / "layout")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    database = Database(str(tmp_path / "state.db"), [AREA])
    yield ImageStore(str(tmp_path), database)
    database.close()


def sign(registry: FakeRegistry, key: ec.EllipticCurvePrivateKey, name: str, digest: str = "") -> None:
    """What `cosign sign --key` leaves in a repository."""
    signed = registry.index()["manifests"][0]["digest"]
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest or signed},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    ).encode()
    signature = base64.b64encode(key.sign(payload, ec.ECDSA(SHA256()))).decode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{images.OCI}.manifest.v1+json",
        "config": {"mediaType": f"{images.OCI}.config.v1+json", "digest": images.digest(b"{}"), "size": 2},
        "layers": [
            {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": images.digest(payload),
                "size": len(payload),
                "annotations": {SIGNATURE: signature},
            }
        ],
    }
    tag = signed.replace(":", "-") + ".sig"

    def serve(handler: Handler) -> bool:
        if handler.path.endswith(f"/manifests/{tag}"):
            handler.answer(200, json.dumps(manifest).encode(), {"Content-Type": manifest["mediaType"]})
        elif handler.path.endswith(images.digest(payload)):
            handler.answer(200, payload)
        else:
            return False
        return True

    registry.faults.append(serve)


def policy(tmp_path: Path, registry: FakeRegistry, *rules: dict[str, Any]) -> dict[str, str]:
    directory = tmp_path / "config" / "containers"
    directory.mkdir(parents=True, exist_ok=True)
    document = {"default": [{"type": "reject"}], "transports": {"docker": {registry.host: list(rules)}}}
    (directory / "policy.json").write_text(json.dumps(document))
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def fetch(registry: FakeRegistry, store: ImageStore, environ: dict[str, str]) -> None:
    options = PullOptions(verify=verifier(environ))
    pull(registry.image, store, Transport(environ={}, retry=Retry(attempts=1)), options=options)


def signed_by(key: ec.EllipticCurvePrivateKey, identity: str = "matchRepository") -> dict[str, Any]:
    return {"type": "sigstoreSigned", "keyData": pem(key), "signedIdentity": {"type": identity}}


def test_a_signed_image_is_pulled(registry: FakeRegistry, store: ImageStore, tmp_path: Path) -> None:
    sign(registry, KEY, f"{registry.host}/app")
    fetch(registry, store, policy(tmp_path, registry, signed_by(KEY)))
    assert store.list()


@pytest.mark.parametrize(
    ("rule", "name", "digest", "why"),
    [
        (signed_by(OTHER), "{}/app", "", "by a key that the policy names"),
        (signed_by(KEY), "{}/another", "", "its signature is for"),
        (signed_by(KEY), "{}/app", images.digest(b"other"), "about another image"),
        (signed_by(KEY, "matchExact"), "{}/app:2", "", "its signature is for"),
        (signed_by(KEY, "unheardOf"), "{}/app", "", "not supported"),
        ({"type": "signedBy", "keyType": "GPGKeys"}, "{}/app", "", "not supported"),
        ({"type": "reject"}, "{}/app", "", "rejects"),
    ],
)
def test_anything_else_is_refused(
    registry: FakeRegistry,
    store: ImageStore,
    tmp_path: Path,
    rule: dict[str, Any],
    name: str,
    digest: str,
    why: str,
) -> None:
    sign(registry, KEY, name.format(registry.host), digest)
    with pytest.raises(NotTrusted, match=why):
        fetch(registry, store, policy(tmp_path, registry, rule))
    assert store.list() == []


def test_what_is_not_signed_is_refused(registry: FakeRegistry, store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="not in the registry"):
        fetch(registry, store, policy(tmp_path, registry, signed_by(KEY)))


def test_an_exact_name_is_accepted(registry: FakeRegistry, store: ImageStore, tmp_path: Path) -> None:
    sign(registry, KEY, registry.image)
    fetch(registry, store, policy(tmp_path, registry, signed_by(KEY, "matchExact")))
    assert store.list()


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"default":[1]}', '{"default":[],"transports":{"docker":[1]}}']
)
def test_a_broken_policy_accepts_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "policy.json").write_text(text)
    with pytest.raises(InvalidInput):
        verifier({"XDG_CONFIG_HOME": str(tmp_path)})
