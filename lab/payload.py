"""What goes into the machine and what comes out, each as a tar on a disk of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lab.image import SITE_PACKAGES, TOP

PREFIX = "opt/trimaran"
# The trees and files that tests may read; the package itself comes from the wheel.
TREES = ("tests", "bench", "lab", "native", "scripts", "docs")
FILES = ("pyproject.toml", "Makefile", ".ci/packages")


@dataclass(frozen=True)
class Step:
    """A command to run in /lab, as root or as the ordinary user ``lab``."""

    command: list[str]
    user: Literal["root", "lab"] = "root"


def wheel(directory: Path) -> Path:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-build-isolation", "--no-deps", "--wheel-dir", directory, TOP),
        ],
        check=True,
        capture_output=True,
    )
    return next(directory.glob("*.whl"))


def add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def add_wheel(archive: tarfile.TarFile, path: Path) -> None:
    """Install a wheel by laying its files where they belong (the binary distribution format, PEP 427)."""
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            content, mode = packed.read(info), (info.external_attr >> 16) & 0o777 or 0o644
            head, _, tail = info.filename.partition(".data/scripts/")
            if tail:
                # The interpreter's line of a Python script is written at installation.
                content = content.replace(b"#!python", f"#!/{PREFIX}/bin/python".encode(), 1)
                add(archive, f"{PREFIX}/bin/{tail}", content, 0o755)
            else:
                add(archive, f"{SITE_PACKAGES}/{head}", content, mode)


def tracked(tree: str) -> list[Path]:
    return [
        path for path in sorted((TOP / tree).rglob("*")) if "__pycache__" not in path.parts and path.is_file()
    ]


def pack(target: Path, steps: list[Step], environment: dict[str, str]) -> None:
    """Write the input disk: the wheel, the tests and the job."""
    with tempfile.TemporaryDirectory() as directory, tarfile.open(target, "w") as archive:
        add_wheel(archive, wheel(Path(directory)))
        for path in [*(p for tree in TREES for p in tracked(tree)), *(TOP / name for name in FILES)]:
            mode = path.stat().st_mode & 0o777
            add(archive, f"lab/{path.relative_to(TOP)}", path.read_bytes(), mode | 0o444)
        job = {"steps": [asdict(step) for step in steps], "environment": environment}
        add(archive, "lab/job.json", json.dumps(job).encode())


def unpack(source: Path, directory: Path) -> list[int]:
    """Lay what the guest wrote in ``directory`` (made anew) and return its steps' exit statuses."""
    directory.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-f", source, "-C", directory, "--no-same-owner"], check=True)
    statuses: list[int] = json.loads((directory / "results" / "statuses.json").read_text())
    return statuses
