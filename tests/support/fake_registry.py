"""A registry that misbehaves on demand: a small HTTP server over an OCI layout."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler"], bool]


class FakeRegistry:
    """Serves a layout as the repository ``app``, tag ``1``. ``faults`` are asked first, each request.

    A fault returns True if it has answered. ``requests`` is (method, path, authorization) of each.
    """

    def __init__(self, host: str, layout: str) -> None:
        self.host = host
        self.layout = layout
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []

    @property
    def image(self) -> str:
        return f"{self.host}/app:1"

    def blob(self, digest: str) -> bytes:
        with open(os.path.join(self.layout, "blobs", *digest.split(":")), "rb") as file:
            return file.read()

    def index(self) -> dict[str, list[dict[str, str]]]:
        with open(os.path.join(self.layout, "index.json"), encoding="utf-8") as file:
            return dict(json.load(file))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    registry: FakeRegistry

    def do_GET(self) -> None:
        self.registry.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
        for fault in self.registry.faults:
            if fault(self):
                return
        parts = self.path.strip("/").split("/")
        if parts == ["v2"]:
            self.answer(200, b"{}")
        elif parts[:2] == ["v2", "app"] and parts[2] in ("manifests", "blobs"):
            self.content(parts[2], parts[3])
        else:
            self.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}')

    do_HEAD = do_GET

    def content(self, kind: str, which: str) -> None:
        """A manifest or a blob, with ranges."""
        if kind == "manifests" and which == "1":
            which = self.registry.index()["manifests"][0]["digest"]
        try:
            data = self.registry.blob(which)
        except (OSError, TypeError):
            self.answer(404, b"{}")
            return
        if kind == "manifests":
            stated = json.loads(data).get("mediaType", "application/octet-stream")
            self.answer(200, data, {"Content-Type": stated, "Docker-Content-Digest": which})
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        if start:
            extent = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[start:], extent)
        else:
            self.answer(200, data)

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.start(status, {"Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def start(self, status: int, headers: dict[str, str]) -> None:
        """The head of an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what is tested."""


@contextlib.contextmanager
def fake_registry(layout: str, tls: tuple[str, str] | None = None) -> Iterator[FakeRegistry]:
    """Serve a layout on loopback; ``tls`` is a certificate and its key."""
    registry = FakeRegistry("", layout)
    server = _Server(("127.0.0.1", 0), type("Bound", (Handler,), {"registry": registry}))
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()


def is_blob(handler: Handler, larger_than: int = 0) -> bool:
    """Whether a request is for a blob of some size."""
    if "/blobs/" not in handler.path:
        return False
    return len(handler.registry.blob(handler.path.rpartition("/")[2])) > larger_than


def cut(after: int, times: int) -> Fault:
    """The first ``times`` answers with large blobs end after so many bytes."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if not is_blob(handler, after) or left[0] == 0:
            return False
        left[0] -= 1
        data = handler.registry.blob(handler.path.rpartition("/")[2])
        start = int(handler.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        extent = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        handler.start(206 if start else 200, {"Content-Length": str(len(data) - start), **extent})
        handler.wfile.write(data[start : start + after])
        handler.close_connection = True
        return True

    return fault


def stall(seconds: float, times: int) -> Fault:
    """The first ``times`` answers with blobs stop in the middle for a while."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if not is_blob(handler, 1000) or left[0] == 0:
            return False
        left[0] -= 1
        data = handler.registry.blob(handler.path.rpartition("/")[2])
        handler.start(200, {"Content-Length": str(len(data))})
        handler.wfile.write(data[:1000])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True
        return True

    return fault


def corrupt(times: int, larger_than: int = 1000) -> Fault:
    """The first ``times`` answers with large blobs have a wrong byte in the middle."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if not is_blob(handler, larger_than) or left[0] == 0:
            return False
        left[0] -= 1
        data = bytearray(handler.registry.blob(handler.path.rpartition("/")[2]))
        data[len(data) // 2] ^= 0xFF
        handler.answer(200, bytes(data))
        return True

    return fault


def status(code: int, times: int, headers: dict[str, str] | None = None, path: str = "/v2/app/") -> Fault:
    """The first ``times`` requests below a path get this status."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if left[0] == 0 or not handler.path.startswith(path):
            return False
        left[0] -= 1
        handler.answer(code, b'{"errors":[{"code":"X","message":"go away"}]}', headers)
        return True

    return fault
