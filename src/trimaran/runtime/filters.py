"""The default seccomp filter, compiled once a boot for each set of capabilities, and kept.

A configuration asks for it by the annotation :data:`ANNOTATION` instead of spelling hundreds of system
calls out: neither these nor the filter has to be made anew for every container.
"""

from __future__ import annotations

import os

from trimaran._version import VERSION
from trimaran.plan.process import Confinement
from trimaran.spec import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.spec.runtime import Config

ANNOTATION = "trimaran.seccomp"
DEFAULT = "default"
_MAX_FILTER = 4096 * 8
_known: dict[int, tuple[bytes, int]] = {}


def wanted(config: Config) -> bool:
    """Whether the configuration has no filter of its own and asks for the default one."""
    own = config.linux.seccomp if config.linux else None
    return own is None and (config.annotations or {}).get(ANNOTATION) == DEFAULT


def default_confinement(config: Config) -> Confinement:
    """The default filter for the configuration's bounding set."""
    sets = config.process.capabilities if config.process else None
    names = sets.bounding if sets else []
    mask = capabilities.mask(names)
    found = _known.get(mask)
    if found is None:
        found = _known[mask] = _load(mask) or _compile(mask, names)
    return Confinement(
        found[0], found[1], listener_path="", listener_state="", where="default seccomp profile"
    )


def _compile(mask: int, names: list[str]) -> tuple[bytes, int]:
    from trimaran.plan.seccomp import compile_profile
    from trimaran.spec.seccomp_default import default_profile

    machine = os.uname().machine
    compiled = compile_profile(default_profile(machine, names), machine)
    _save(mask, compiled.flags.to_bytes(8, "little") + compiled.program)
    return compiled.program, compiled.flags


def _directory() -> str:
    """Where filters are kept: emptied by a boot (the kernel may be another then), and for us alone."""
    if os.geteuid() == 0:
        return "/run/trimaran/filters"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/trimaran/filters" if base else ""


def _name(mask: int) -> str:
    return f"{_directory()}/{VERSION}-{os.uname().machine}-{mask:x}"


def _load(mask: int) -> tuple[bytes, int] | None:
    """What is kept, if nobody but us can have written it."""
    try:
        directory = os.lstat(_directory())
        if directory.st_uid != os.geteuid() or directory.st_mode & 0o077:
            return None
        fd = os.open(_name(mask), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, _MAX_FILTER + 8)
    finally:
        os.close(fd)
    if len(data) < 16 or len(data) % 8:
        return None
    return data[8:], int.from_bytes(data[:8], "little")


def _save(mask: int, data: bytes) -> None:
    """Keep a filter, where that is possible; without it the next process compiles it again."""
    path = _name(mask)
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        partial = f"{path}.{os.getpid()}"
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        os.rename(partial, path)
    except OSError:
        return
