"""Where everything is: the root directory, which lasts, and the run directory, which a boot empties.

    ROOT/state.db              the state database (trimaran.state)
    ROOT/containers/ID/        a container's own: bundle files, the log
    ROOT/...                   what images, snapshots, networks and volumes keep
    RUN/containers/ID/         its monitor's state directory, mode 0700
    RUN/containers/ID/exec/N/  the same of one exec

ROOT is /var/lib/trimaran, or $XDG_DATA_HOME/trimaran for who is not root; RUN is /run/trimaran, or
$XDG_RUNTIME_DIR/trimaran. A root that is chosen (--root, TRIMARAN_ROOT) brings its own: ROOT/run. All
are for their owner alone.
"""

from __future__ import annotations

import os

from trimaran.errors import InvalidInput, KernelError, TrimaranError

MODE = 0o700


class Paths:
    """The directories of one root; made when first needed.

    Raises :class:`InvalidInput` for a root that cannot be one.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        chosen = os.fspath(root) if root else os.environ.get("TRIMARAN_ROOT")
        self.chosen = bool(chosen)
        if chosen:
            if "\0" in chosen:
                raise InvalidInput("the root directory's name has a NUL in it")
            self.root = os.path.abspath(chosen)
            self.run = os.path.join(self.root, "run")
        else:
            self.root, self.run = _default_root(), _default_run()
        self.database = os.path.join(self.root, "state.db")
        self.containers = os.path.join(self.root, "containers")
        self.running = os.path.join(self.run, "containers")

    def make(self) -> None:
        """Make the directories that are missing. Raises :class:`TrimaranError` if one belongs to another."""
        for path in (self.root, self.run):
            _make_private(path)
        for path in (self.containers, self.running):
            _mkdir(path)

    def container(self, id: str) -> str:
        """A container's own directory."""
        return f"{self.containers}/{id}"

    def state(self, id: str, exec_id: str = "") -> str:
        """The state directory of a container's monitor, or of the monitor of one exec in it."""
        return f"{self.running}/{id}/exec/{exec_id}" if exec_id else f"{self.running}/{id}"


def _default_root() -> str:
    if os.geteuid() == 0:
        return "/var/lib/trimaran"
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(base, "trimaran")


def _default_run() -> str:
    if os.geteuid() == 0:
        return "/run/trimaran"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(base, "trimaran") if base else f"/tmp/trimaran-{os.geteuid()}"


def _mkdir(path: str) -> None:
    try:
        os.mkdir(path, MODE)
    except FileExistsError:
        pass
    except OSError as error:
        raise KernelError("mkdir", error.errno or 0, path) from error


def _make_private(path: str) -> None:
    """A directory of ours that nobody else can write or read, whoever made it before us."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            os.makedirs(parent, exist_ok=True)
        _mkdir(path)
        return
    except OSError as error:
        raise KernelError("lstat", error.errno or 0, path) from error
    if status.st_mode & 0o170000 != 0o040000 or status.st_uid != os.geteuid():
        raise TrimaranError(
            f"{path} cannot hold Trimaran's state",
            why="it is not a directory, or belongs to another user",
            hint="choose another with --root",
        )
    if status.st_mode & 0o077:
        os.chmod(path, MODE)
