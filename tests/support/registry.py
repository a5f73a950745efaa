"""Debian's docker-registry on loopback: in plain HTTP or TLS, open, with passwords, or with tokens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from tests.support.ports import free_port

# bcrypt of "secret", for user "tester".
HTPASSWD = "tester:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
USER, PASSWORD = "tester", "secret"


class Registry:
    """A running registry. ``directory`` holds its files, ``ca`` its certificate if it speaks TLS."""

    def __init__(self, host: str, directory: str, ca: str = "") -> None:
        self.host = host
        self.directory = directory
        self.ca = ca

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://{self.host}"

    def log(self) -> str:
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()


@contextlib.contextmanager
def registry(
    directory: str, *, tls: bool = False, htpasswd: bool = False, token_realm: str = "", token_key: str = ""
) -> Iterator[Registry]:
    """Start a registry that keeps its data below ``directory`` (which is made), and stop it."""
    os.makedirs(directory, exist_ok=True)
    # Another test run may take the port between the look and the bind.
    for _ in range(5):
        port = free_port()
        ca = _configure(directory, port, tls, htpasswd, token_realm, token_key)
        process = _start(directory)
        if wait_for_port(port, process):
            break
    else:
        raise RuntimeError(f"docker-registry does not start, see {directory}/log")
    try:
        yield Registry(f"127.0.0.1:{port}", directory, ca)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _configure(directory: str, port: int, tls: bool, htpasswd: bool, token_realm: str, token_key: str) -> str:
    """Write the registry's configuration; returns its certificate, if it speaks TLS."""
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": os.path.join(directory, "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    ca = ""
    if tls:
        ca, key = certificate(directory)
        config["http"]["tls"] = {"certificate": ca, "key": key}
    if htpasswd:
        passwords = os.path.join(directory, "htpasswd")
        with open(passwords, "w", encoding="ascii") as file:
            file.write(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": passwords}}
    if token_realm:
        config["auth"] = {
            "token": {
                "realm": token_realm,
                "service": "test",
                "issuer": "tester",
                "rootcertbundle": token_key,
            }
        }
    with open(os.path.join(directory, "config.yml"), "w", encoding="ascii") as file:
        json.dump(config, file)
    return ca


def _start(directory: str) -> subprocess.Popen[bytes]:
    with open(os.path.join(directory, "log"), "ab") as log:
        return subprocess.Popen(
            ["docker-registry", "serve", os.path.join(directory, "config.yml")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process listens, for up to thirty seconds; False if it has ended."""
    for _ in range(1500):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(0.05)
                return process.poll() is None
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def certificate(directory: str) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1 and localhost, and its key."""
    certificate, key = os.path.join(directory, "server.crt"), os.path.join(directory, "server.key")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def push(layout: str, reference: str, *options: str) -> None:
    """Push an OCI layout (``PATH:TAG``) to a registry, by skopeo."""
    skopeo("copy", *options, "--dest-tls-verify=false", f"oci:{layout}", f"docker://{reference}")


def skopeo(*arguments: str) -> str:
    """Run skopeo, accepting any image."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"skopeo {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def remove(directory: str) -> None:
    """Remove a registry's directory."""
    shutil.rmtree(directory)
