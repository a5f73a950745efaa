"""System call numbers by name, one module an architecture. Data, imported when it is asked for."""

from __future__ import annotations

ARCHITECTURES = ("x86_64", "x86", "x32", "aarch64", "arm", "riscv64")

_tables: dict[str, dict[str, int]] = {}


def numbers(architecture: str) -> dict[str, int]:
    """The number of each system call of one of ``ARCHITECTURES``; those of x32 lack their bit 30."""
    table = _tables.get(architecture)
    if table is None:
        module = __import__(f"{__name__}.{architecture}", fromlist=["RUNS"])
        table = _tables[architecture] = {
            name: start + offset for start, names in module.RUNS for offset, name in enumerate(names.split())
        }
    return table
