"""TLS settings for registries: the system's authorities, and ``certs.d``.

containers-certs.d(5): below ``certs.d/HOST:PORT`` each ``*.crt`` is an authority to trust, each ``*.cert``
a client certificate with its key in the ``*.key`` of the same name.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping

from trimaran.errors import InvalidInput


class TlsSettings:
    """TLS contexts by host[:port], made once each. ``unverified`` hosts are not checked."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        home = environ.get("HOME") or os.path.expanduser("~")
        user = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        self._roots = [
            os.path.join(user, "containers", "certs.d"),
            "/etc/containers/certs.d",
            "/etc/docker/certs.d",
        ]
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.unverified: set[str] = set()

    def __call__(self, host: str) -> ssl.SSLContext:
        """The context for a host. Raises InvalidInput for a certificate that cannot be loaded."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._make(host)
            return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if host in self.unverified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for root in self._roots:
            directory = os.path.join(root, host)
            if os.path.isdir(directory):
                _load(context, directory)
        return context


def _load(context: ssl.SSLContext, directory: str) -> None:
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"cannot load the certificate {path}", why=str(error)) from error
