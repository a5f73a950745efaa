"""Authentication to registries: basic, and bearer tokens from the realm that a registry names.

https://distribution.github.io/distribution/spec/auth/token/ and /oauth/. What a registry says is not
trusted: the scope is always our own, and credentials go to a realm over TLS only, unless the registry
itself is spoken to in plain HTTP.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from trimaran.errors import RegistryError, Unauthorized
from trimaran.image.credentials import Credential

if TYPE_CHECKING:
    from trimaran.image.http import HttpClient, Response

MAX_TOKEN_BYTES = 1 << 20
DEFAULT_TOKEN_SECONDS = 60
CLIENT_ID = "trimaran"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge; the scheme is in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a ``WWW-Authenticate`` header (RFC 9110, section 11.6.1); nonsense is left out."""
    found: list[Challenge] = []
    rest = header[:8192].strip()
    while rest:
        word, rest = _token(rest)
        if not word:
            rest = rest[1:].lstrip(" ,")
            continue
        if rest.startswith("=") and found:
            value, rest = _value(rest[1:].lstrip())
            found[-1].parameters[word.lower()] = value
        else:
            found.append(Challenge(word.lower()))
        rest = rest.lstrip(" ,\t")
    return found


_SEPARATORS = frozenset(' ,="\t')


def _token(text: str) -> tuple[str, str]:
    end = next((i for i, char in enumerate(text) if char in _SEPARATORS), len(text))
    return text[:end], text[end:].lstrip(" \t")


def _value(text: str) -> tuple[str, str]:
    if not text.startswith('"'):
        return _token(text)
    value, position = "", 1
    while position < len(text) and text[position] != '"':
        if text[position] == "\\":
            position += 1
        value += text[position : position + 1]
        position += 1
    return value, text[position + 1 :]


class Authenticator:
    """The ``Authorization`` for one registry, learnt from its first challenge. Safe to use from threads."""

    def __init__(
        self, http: HttpClient, host: str, find: Callable[[], Credential | None], *, plain: bool = False
    ) -> None:
        self._http = http
        self._host = host
        self._find = find
        self._credential: Credential | None = None
        self._looked = False
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self.plain = plain

    def header(self, scope: str) -> str:
        """What to send with a request of this scope; empty as long as nothing was asked for."""
        with self._lock:
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                credential = self._lookup()
                return credential.basic if credential else ""
            return "Bearer " + self._token_for(scope)

    def learn(self, header: str, scope: str, sent: bool) -> bool:
        """Take in a 401's challenge. Returns whether trying again makes sense.

        ``sent`` says whether the refused request had an ``Authorization``: a token may have expired early.
        """
        offers = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        chosen = offers.get("bearer") or offers.get("basic")
        if chosen is None:
            return False
        with self._lock:
            self._challenge = chosen
            self._tokens.pop(scope, None)
            return chosen.scheme == "bearer" or (not sent and self._lookup() is not None)

    @property
    def has_credentials(self) -> bool:
        """Whether the user has credentials for this registry."""
        with self._lock:
            return self._lookup() is not None

    def _lookup(self) -> Credential | None:
        if not self._looked:
            self._credential, self._looked = self._find(), True
        return self._credential

    def _token_for(self, scope: str) -> str:
        token, until = self._tokens.get(scope, ("", 0.0))
        if not token or until < time.monotonic():
            token, seconds = self._fetch(scope)
            self._tokens[scope] = token, time.monotonic() + seconds
        return token

    def _fetch(self, scope: str) -> tuple[str, float]:
        assert self._challenge is not None
        parameters = self._challenge.parameters
        realm, service = parameters.get("realm", ""), parameters.get("service", "")
        credential = self._lookup()
        self._check_realm(realm, credential)
        query = [("service", service)] * bool(service) + [("scope", part) for part in scope.split()]
        if credential and credential.identity_token:
            form = [
                *query,
                ("grant_type", "refresh_token"),
                ("refresh_token", credential.identity_token),
                ("client_id", CLIENT_ID),
            ]
            content = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._http.request("POST", realm, content, urlencode(form).encode())
        else:
            headers = {"Authorization": credential.basic} if credential else {}
            url = realm + ("&" if "?" in realm else "?") + urlencode(query)
            response = self._http.request("GET", url, headers)
        return self._parse(response)

    def _check_realm(self, realm: str, credential: Credential | None) -> None:
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise RegistryError(f"{self._host} names {realm[:100]!r} as its token server", why="it is no URL")
        if parts.scheme == "http" and credential and not self.plain:
            raise RegistryError(
                f"{self._host} asks for the password to be sent in plain text to {parts.netloc}",
                why="its token server is not reached over TLS",
            )

    def _parse(self, response: Response) -> tuple[str, float]:
        body = response.read_all(MAX_TOKEN_BYTES, "token")
        if response.status in (400, 401, 403):
            raise Unauthorized(
                f"{self._host} refuses to issue a token",
                status=response.status,
                why="wrong user name or password" if self._credential else "it wants a login",
                hint=f"`trimaran login {self._host}`",
            )
        try:
            document = json.loads(body) if response.status == 200 else None
            token = document.get("token") or document.get("access_token") if document else ""
            seconds = float(document.get("expires_in") or DEFAULT_TOKEN_SECONDS) if document else 0.0
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(
                f"the token server of {self._host} answered nonsense", why=str(error)
            ) from error
        if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
            raise RegistryError(f"the token server of {self._host} issued no token", status=response.status)
        return token, max(1.0, min(seconds, 3600.0) * 0.9)
