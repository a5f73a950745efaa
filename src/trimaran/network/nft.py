"""Loading rules with nft(8), and looking after the table: off the path that starts a container."""

from __future__ import annotations

import subprocess

from trimaran.errors import NetworkError, Unsupported


def load(rules: str) -> None:
    """Carry out a file of rules in one transaction. Raises NetworkError, or Unsupported with no nft."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        raise Unsupported(
            "bridge networks need the nft command", why="it is not installed", hint="apt-get install nftables"
        ) from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise NetworkError(
            "cannot load the network rules",
            why=words[0] if words else f"nft ended with {done.returncode}",
            hint="this needs root and a kernel with nf_tables and NAT",
        )
