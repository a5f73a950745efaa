"""Whose images are trusted: containers-policy.json(5), with sigstore keys.

``~/.config/containers/policy.json``, else ``/etc/containers/policy.json``, else every image is accepted. Of
the requirements ``insecureAcceptAnything``, ``reject`` and ``sigstoreSigned`` (with keys) are understood; any
other one is not met, so what it guards is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trimaran.errors import ImageError, InvalidInput, NotFound, TrimaranError, Unsupported
from trimaran.image.content import check
from trimaran.image.manifest import Manifest, parse_manifest
from trimaran.image.reference import Reference
from trimaran.image.repository import Fetched, Repository

SYSTEM_POLICY = "/etc/containers/policy.json"
SIGNATURE = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNED_TYPES = ("cosign container image signature", "atomic container signature")
MAX_POLICY_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 64 << 10
MAX_SIGNATURES = 100

Verify = Callable[[Reference, Repository, Fetched], None]


class NotTrusted(ImageError):
    """The signature policy does not accept an image."""


def verifier(environ: Mapping[str, str] = os.environ) -> Verify | None:
    """What to call with a fetched manifest; None if every image is accepted anyway.

    Raises InvalidInput for a policy that cannot be read: then nothing is accepted.
    """
    home = environ.get("HOME") or os.path.expanduser("~")
    user = os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers")
    for name in (os.path.join(user, "policy.json"), SYSTEM_POLICY):
        if os.path.exists(name):
            policy = Policy(_read(name), name)
            return None if policy.accepts_anything else policy.verify
    return None


def _read(name: str) -> dict[str, Any]:
    try:
        with open(name, "rb") as file:
            document = json.loads(file.read(MAX_POLICY_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"cannot read the signature policy {name}", why=str(error)) from error
    if not isinstance(document, dict):
        raise InvalidInput(f"the signature policy {name} is no JSON object")
    return document


def _rules(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
        raise TypeError("requirements must be a list of objects")
    return value


class Policy:
    """A parsed policy; ``name`` is its file, for messages. Raises InvalidInput if it is malformed."""

    def __init__(self, document: dict[str, Any], name: str) -> None:
        self._name = name
        try:
            self._default = _rules(document["default"])
            docker = (document.get("transports") or {}).get("docker") or {}
            self._scopes = {scope: _rules(rules) for scope, rules in docker.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"the signature policy {name} is malformed", why=str(error)) from error

    @property
    def accepts_anything(self) -> bool:
        """Whether no image can be refused."""
        return all(_accepting(rules) for rules in (self._default, *self._scopes.values()))

    def requirements(self, reference: Reference) -> list[dict[str, Any]]:
        """Those of the most specific scope that holds a reference."""
        for scope in _scopes(reference):
            if scope in self._scopes:
                return self._scopes[scope]
        return self._scopes.get("", self._default)

    def verify(self, reference: Reference, repository: Repository, fetched: Fetched) -> None:
        """Raises :class:`NotTrusted` unless every requirement is met."""
        rules = self.requirements(reference)
        if not rules:
            raise self._refusal(reference, "the policy has an empty list of requirements for it")
        for rule in rules:
            kind = rule.get("type")
            if kind == "insecureAcceptAnything":
                continue
            if kind == "reject":
                raise self._refusal(reference, "the policy rejects it")
            if kind != "sigstoreSigned":
                raise self._refusal(reference, f"requirements of the type {kind!r} are not supported")
            try:
                _check_signatures(rule, reference, repository, fetched.digest)
            except (ImageError, NotFound) as error:
                raise self._refusal(reference, str(error)) from error

    def _refusal(self, reference: Reference, why: str) -> NotTrusted:
        return NotTrusted(f"{reference.familiar} is not trusted", why=why, hint=f"see {self._name}")


def _accepting(rules: list[dict[str, Any]]) -> bool:
    return bool(rules) and all(rule.get("type") == "insecureAcceptAnything" for rule in rules)


def _scopes(reference: Reference) -> Iterator[str]:
    """From the reference itself up to its host, and wildcards for the host's domains."""
    yield str(reference)
    parts = reference.repository.split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    labels = reference.domain.partition(":")[0].split(".")
    for start in range(1, len(labels)):
        yield "*." + ".".join(labels[start:])


def _check_signatures(
    rule: dict[str, Any], reference: Reference, repository: Repository, digest: str
) -> None:
    """One signature of one of the rule's keys, about this digest and identity, is enough."""
    keys = _keys(rule)
    found = repository.manifest(digest.replace(":", "-", 1) + ".sig")
    manifest = parse_manifest(found.data, found.media_type)
    if not isinstance(manifest, Manifest):
        raise ImageError("its signatures are no manifest")
    why = "it has no signature"
    for layer in manifest.layers[:MAX_SIGNATURES]:
        if layer.media_type != PAYLOAD_TYPE or layer.size > MAX_PAYLOAD_BYTES:
            continue
        payload = repository.blob(layer.digest)[0].read_all(MAX_PAYLOAD_BYTES, "signature")
        check(payload, layer.digest)
        if not _signed(keys, layer.annotations.get(SIGNATURE, ""), payload):
            why = "none of its signatures is by a key that the policy names"
        elif reason := _mismatch(rule.get("signedIdentity") or {}, payload, reference, digest):
            why = reason
        else:
            return
    raise ImageError(why)


def _keys(rule: dict[str, Any]) -> list[Any]:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise Unsupported(
            "signatures cannot be verified", why=str(error), hint="pip install 'trimaran[trust]'"
        ) from error
    try:
        texts = [base64.b64decode(text) for text in _listed(rule, "keyData", "keyDatas")]
        for path in _listed(rule, "keyPath", "keyPaths"):
            with open(path, "rb") as file:
                texts.append(file.read(MAX_PAYLOAD_BYTES))
        keys = [load_pem_public_key(text) for text in texts]
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput("a key of the signature policy cannot be loaded", why=str(error)) from error
    if not keys:
        raise InvalidInput("the signature policy names no key", hint="give it keyPath or keyData")
    return keys


def _listed(rule: dict[str, Any], one: str, many: str) -> list[str]:
    return [*([rule[one]] if one in rule else []), *rule.get(many, [])]


def _signed(keys: list[Any], signature: str, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    for key in keys:
        try:
            _verify(key, raw, payload)
        except InvalidSignature:
            continue
        return True
    return False


def _verify(key: Any, signature: bytes, payload: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, payload, ec.ECDSA(SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, payload, padding.PKCS1v15(), SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, payload)
    else:
        raise InvalidInput("a key of the signature policy is of an unknown kind", why=type(key).__name__)


def _mismatch(identity: dict[str, Any], payload: bytes, reference: Reference, digest: str) -> str:
    """What is wrong with what was signed; empty if it is about this image."""
    try:
        critical = json.loads(payload)["critical"]
        kind, signed = critical["type"], critical["image"]["docker-manifest-digest"]
        claimed = Reference.parse_bare(critical["identity"]["docker-reference"])
    except (ValueError, KeyError, TypeError, RecursionError, TrimaranError) as error:
        return f"its signature says nothing: {error!r}"
    if kind not in SIGNED_TYPES or signed != digest:
        return "its signature is about another image"
    match identity.get("type", "matchRepoDigestOrExact"):
        case "matchRepository":
            good = claimed.repository == reference.repository
        case "matchExact":
            good = str(claimed) == str(reference)
        case "matchRepoDigestOrExact":
            by_digest = bool(reference.digest) and claimed.repository == reference.repository
            good = by_digest or str(claimed) == str(reference)
        case "exactReference":
            good = str(claimed) == str(Reference.parse(str(identity.get("dockerReference"))))
        case "exactRepository":
            good = claimed.repository == Reference.parse(str(identity.get("dockerRepository"))).repository
        case other:
            return f"identities of the type {other!r} are not supported"
    return "" if good else f"its signature is for {claimed.familiar}"
