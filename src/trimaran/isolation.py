"""The contract of a hull: what the engine asks of it, whatever stands between container and host.

Terms. A *container* is known by its id. Its *first process* is made by :meth:`Isolation.create` and waits;
:meth:`Isolation.start` lets it execute the program. A *monitor* (see :mod:`trimaran.monitor`) watches the
first process and each exec'd one, owns their stdio and records their exit in the state directory given
for each: the hull starts the monitor, the engine reads what it recorded.

Every implementation passes ``tests/contract/test_isolation.py``.

State machine: ``created -> running <-> paused``, then ``stopped``; :meth:`Isolation.delete` ends any.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from dataclasses import dataclass, field
    from typing import Any, Literal, Protocol

    Status = Literal["creating", "created", "running", "paused", "stopped"]
else:
    from trimaran.values import dataclass, field

    Protocol = object
    Status = str


@dataclass(frozen=True)
class Root:
    """Where a container's root file system comes from: either ``path``, or layers.

    ``lower`` lists read-only layer directories, the uppermost first, in the on-disk form of overlayfs
    (whiteouts are 0:0 character devices, or ``user.overlay.*`` attributes when rootless). ``upper`` and
    ``work`` are the container's own; None for a root that cannot be written. ``options`` are overlayfs's,
    such as ``userxattr``.
    """

    path: str | None = None
    lower: Sequence[str] = ()
    upper: str | None = None
    work: str | None = None
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Stdio:
    """What the process's standard streams are, and where its output is kept.

    ``mode``: ``pipes`` and ``terminal`` go through the monitor, which logs them and serves attach;
    ``pass`` hands ``fds`` to the process itself; ``null`` is ``/dev/null``. ``log`` is ``cri:PATH``,
    ``json:PATH`` or ``none``. ``stdin`` is ``open``, ``once`` (closed when the first client leaves) or
    ``closed``. ``client`` is a SOCK_SEQPACKET socket that is connected to the monitor from the start.
    ``lease`` is the PID of a process of the host: when that ends, the monitor kills what it watches.
    """

    mode: Literal["pipes", "terminal", "pass", "null"] = "pipes"
    stdin: Literal["open", "once", "closed"] = "closed"
    fds: tuple[int, int, int] | None = None
    log: str = "none"
    log_size: int = 0
    log_files: int = 1
    size: tuple[int, int] = (24, 80)
    client: int = -1
    lease: int = 0


@dataclass(frozen=True)
class CreateRequest:
    """A container to create. ``config`` is the OCI ``config.json`` as parsed JSON.

    ``state`` is an existing directory of mode 0700, for this container's monitor. ``durable`` asks that
    the exit record be on disk before anyone is told. ``options`` are the hull's own.
    """

    id: str
    bundle: str
    config: Mapping[str, Any]
    root: Root
    state: str
    stdio: Stdio = Stdio()
    start: bool = False
    durable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecRequest:
    """One more process for a running container. ``process`` is the OCI ``process`` object."""

    exec_id: str
    process: Mapping[str, Any]
    state: str
    stdio: Stdio = Stdio()


@dataclass(frozen=True)
class Process:
    """A process that a hull has made: PIDs are the host's; ``pid`` is 0 where the host cannot see it."""

    pid: int
    monitor_pid: int
    monitor_pidfd: int = -1


@dataclass(frozen=True)
class Stats:
    """Use of resources so far: nanoseconds, bytes, counts. Zero where the hull cannot know."""

    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    throttled_ns: int = 0
    memory: int = 0
    memory_limit: int = 0
    memory_inactive_file: int = 0
    oom_kills: int = 0
    pids: int = 0
    pids_limit: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


class Isolation(Protocol):
    """A hull. Methods raise :class:`~trimaran.errors.NotFound` for an unknown id, and
    :class:`~trimaran.errors.Conflict` for a state that forbids the call, unless said otherwise.
    """

    name: str

    def create(self, request: CreateRequest) -> Process:
        """Make the container; its first process waits, or runs if ``request.start``. All or nothing.

        Raises :class:`~trimaran.errors.PlanError`, :class:`~trimaran.errors.CommandNotFound` or
        :class:`~trimaran.errors.CommandNotExecutable` (the latter two possibly only from ``start``).
        """

    def start(self, id: str) -> None:
        """Let a created container execute its program; returns when it has been executed."""

    def exec(self, id: str, request: ExecRequest) -> Process:
        """Run one more process in a running container; returns when it has been executed."""

    def kill(self, id: str, signal: int, *, all: bool = False) -> None:
        """Signal the first process, or every process. A stopped container is a Conflict."""

    def pause(self, id: str) -> None:
        """Freeze every process; returns when frozen."""

    def resume(self, id: str) -> None:
        """Undo :meth:`pause`."""

    def status(self, id: str) -> Status:
        """The present state, from the host and not from memory."""

    def processes(self, id: str) -> list[int]:
        """Host PIDs of the container's processes (guest PIDs where the host cannot see them)."""

    def stats(self, id: str) -> Stats:
        """Resources used so far."""

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """Change limits: an OCI ``linux.resources`` object; what it does not name stays."""

    def checkpoint(self, id: str, directory: str, *, leave_running: bool = False) -> None:
        """Save the running container to a directory. Unsupported where the hull cannot."""

    def restore(self, request: CreateRequest, directory: str) -> Process:
        """Make the container again as :meth:`checkpoint` saved it."""

    def delete(self, id: str, *, force: bool = False) -> None:
        """Remove every trace. Idempotent. A live container is a Conflict unless ``force`` kills it."""
