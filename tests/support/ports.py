"""Free ports on loopback."""

from __future__ import annotations

import os
import random
import socket

# Where tests look for ports: TRIMARAN_TEST_PORTS=FIRST-LAST keeps several test runs on one host apart.
FIRST, _, LAST = os.environ.get("TRIMARAN_TEST_PORTS", "15000-15049").partition("-")


def free_port() -> int:
    """A port that nothing listens on just now; another one each time, as far as there are enough."""
    ports = list(range(int(FIRST), int(LAST) + 1))
    random.SystemRandom().shuffle(ports)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"all ports from {FIRST} to {LAST} are taken")
