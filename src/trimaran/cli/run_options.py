"""The options of ``run`` and ``create``, docker's by name, and what they mean to the engine."""

from __future__ import annotations

from trimaran.cli.options import Option, UsageError
from trimaran.engine.sizes import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from trimaran.cli.options import Arguments


def _seconds(text: str) -> float:
    return parse_duration(text)


PROCESS = (
    Option("-i", "--interactive", help="Keep standard input open"),
    Option("-t", "--tty", help="Give it a terminal"),
    Option("-e", "--env", metavar="NAME[=VALUE]", many=True, help="Set a variable (the value here, or ours)"),
    Option("--env-file", metavar="FILE", many=True, help="Set the variables that a file lists"),
    Option("-w", "--workdir", metavar="DIR", help="Working directory"),
    Option("-u", "--user", metavar="USER[:GROUP]", help="Who it runs as, by name or number"),
    Option("--privileged", help="All capabilities and devices, nothing masked"),
)
CONTAINER = (
    Option("--name", metavar="NAME", help="Its name"),
    Option("-l", "--label", metavar="KEY=VALUE", many=True, help="Label it"),
    Option("--label-file", metavar="FILE", many=True, help="Label it with what a file lists"),
    Option("--annotation", metavar="KEY=VALUE", many=True, help="Annotate its OCI configuration"),
    Option("--entrypoint", metavar="PROGRAM", help="Instead of the image's entrypoint"),
    Option("--isolation", metavar="HULL", help="native, or another hull"),
    Option("--platform", metavar="OS/ARCH", help="Which of the image's platforms"),
    Option(
        "--pull", metavar="WHEN", choices=("missing", "always", "never"), default="missing", help="Pull when"
    ),
    Option("--rm", help="Remove it when it has exited"),
    Option("--cidfile", metavar="FILE", help="Write its id to a file"),
    Option("--restart", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped"),
    Option("--stop-signal", metavar="SIGNAL", help="The signal that asks it to end"),
    Option("--stop-timeout", metavar="SECONDS", convert=int, help="How long it then has"),
)
STORAGE = (
    Option("-v", "--volume", metavar="[SRC:]DST[:OPTS]", many=True, help="Mount a directory or volume"),
    Option("--mount", metavar="TYPE=...,...", many=True, help="Mount a bind, volume, tmpfs or image"),
    Option("--tmpfs", metavar="DST[:OPTS]", many=True, help="Mount a temporary file system"),
    Option("--read-only", help="Its root cannot be written"),
    Option("--storage-opt", metavar="size=SIZE", many=True, help="Limit what it writes"),
    Option("--shm-size", metavar="SIZE", convert=parse_size, help="Size of /dev/shm"),
    Option("--device", metavar="HOST[:CTR[:RWM]]", many=True, help="Give it a device of the host"),
    Option("--device-cgroup-rule", metavar="RULE", many=True, help="Allow devices, such as 'c 10:200 rwm'"),
)
NETWORK = (
    Option(
        "--network", "--net", metavar="NETWORK", many=True, help="bridge, none, host, container:ID, a name"
    ),
    Option("--network-alias", metavar="NAME", many=True, help="One more name on its network"),
    Option("--ip", metavar="ADDRESS", help="Its IPv4 address"),
    Option("--ip6", metavar="ADDRESS", help="Its IPv6 address"),
    Option("--mac-address", metavar="MAC", help="Its MAC address"),
    Option("-p", "--publish", metavar="[IP:][HOST:]CTR", many=True, help="Publish a port"),
    Option("-P", "--publish-all", help="Publish all ports that the image exposes"),
    Option("-h", "--hostname", metavar="NAME", help="Its host name"),
    Option("--domainname", metavar="NAME", help="Its NIS domain name"),
    Option("--dns", metavar="ADDRESS", many=True, help="Name server"),
    Option("--dns-search", metavar="DOMAIN", many=True, help="Search domain"),
    Option("--dns-option", metavar="OPTION", many=True, help="Resolver option"),
    Option("--add-host", metavar="NAME:ADDRESS", many=True, help="A line for its /etc/hosts"),
)
LIMITS = (
    Option("-m", "--memory", metavar="SIZE", convert=parse_size, help="Limit of memory"),
    Option("--memory-swap", metavar="SIZE", convert=parse_size, help="Limit of memory and swap (-1: none)"),
    Option("--memory-reservation", metavar="SIZE", convert=parse_size, help="Soft limit of memory"),
    Option("--memory-swappiness", metavar="0-100", convert=int, help="How readily it is swapped"),
    Option("--oom-kill-disable", help="Let it wait for memory instead of killing"),
    Option("--oom-score-adj", metavar="N", convert=int, help="Whom the kernel kills first, -1000 to 1000"),
    Option("--cpus", metavar="N", convert=float, help="Limit of CPUs, such as 1.5"),
    Option("-c", "--cpu-shares", metavar="N", convert=int, help="Weight of its CPU time"),
    Option("--cpu-period", metavar="US", convert=int, help="Period of the CPU limit"),
    Option("--cpu-quota", metavar="US", convert=int, help="CPU time in each period"),
    Option("--cpuset-cpus", metavar="LIST", help="CPUs it may run on"),
    Option("--cpuset-mems", metavar="LIST", help="Memory nodes it may use"),
    Option("--pids-limit", metavar="N", convert=int, help="Limit of processes"),
    Option("--blkio-weight", metavar="N", convert=int, help="Weight of its block I/O"),
    Option("--ulimit", metavar="NAME=SOFT[:HARD]", many=True, help="Resource limit"),
    Option("--cgroup-parent", metavar="PATH", help="Its cgroup's parent"),
)
SECURITY = (
    Option("--cap-add", metavar="CAP", many=True, help="Add a capability"),
    Option("--cap-drop", metavar="CAP", many=True, help="Drop a capability"),
    Option(
        "--security-opt", metavar="OPTION", many=True, help="seccomp=, apparmor=, label=, no-new-privileges"
    ),
    Option("--group-add", metavar="GROUP", many=True, help="One more group"),
    Option("--sysctl", metavar="KEY=VALUE", many=True, help="Set a kernel parameter of its namespaces"),
    Option("--pid", metavar="MODE", help="PID namespace: host, or container:ID"),
    Option("--ipc", metavar="MODE", help="IPC namespace: host, or container:ID"),
    Option("--uts", metavar="MODE", help="UTS namespace: host"),
    Option("--cgroupns", metavar="MODE", help="Cgroup namespace: host, or private"),
)
HEALTH = (
    Option("--health-cmd", metavar="COMMAND", help="What tells whether it is healthy"),
    Option("--health-interval", metavar="TIME", convert=_seconds, help="Time between checks"),
    Option("--health-timeout", metavar="TIME", convert=_seconds, help="How long a check may take"),
    Option("--health-retries", metavar="N", convert=int, help="Failures in a row that make it unhealthy"),
    Option(
        "--health-start-period", metavar="TIME", convert=_seconds, help="Time in which failures do not count"
    ),
    Option(
        "--health-start-interval", metavar="TIME", convert=_seconds, help="Time between checks until then"
    ),
    Option("--no-healthcheck", help="Not even the image's check"),
)
LOGGING = (
    Option("--log-driver", metavar="DRIVER", help="cri, json-file or none"),
    Option("--log-opt", metavar="KEY=VALUE", many=True, help="max-size=, max-file="),
)
ALL = (*PROCESS, *CONTAINER, *STORAGE, *NETWORK, *LIMITS, *SECURITY, *HEALTH, *LOGGING)

# Where the engine's name differs from the option's.
_RENAMED = {
    "volume": "volumes",
    "mount": "mounts",
    "publish": "ports",
    "ulimit": "ulimits",
    "device": "devices",
    "device_cgroup_rule": "device_cgroup_rules",
    "rm": "auto_remove",
    "net": "network",
}
_MAPS = {"label": "labels", "annotation": "annotations", "sysctl": "sysctls", "log_opt": "log_opts"}
_OWN = ("env_file", "label_file", "cidfile", "storage_opt")


def engine_options(args: Arguments) -> dict[str, Any]:
    """The keyword arguments for the engine: only what was given."""
    found: dict[str, Any] = {}
    for option in ALL:
        value = getattr(args, option.name)
        if option.name in _OWN or value is None or value is False or value == []:
            continue
        if option.name in _MAPS:
            found[_MAPS[option.name]] = dict(_pair(text) for text in value)
        else:
            found[_RENAMED.get(option.name, option.name)] = value
    found["env"] = environment(args.env, args.env_file)
    for path in args.label_file:
        found["labels"] = {**dict(_pair(line) for line in _lines(path)), **found.get("labels", {})}
    for text in args.storage_opt:
        key, _, size = text.partition("=")
        if key != "size":
            raise UsageError(f"--storage-opt {text}", why="only size= is known")
        found["storage_size"] = parse_size(size)
    return found


def environment(given: Sequence[str], files: Sequence[str]) -> list[str]:
    """The variables of ``-e`` and ``--env-file``; a name alone takes our own value, if there is one."""
    import os

    found = []
    for entry in [*(line for path in files for line in _lines(path)), *given]:
        name, equals, _ = entry.partition("=")
        if equals:
            found.append(entry)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line for line in file.read().splitlines() if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=str(error.strerror)) from error


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise UsageError(f"'{text}' is no KEY=VALUE")
    return key, value
