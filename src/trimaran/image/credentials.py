"""Credentials for registries: found where Podman and Docker keep them, in the same order.

containers-auth.json(5) and https://docs.docker.com/reference/cli/docker/login: ``REGISTRY_AUTH_FILE`` alone
if set, else ``$XDG_RUNTIME_DIR/containers/auth.json``, ``$XDG_CONFIG_HOME/containers/auth.json``,
``$DOCKER_CONFIG/config.json`` and ``~/.dockercfg``. In each file: the helper of the registry
(``credHelpers``), then the most specific of ``auths``, then the general helper (``credsStore``).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimaran.errors import InvalidInput, NotFound, RegistryError

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", "docker.io")
MAX_FILE_BYTES = 1 << 20
HELPER_SECONDS = 30
TOKEN_USER = "<token>"


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """A name and password, or an identity token (an OAuth2 refresh token)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Credentials:
    """The user's credential files, read when asked. ``given`` is used in place of what they hold."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        auth_file: str = "",
        given: Credential | None = None,
    ) -> None:
        self._given = given
        self._environ = environ
        self._explicit = auth_file or environ.get("REGISTRY_AUTH_FILE", "")

    def files(self) -> list[str]:
        """The files in the order in which they are asked."""
        if self._explicit:
            return [self._explicit]
        home = self._environ.get("HOME") or os.path.expanduser("~")
        config = self._environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        runtime = self._environ.get("XDG_RUNTIME_DIR")
        docker = self._environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
        run = os.path.join(runtime, "containers") if runtime else f"/run/containers/{os.getuid()}"
        return [
            os.path.join(run, "auth.json"),
            os.path.join(config, "containers", "auth.json"),
            os.path.join(docker, "config.json"),
            os.path.join(home, ".dockercfg"),
        ]

    def find(self, host: str, path: str = "") -> Credential | None:
        """The credential for a repository ``path`` at a registry; None means to go anonymous.

        Raises InvalidInput for a file that cannot be read, RegistryError for a helper that fails.
        """
        if self._given:
            return self._given
        for name in self.files():
            found = _find_in(_read(name), host, path)
            if found:
                return found
        return None

    def store(self, host: str, credential: Credential) -> str:
        """Write down (or give to the helper) what a login has proved; returns where it went."""
        name = self._writable()
        document = _read(name)
        helper = (document.get("credHelpers") or {}).get(host) or document.get("credsStore")
        if helper:
            secret = {
                "ServerURL": _server_url(host),
                "Username": TOKEN_USER if credential.identity_token else credential.username,
                "Secret": credential.identity_token or credential.password,
            }
            _helper(helper, "store", json.dumps(secret))
            return f"docker-credential-{helper}"
        plain = f"{credential.username}:{credential.password}".encode()
        entry = {"auth": base64.b64encode(plain).decode()}
        if credential.identity_token:
            entry = {"auth": "", "identitytoken": credential.identity_token}
        document.setdefault("auths", {})[_key(host)] = entry
        _write(name, document)
        return name

    def remove(self, host: str) -> list[str]:
        """Forget a registry's credentials everywhere; returns where they were.

        Raises :class:`~trimaran.errors.NotFound` if there were none.
        """
        removed = []
        for name in self.files():
            document = _read(name)
            auths = document.get("auths") or {}
            keys = [key for key in auths if _normalise(key).split("/")[0] == host]
            for key in keys:
                del auths[key]
            helper = (document.get("credHelpers") or {}).get(host) or document.get("credsStore")
            if helper and _helper_get(helper, host):
                _helper(helper, "erase", _server_url(host))
                removed.append(f"docker-credential-{helper}")
            if keys:
                _write(name, document)
                removed.append(name)
        if not removed:
            raise NotFound(f"not logged in to {host}")
        return removed

    def _writable(self) -> str:
        names = [name for name in self.files() if not name.endswith(".dockercfg")]
        return next((name for name in names if os.path.exists(name)), names[min(1, len(names) - 1)])


def _find_in(document: dict[str, Any], host: str, path: str) -> Credential | None:
    helpers = document.get("credHelpers") or {}
    for key in _keys(host):
        if helpers.get(key):
            return _helper_get(helpers[key], host)
    entries = {_normalise(key): value for key, value in (document.get("auths") or {}).items()}
    parts = [host, *filter(None, path.split("/"))]
    for length in range(len(parts), 0, -1):
        entry = entries.get("/".join(parts[:length]))
        if isinstance(entry, dict) and (credential := _credential(entry, host)):
            return credential
    store = document.get("credsStore")
    return _helper_get(store, host) if store else None


def _credential(entry: dict[str, Any], host: str) -> Credential | None:
    token = entry.get("identitytoken") or ""
    try:
        plain = base64.b64decode(entry.get("auth") or "", validate=True).decode().rstrip("\0")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"the stored credentials for {host} are broken", why=str(error)) from error
    username, _, password = plain.partition(":")
    username = username or str(entry.get("username") or "")
    password = password or str(entry.get("password") or "")
    if not (token or username):
        return None
    return Credential(username, password, str(token))


def _keys(host: str) -> tuple[str, ...]:
    return DOCKER_HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}")


def _key(host: str) -> str:
    return DOCKER_HUB_KEYS[0] if host == DOCKER_HUB else host


def _server_url(host: str) -> str:
    return _key(host)


def _normalise(key: str) -> str:
    """A key of ``auths`` as ``host[/path]``: docker writes URLs, some with an API version."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    if path in ("v1", "v2"):
        path = ""
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DOCKER_HUB
    return f"{host}/{path}" if path else host


def _helper_get(name: str, host: str) -> Credential | None:
    answer = _helper(name, "get", _server_url(host))
    if answer is None:
        return None
    try:
        document = json.loads(answer)
        user, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"docker-credential-{name} answered nonsense", why=str(error)) from error
    return Credential(identity_token=secret) if user == TOKEN_USER else Credential(user, secret)


def _helper(name: str, verb: str, text: str) -> str | None:
    """Run a credential helper (docker-credential-helpers protocol); None if it knows no credentials."""
    import subprocess

    program = f"docker-credential-{name}"
    if "/" in name or not name:
        raise InvalidInput(f"the credential helper {name!r} is no name")
    try:
        done = subprocess.run(
            [program, verb], input=text.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(
            f"the credential helper {program} failed", why=str(error), hint="install it, or log in again"
        ) from error
    output = done.stdout[:MAX_FILE_BYTES].decode(errors="replace").strip()
    if done.returncode == 0:
        return output
    if "not found" in output.lower():
        return None
    raise RegistryError(
        f"the credential helper {program} failed", why=output or done.stderr[:500].decode(errors="replace")
    )


def _read(name: str) -> dict[str, Any]:
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidInput(f"cannot read the credentials in {name}", why=error.strerror or "") from error
    try:
        document = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the credentials file {name} is not valid JSON", why=str(error)) from error
    if not isinstance(document, dict) or len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"the credentials file {name} is no credentials file")
    if name.endswith(".dockercfg"):
        return {"auths": document}
    return document


def _write(name: str, document: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(name) or ".", mode=0o700, exist_ok=True)
    try:
        mode = stat.S_IMODE(os.stat(name).st_mode) & 0o600
    except FileNotFoundError:
        mode = 0o600
    partial = f"{name}.{os.getpid()}"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(document, file, indent="\t")
        file.flush()
        os.fsync(fd)
    os.replace(partial, os.path.realpath(name))
