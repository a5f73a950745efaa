"""Trimaran's command, with a state directory of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.peers.engine import Engine, command_lines


def program(name: str) -> str:
    """A program of ours, next to the interpreter that runs the benchmark."""
    return os.path.join(os.path.dirname(sys.executable), name)


class Trimaran(Engine):
    name = "trimaran"
    program = program("trimaran")

    def base(self) -> list[str]:
        return [self.program, "--root", str(self.directory / "root")]

    def resident(self) -> list[int]:
        """The monitors: the benchmark has a PID namespace, in which all of them are this engine's."""
        return [pid for pid in command_lines() if "trimaran-m" in name_of(pid)]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
