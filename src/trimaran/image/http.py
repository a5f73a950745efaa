"""HTTP/1.1 to registries: connections that are kept, proxies, TLS, limits, and a way to stop it all.

Built on :mod:`http.client` with a thread a transfer; docs/adr/0401-http-client.md has the measurements.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trimaran._version import VERSION
from trimaran.errors import RegistryError
from trimaran.image.proxy import Proxy, proxy_for

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

TIMEOUT_SECONDS = 30.0
USER_AGENT = f"trimaran/{VERSION}"
Body = bytes | Iterable[bytes] | None

TRANSIENT = (ConnectionError, TimeoutError, http.client.HTTPException, socket.gaierror, EOFError)


class Cancelled(Exception):
    """The transfer was stopped from outside."""


class Response:
    """The head of an answer, and its body to be read. Close it, or read it to its end."""

    def __init__(self, client: HttpClient, key: Key, connection: http.client.HTTPConnection) -> None:
        self._client = client
        self._key = key
        self._connection = connection
        self._raw = connection.getresponse()
        self.status = self._raw.status
        self.headers = self._raw.headers
        # Counted here: http.client before 3.11.8 does not count what read1 returns.
        self._left = self._raw.length

    @property
    def length(self) -> int | None:
        """How many bytes of the body are still to come; None if the registry does not say."""
        return self._left

    def header(self, name: str) -> str:
        """A header's value, empty if it is not there."""
        return str(self.headers.get(name, ""))

    def read_some(self, limit: int) -> bytes:
        """What has arrived, up to ``limit`` bytes; waits for the first of them; empty at the end.

        Raises what :data:`TRANSIENT` lists, and :class:`Cancelled`.
        """
        if self._left == 0:
            return b""
        try:
            data = self._raw.read1(limit if self._left is None else min(limit, self._left))
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._client.cancelled.is_set():
                raise Cancelled from error
            raise
        if self._client.cancelled.is_set():
            raise Cancelled
        if self._left is not None:
            if not data:
                raise EOFError(f"the connection ended {self._left} bytes early")
            self._left -= len(data)
        elif not data:
            self._left = 0
        return data

    def read_all(self, limit: int, what: str) -> bytes:
        """The whole body, which is then closed. Raises RegistryError past ``limit`` bytes."""
        data = bytearray()
        try:
            while chunk := self.read_some(1 << 16):
                data += chunk
                if len(data) > limit:
                    raise RegistryError(
                        f"{self._key[1]} sent too large a {what}",
                        status=self.status,
                        why=f"more than {limit} bytes",
                    )
        finally:
            self.close()
        return bytes(data)

    def close(self) -> None:
        """Keep the connection if the body has been read, else drop it. Idempotent."""
        reusable = self._left == 0 and not self._raw.will_close
        self._raw.close()
        if reusable:
            self._client.keep(self._key, self._connection)
        else:
            self._client.drop(self._connection)


Key = tuple[str, str]


class HttpClient:
    """Exchanges with any hosts, from any threads. ``tls`` gives the TLS settings for a host and port."""

    def __init__(
        self,
        tls: Callable[[str], ssl.SSLContext],
        *,
        timeout: float = TIMEOUT_SECONDS,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._tls = tls
        self._timeout = timeout
        self._environ = environ
        self._lock = threading.Lock()
        self._idle: dict[Key, list[http.client.HTTPConnection]] = {}
        self._busy: dict[http.client.HTTPConnection, socket.socket] = {}
        self.cancelled = threading.Event()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> Response:
        """One exchange: no redirect is followed, no error is retried, any status is returned.

        Raises what :data:`TRANSIENT` lists, ssl.SSLError, and :class:`Cancelled`.
        """
        parts = urlsplit(url)
        key = parts.scheme, parts.netloc
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection, proxied = self._take(key)
        try:
            if proxied:
                target = f"{parts.scheme}://{parts.netloc}{target}"
            full = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
            if proxied and proxied.authorization:
                full["Proxy-Authorization"] = proxied.authorization
            connection.request(method, target, body=body, headers=full)
            return Response(self, key, connection)
        except BaseException as error:
            self.drop(connection)
            if self.cancelled.is_set():
                raise Cancelled from error
            raise

    def _take(self, key: Key) -> tuple[http.client.HTTPConnection, Proxy | None]:
        """A connection, and the proxy if requests are to name the whole URL."""
        if self.cancelled.is_set():
            raise Cancelled
        scheme, host = key
        proxy = proxy_for(scheme, host, self._environ)
        with self._lock:
            idle = self._idle.get(key, [])
            while idle:
                connection = idle.pop()
                if _usable(connection):
                    self._busy[connection] = connection.sock
                    return connection, proxy if scheme == "http" else None
                connection.close()
        connection = self._connection(scheme, host, proxy)
        connection.connect()
        with self._lock:
            self._busy[connection] = connection.sock
        return connection, proxy if scheme == "http" else None

    def _connection(self, scheme: str, host: str, proxy: Proxy | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(proxy.address if proxy else host, timeout=self._timeout)
        context = self._tls(host)
        if not proxy:
            return http.client.HTTPSConnection(host, timeout=self._timeout, context=context)
        connection = http.client.HTTPSConnection(proxy.address, timeout=self._timeout, context=context)
        authorization = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        connection.set_tunnel(host, headers=authorization)
        return connection

    def keep(self, key: Key, connection: http.client.HTTPConnection) -> None:
        """Take back a connection whose exchange is over."""
        with self._lock:
            if self._busy.pop(connection, None) is not None:
                self._idle.setdefault(key, []).append(connection)

    def drop(self, connection: http.client.HTTPConnection) -> None:
        """Close a connection whose state is not known."""
        with self._lock:
            self._busy.pop(connection, None)
        connection.close()

    def cancel(self) -> None:
        """Stop every transfer: threads that wait for a registry get an error at once."""
        self.cancelled.set()
        with self._lock:
            for sock in self._busy.values():
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def resume(self) -> None:
        """Allow transfers again after :meth:`cancel`, when all threads have noticed it."""
        self.cancelled.clear()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            for connection in [c for idle in self._idle.values() for c in idle]:
                connection.close()
            self._idle.clear()


def _usable(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has neither closed a kept connection nor sent what was not asked for."""
    return connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]
