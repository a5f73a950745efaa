"""Logging in to a registry: prove the credentials, then keep them."""

from __future__ import annotations

from trimaran.errors import InvalidInput
from trimaran.image.client import Transport
from trimaran.image.credentials import Credential, Credentials
from trimaran.image.reference import Reference
from trimaran.image.registries import Endpoint


def login(host: str, credential: Credential, probe: Transport, credentials: Credentials) -> str:
    """Try the credential at a registry, store it, and return where it went.

    ``probe`` uses this credential for everything. Raises Unauthorized if the registry refuses it,
    RegistryError, and InvalidInput for what is no host.
    """
    bare = host.removeprefix("https://").removeprefix("http://").partition("/")[0]
    bare = Reference.parse(f"{bare}/x").domain
    if not bare or not credential.username:
        raise InvalidInput(f"cannot log in to {host!r}", why="a registry and a user name are needed")
    session = probe.session(Endpoint(bare, "", insecure=probe.insecure))
    response = session.request("GET", session.url(""), scope="", what="its API")
    response.read_all(1 << 16, "answer")
    return credentials.store(bare, credential)
