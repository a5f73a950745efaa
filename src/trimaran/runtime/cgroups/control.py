"""Acting on a container's cgroups: its directories, in whichever hierarchies they are."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, KernelError, TrimaranError, Unsupported
from trimaran.linux import _sys
from trimaran.plan.cgroups import updates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.cgroup_values import Value
    from trimaran.spec.resources import Resources

SIGKILL = 9
_ATTEMPTS = 200


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def write(path: str, text: str) -> None:
    """Write to a file that must be there. Raises KernelError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(
            "write", error.errno or 0, path, message=f"cannot write {text!r} to {path}"
        ) from None


def find(directories: list[str], file: str) -> str | None:
    """The directory that has such a file: a controller's own files say where it is."""
    return next((directory for directory in directories if os.path.exists(f"{directory}/{file}")), None)


def processes(directories: list[str]) -> list[int]:
    """PIDs of all processes, those of cgroups below included."""
    directory = find(directories, "pids.max") or find(directories, "cgroup.procs")
    if directory is None:
        return []
    found: list[int] = []
    for path, _, _ in os.walk(directory):
        try:
            found += map(int, _read(f"{path}/cgroup.procs").split())
        except FileNotFoundError:
            # Removed since it was listed.
            continue
    return sorted(set(found))


def signal_all(directories: list[str], number: int) -> None:
    """Signal every process. A process that forks meanwhile does not get away from SIGKILL."""
    kill_file = find(directories, "cgroup.kill")
    if number == SIGKILL and kill_file and len(directories) == 1:
        write(f"{kill_file}/cgroup.kill", "1")
        return
    for _ in range(_ATTEMPTS if number == SIGKILL else 1):
        found = processes(directories)
        for pid in found:
            _signal(pid, number)
        if not found:
            return
        if number == SIGKILL:
            _pause_briefly()


def _signal(pid: int, number: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        _sys.send_signal(pidfd, number)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _pause_briefly() -> None:
    import time

    time.sleep(0.002)


def frozen(directories: list[str]) -> bool:
    """Whether the processes are frozen."""
    if directory := find(directories, "freezer.state"):
        return _read(f"{directory}/freezer.state") != "THAWED"
    if directory := find(directories, "cgroup.freeze"):
        return _read(f"{directory}/cgroup.freeze") == "1"
    return False


def freeze(directories: list[str], freezing: bool) -> None:
    """Freeze or thaw every process; returns when that is so. Raises Unsupported without a freezer."""
    if directory := find(directories, "freezer.state"):
        file, value, done = "freezer.state", "FROZEN" if freezing else "THAWED", f"{directory}/freezer.state"
        wanted = value
    elif directory := find(directories, "cgroup.freeze"):
        file, value, done = "cgroup.freeze", "1" if freezing else "0", f"{directory}/cgroup.events"
        wanted = f"frozen {value}"
    else:
        raise Unsupported("the container cannot be paused", why="this host has no cgroup freezer")
    for _ in range(_ATTEMPTS):
        write(f"{directory}/{file}", value)
        if wanted in _read(done):
            return
        _pause_briefly()
    raise TrimaranError("the container cannot be paused", why="a process of it does not freeze")


def thaw_process(pid: int) -> None:
    """Thaw the cgroup that a process is in, wherever that is, so that it can die; nothing if it is gone."""
    from trimaran.runtime.cgroups.layout import find_layout, own_paths

    layout = find_layout()
    try:
        paths = own_paths(_read(f"/proc/{pid}/cgroup"))
    except (FileNotFoundError, ProcessLookupError):
        return
    for controller, file, value in (("freezer", "freezer.state", "THAWED"), ("", "cgroup.freeze", "0")):
        if layout and controller in layout.mounts and controller in paths:
            path = f"{layout.mounts[controller]}{paths[controller]}/{file}"
            if os.path.exists(path):
                write(path, value)


def remove(directories: list[str]) -> None:
    """Remove the cgroups, and what the container made below; those that are gone are no error."""
    for directory in directories:
        for path, _, _ in os.walk(directory, topdown=False):
            _remove(path)


def _remove(path: str) -> None:
    import errno

    for attempt in range(_ATTEMPTS):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            # A process that has ended leaves its cgroup a moment later.
            if error.errno != errno.EBUSY or attempt == _ATTEMPTS - 1:
                raise KernelError("rmdir", error.errno or 0, path) from None
            _pause_briefly()
        else:
            return


def update(directories: list[str], resources: Resources) -> None:
    """Change limits. Raises SpecError, KernelError, or Unsupported if a controller is missing."""
    v2 = unified(directories)
    writes = [_placed(directories, value) for value in updates(_completed(directories, resources, v2), v2)]
    if resources.memory and resources.memory.check_before_update and v2:
        _check_usage(directories[0], resources.memory.limit or 0)
    for directory, file, text in _ordered(writes):
        if directory:
            write(f"{directory}/{file}", text)


def unified(directories: list[str]) -> str:
    """``v2`` if that is the container's only hierarchy, else ``v1``."""
    return "v2" if len(directories) == 1 and find(directories, "cgroup.controllers") else "v1"


def _placed(directories: list[str], value: Value) -> tuple[str, str, str]:
    """The directory, file and text of a limit; no directory if it can be left out."""
    if directory := find(directories, value.file):
        return directory, value.file, value.text
    if value.other and (directory := find(directories, value.other[0])):
        return directory, *value.other
    if value.optional:
        return "", value.file, value.text
    raise Unsupported(f"{value.why} cannot be changed", why=f"no cgroup of the container has {value.file}")


def _completed(directories: list[str], resources: Resources, mode: str) -> Resources:
    """v2 sets quota and period together, and swap by itself: what is not named must stay as it is."""
    cpu, memory = resources.cpu, resources.memory
    if mode != "v2":
        return resources
    if cpu and bool(cpu.quota) != bool(cpu.period) and (directory := find(directories, "cpu.max")):
        quota, period = _read(f"{directory}/cpu.max").split()
        now = {"quota": -1 if quota == "max" else int(quota), "period": int(period)}
        known = {key: value for key, value in cpu.__dict__.items() if value}
        resources = resources.replace(cpu=cpu.replace(**{**now, **known}))
    if memory and memory.swap and memory.swap > 0 and not memory.limit:
        limit = _read(f"{directories[0]}/memory.max")
        resources = resources.replace(memory=memory.replace(limit=-1 if limit == "max" else int(limit)))
    return resources


def _check_usage(directory: str, limit: int) -> None:
    used = int(_read(f"{directory}/memory.current"))
    if 0 < limit < used:
        raise Conflict(
            "the memory limit cannot be lowered",
            why=f"{used} bytes are in use, more than {limit}",
            hint="leave out checkBeforeUpdate to have processes killed",
        )


def _ordered(writes: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """v1 wants memory and swap at least memory at all times: a raise begins with the sum."""
    limit = next((w for w in writes if w[1] == "memory.limit_in_bytes"), None)
    total = next((w for w in writes if w[1] == "memory.memsw.limit_in_bytes"), None)
    if limit and total and (total[2] == "-1" or int(limit[2]) > int(_read(f"{total[0]}/{total[1]}"))):
        return [total, *(w for w in writes if w is not total)]
    return writes
