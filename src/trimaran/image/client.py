"""Requests to one registry: scheme, authentication, redirects, retries, and errors in plain words.

OCI distribution specification 1.1 (https://github.com/opencontainers/distribution-spec). The verbs on a
repository are in :mod:`trimaran.image.repository`.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urljoin, urlsplit

from trimaran.errors import NotFound, RegistryError, Unauthorized
from trimaran.image.auth import Authenticator
from trimaran.image.credentials import Credentials
from trimaran.image.http import TRANSIENT, Body, HttpClient, Response
from trimaran.image.registries import Endpoint, Registries
from trimaran.image.tls import TlsSettings

MAX_ERROR_BYTES = 64 << 10
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)
TLS_TO_PLAIN = (b"HTTPS", b"https")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and after how many seconds, what may be tried again is tried again."""

    attempts: int = 5
    first: float = 0.5
    longest: float = 20.0
    patience: float = 60.0

    def delay(self, attempt: int, asked: float = 0.0) -> float | None:
        """Seconds to wait after a failed attempt (counted from 1); None to give up."""
        if attempt >= self.attempts or asked > self.patience:
            return None
        backoff = min(self.longest, self.first * float(2 ** (attempt - 1)))
        return max(asked, backoff * random.uniform(0.5, 1.0))


class Transport:
    """What all transfers of one command share: connections, credentials, configuration."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        insecure: bool = False,
        credentials: Credentials | None = None,
        registries: Registries | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
    ) -> None:
        self.tls = TlsSettings(environ)
        self.insecure = insecure
        self.credentials = credentials or Credentials(environ)
        self.registries = registries or Registries.load(environ)
        self.retry = retry or Retry()
        seconds = timeout or float(environ.get("TRIMARAN_REGISTRY_TIMEOUT", "30"))
        self.http = HttpClient(self.tls, timeout=seconds, environ=environ)
        self._sessions: dict[Endpoint, Session] = {}
        self._lock = threading.Lock()

    def session(self, endpoint: Endpoint) -> Session:
        """The session with an endpoint; one for each, so that tokens are shared."""
        with self._lock:
            if endpoint not in self._sessions:
                self._sessions[endpoint] = Session(self, endpoint)
            return self._sessions[endpoint]

    def cancel(self) -> None:
        """Stop every transfer, from any thread."""
        self.http.cancel()

    def close(self) -> None:
        """Close idle connections."""
        self.http.close()


class Session:
    """Requests to one endpoint. Safe to use from several threads."""

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._http = transport.http
        self.retry = transport.retry
        self.endpoint = endpoint
        self._scheme = ""
        self._lock = threading.Lock()
        if endpoint.insecure:
            transport.tls.unverified.add(endpoint.address)
        self.auth = Authenticator(
            self._http, endpoint.host, lambda: transport.credentials.find(endpoint.host, endpoint.path)
        )

    def url(self, path: str) -> str:
        """The URL of a path below ``/v2/``; finds out the scheme on first use."""
        with self._lock:
            if not self._scheme:
                self._scheme = self._find_scheme()
                self.auth.plain = self._scheme == "http"
        return f"{self._scheme}://{self.endpoint.address}/v2/{path}"

    def _find_scheme(self) -> str:
        if self.endpoint.plain_first:
            return "http" if self._speaks("http") else "https"
        if self.endpoint.insecure:
            return "https" if self._speaks("https") else "http"
        return "https"

    def _speaks(self, scheme: str) -> bool:
        try:
            response = self._http.request("GET", f"{scheme}://{self.endpoint.address}/v2/")
        except ConnectionRefusedError as error:
            raise self.unreachable(error) from error
        except (*TRANSIENT, ssl.SSLError):
            return False
        body = response.read_all(MAX_ERROR_BYTES, "answer")
        return response.status != 400 or not any(word in body for word in TLS_TO_PLAIN)

    def request(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Body] | None = None,
        ok: tuple[int, ...] = (200,),
        what: str,
    ) -> Response:
        """A request with authentication, redirects and retries, answered with one of the ``ok`` statuses.

        ``body`` is called for each attempt; ``what`` names the object for messages. Requests that are
        not idempotent (POST, PATCH) are tried again only if the registry said that it did nothing.
        Raises NotFound, Unauthorized, RegistryError, and Cancelled.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._authenticated(method, url, scope, headers or {}, body)
            except TRANSIENT as error:
                delay = self.retry.delay(attempt)
                if delay is None or method in ("POST", "PATCH"):
                    raise self.unreachable(error) from error
            except ssl.SSLError as error:
                raise self.unreachable(error) from error
            else:
                if response.status in ok:
                    return response
                delay = None
                if response.status in RETRIED_STATUSES and (method != "PATCH" or response.status == 429):
                    delay = self.retry.delay(attempt, retry_after(response))
                if delay is None:
                    raise self.refused(response, what)
                response.close()
            self.wait(delay)

    def wait(self, seconds: float) -> None:
        """Sleep, unless everything is stopped meanwhile."""
        self._http.cancelled.wait(seconds)

    def _authenticated(
        self,
        method: str,
        url: str,
        scope: str,
        headers: Mapping[str, str],
        body: Callable[[], Body] | None,
    ) -> Response:
        for _ in range(2):
            authorization = self.auth.header(scope)
            response = self._followed(method, url, headers, authorization, body)
            if response.status != 401:
                return response
            if not self.auth.learn(response.header("WWW-Authenticate"), scope, bool(authorization)):
                return response
            response.read_all(MAX_ERROR_BYTES, "error")
        authorization = self.auth.header(scope)
        return self._followed(method, url, headers, authorization, body)

    def _followed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str,
        body: Callable[[], Body] | None,
    ) -> Response:
        origin = urlsplit(url)[:2]
        for _ in range(MAX_REDIRECTS + 1):
            full = dict(headers)
            if authorization and urlsplit(url)[:2] == origin:
                full["Authorization"] = authorization
            response = self._http.request(method, url, full, body() if body else None)
            if response.status not in REDIRECTS or method not in ("GET", "HEAD"):
                return response
            target = urljoin(url, response.header("Location"))
            response.close()
            self._check_redirect(url, target)
            url = target
        raise RegistryError(
            f"{self.endpoint.host} redirects in a circle", why=f"more than {MAX_REDIRECTS} times"
        )

    def _check_redirect(self, url: str, target: str) -> None:
        scheme, host = urlsplit(target)[:2]
        if scheme not in ("http", "https") or not host or "@" in host:
            raise RegistryError(f"{self.endpoint.host} redirects to {target[:200]!r}", why="it is no URL")
        if scheme == "http" and urlsplit(url).scheme == "https":
            raise RegistryError(
                f"{self.endpoint.host} redirects to {target[:200]}", why="this would give up TLS"
            )

    def resolve(self, url: str, location: str) -> str:
        """An upload's next URL, from a ``Location`` header. Raises RegistryError if it gives up TLS."""
        target = urljoin(url, location)
        self._check_redirect(url, target)
        return target

    def unreachable(self, error: BaseException) -> RegistryError:
        """The error for a registry that does not answer."""
        hint = "check the name and the network"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = f"put its authority's certificate in certs.d/{self.endpoint.host}/ca.crt"
        elif isinstance(error, ssl.SSLError):
            hint = (
                "for a registry in plain HTTP set insecure = true in registries.conf, or --tls-verify=false"
            )
        why = str(error) or type(error).__name__
        return RegistryError(f"cannot reach the registry {self.endpoint.host}", why=why, hint=hint)

    def refused(self, response: Response, what: str) -> Exception:
        """The error for an answer that is not wanted; reads and closes it."""
        try:
            code, message = parse_error(response.read_all(MAX_ERROR_BYTES, "error"))
        except (*TRANSIENT, RegistryError) as error:
            code, message = "", str(error)
        host, status = self.endpoint.host, response.status
        why = message or code or f"HTTP status {status}"
        if status in (401, 403):
            hint = f"`trimaran login {host}`" if not self.auth.has_credentials else "check your rights"
            return Unauthorized(f"{host} refuses access to {what}", status=status, why=why, hint=hint)
        if status == 404:
            return NotFound(f"{what} is not in the registry {host}", why=why)
        if status == 429:
            return self._limited(response, what, why)
        return RegistryError(f"{host} failed on {what}", status=status, why=f"HTTP status {status}, {why}")

    def _limited(self, response: Response, what: str, why: str) -> RegistryError:
        limit, _, window = response.header("RateLimit-Limit").partition(";w=")
        if limit.isdigit() and window.isdigit():
            why = f"{limit} pulls in {int(window) // 3600} hours are allowed, and used up"
        seconds = retry_after(response)
        hint = f"wait {seconds:.0f} seconds" if seconds else "wait a while"
        if not self.auth.has_credentials:
            hint += f", or `trimaran login {self.endpoint.host}`: users who are logged in may do more"
        return RegistryError(
            f"{self.endpoint.host} limits the rate of requests, and refuses {what}",
            status=429,
            why=why,
            hint=hint,
        )


def retry_after(response: Response) -> float:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3); 0 without one."""
    value = response.header("Retry-After").strip()
    if value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def parse_error(body: bytes) -> tuple[str, str]:
    """Code and message of a registry's error document; empty if it is none."""
    try:
        errors = json.loads(body)["errors"]
        return _plain(errors[0].get("code")), _plain(errors[0].get("message"))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "", ""


def _plain(value: object) -> str:
    return "".join(char for char in str(value or "")[:300] if char.isprintable())
