"""What the compiler's parts share while a plan grows."""

from __future__ import annotations

from trimaran.plan.operations import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.plan.host import HostFacts
    from trimaran.spec.runtime import Config


class Overlay:
    """A root file system made of layers (overlayfs): ``lower`` from the uppermost down.

    ``scratch`` is any directory that kernels before 6.5 can mount on for a moment; ``options`` are
    overlayfs's own, such as ``userxattr``. ``upper`` may be "": then nothing can be written.
    """

    __slots__ = ("lower", "options", "scratch", "upper", "work")

    def __init__(
        self, lower: list[str], upper: str, work: str, scratch: str, options: list[str] | None = None
    ) -> None:
        self.lower = lower
        self.upper = upper
        self.work = work
        self.scratch = scratch
        self.options = options or []


class FileWrite:
    """One limit: text for a file of a cgroup, and the field it comes from.

    ``other``: a path and text for kernels that lack the first file.
    """

    __slots__ = ("optional", "other", "path", "text", "why")

    def __init__(
        self, path: str, text: str, why: str, optional: bool = False, other: tuple[str, str] | None = None
    ) -> None:
        self.other = other
        self.path = path
        self.text = text
        self.why = why
        self.optional = optional


class CgroupPlan:
    """A container's cgroups: ``directories`` to make, ``writes`` to do in order, ``join`` the process to.

    ``device_program`` is a directory of the v2 hierarchy with the eBPF program that filters devices there;
    ``closed``: a process can be moved to the directory of the v2 hierarchy, but not be born there.
    """

    __slots__ = ("closed", "device_program", "directories", "join", "writes")

    def __init__(
        self,
        directories: list[str],
        writes: list[FileWrite],
        join: list[str],
        device_program: tuple[str, bytes] | None = None,
        *,
        closed: bool = False,
    ) -> None:
        self.closed = closed
        self.directories = directories
        self.writes = writes
        self.join = join
        self.device_program = device_program


class Build:
    """One compilation: the configuration, the host's facts, and the plan so far.

    ``bundle`` is the absolute path that relative paths start from. ``no_pivot`` and ``new_keyring`` are the
    options of the runtime of these names; ``cgroups`` are the directories of the container's cgroups.
    """

    __slots__ = (
        "bundle",
        "cgroups",
        "config",
        "host",
        "id",
        "new_keyring",
        "no_pivot",
        "overlay",
        "plan",
        "root",
    )

    def __init__(
        self,
        config: Config,
        host: HostFacts,
        *,
        id: str,
        bundle: str,
        overlay: Overlay | None = None,
        cgroups: list[str] | None = None,
        no_pivot: bool = False,
        new_keyring: bool = True,
    ) -> None:
        self.plan = Plan()
        self.config = config
        self.host = host
        self.id = id
        self.bundle = bundle
        self.overlay = overlay
        self.cgroups = cgroups or []
        self.no_pivot = no_pivot
        self.new_keyring = new_keyring
        self.root = self.plan.slot("root")

    def absolute(self, path: str) -> str:
        """A path of the configuration, seen from /."""
        return path if path.startswith("/") else f"{self.bundle}/{path}"
