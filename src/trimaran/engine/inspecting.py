"""All that is known of a container, in the shape of ``docker inspect``."""

from __future__ import annotations

import time

from trimaran.engine import ending, listing, starting
from trimaran.engine.options import Options
from trimaran.errors import NotFound, TrimaranError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.engine.core import Core
    from trimaran.engine.store import Record


def inspect(core: Core, name: str) -> dict[str, Any]:
    """The document of one container. Raises NotFound."""
    record = ending.refresh(core, core.containers.find(name))
    options = Options(record.options)
    image = _image_config(core, record)
    target, _, _ = starting.log_target(options, core.paths.container(record.id))
    return {
        "Id": record.id,
        "Name": f"/{record.name}",
        "Created": moment(record.created),
        "Path": record.command[0],
        "Args": record.command[1:],
        "State": _state(core, record),
        "Image": record.image_id,
        "Isolation": record.isolation,
        "RestartCount": record.restarts,
        "Driver": core.snapshots.name,
        "LogPath": target.partition(":")[2],
        "HostConfig": _host_config(options),
        "Mounts": _mounts(record),
        "Config": _config(record, options, image),
        "NetworkSettings": _network(core, record),
        "GraphDriver": {"Name": core.snapshots.name, "Data": _root(core, record)},
    }


def moment(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds; the year 1 for never, as docker has it."""
    if not nanoseconds:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _image_config(core: Core, record: Record) -> dict[str, Any]:
    try:
        return dict(core.images.get(record.image_digest).run_config)
    except NotFound:
        return {}


def _state(core: Core, record: Record) -> dict[str, Any]:
    state: dict[str, Any] = {
        "Status": record.state,
        "Running": record.state in ending.LIVE,
        "Paused": record.state == "paused",
        "OOMKilled": bool(record.oom),
        "Dead": False,
        "Pid": record.pid,
        "ExitCode": record.exit_code,
        "Error": record.error,
        "StartedAt": moment(record.started),
        "FinishedAt": moment(record.finished),
    }
    if condition := listing.health(core, record):
        state["Health"] = {"Status": condition}
    return state


def _host_config(options: Options) -> dict[str, Any]:
    return {
        "Binds": list(options.volumes),
        "NetworkMode": ",".join(options.networks),
        "PortBindings": list(options.ports),
        "RestartPolicy": {"Name": options.restart},
        "AutoRemove": options.auto_remove,
        "CapAdd": list(options.cap_add),
        "CapDrop": list(options.cap_drop),
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": list(options.security_opt),
        "Memory": options.memory,
        "MemorySwap": options.memory_swap,
        "NanoCpus": round(options.cpus * 1e9),
        "CpuShares": options.cpu_shares,
        "CpuQuota": options.cpu_quota,
        "CpuPeriod": options.cpu_period,
        "CpusetCpus": options.cpuset_cpus,
        "PidsLimit": options.pids_limit,
        "ShmSize": options.shm_size,
        "Tmpfs": list(options.tmpfs),
        "Ulimits": list(options.ulimits),
        "Devices": list(options.devices),
        "PidMode": options.pid,
        "IpcMode": options.ipc,
        "UTSMode": options.uts,
        "LogConfig": {"Type": options.log_driver, "Config": dict(options.log_opts)},
    }


def _mounts(record: Record) -> list[dict[str, Any]]:
    from trimaran.state import text as json

    return [
        {
            "Type": request["kind"],
            "Source": request["source"],
            "Destination": request["target"],
            "RW": not request["read_only"],
        }
        for request in json.loads(record.mounts)
    ]


def _config(record: Record, options: Options, image: dict[str, Any]) -> dict[str, Any]:
    return {
        "Hostname": options.hostname or record.id[:12],
        "User": options.user or image.get("User", ""),
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "Env": [*(image.get("Env") or ()), *options.environment],
        "Cmd": record.command,
        "Image": record.image,
        "WorkingDir": options.workdir or image.get("WorkingDir", ""),
        "Entrypoint": options.entrypoint if options.entrypoint is not None else image.get("Entrypoint"),
        "Labels": record.labels,
        "StopSignal": options.stop_signal or image.get("StopSignal", "SIGTERM"),
        "StopTimeout": options.stop_timeout,
    }


def _network(core: Core, record: Record) -> dict[str, Any]:
    if not ending.has_network(Options(record.options)):
        return {"Networks": {}, "Ports": []}
    result = core.networks.result(record.id)
    return {
        "Networks": {
            endpoint.network: {
                "IPAddress": endpoint.ipv4.partition("/")[0],
                "GlobalIPv6Address": endpoint.ipv6.partition("/")[0],
                "MacAddress": endpoint.mac,
                "EndpointID": endpoint.id,
                "NetworkID": endpoint.network_id,
            }
            for endpoint in result.endpoints
        },
        "Ports": [str(port) for port in result.ports],
    }


def _root(core: Core, record: Record) -> dict[str, Any]:
    try:
        root = core.snapshots.root(record.id)
    except TrimaranError:
        return {}
    return {"LowerDir": ":".join(root.lower), "UpperDir": root.upper, "WorkDir": root.work}
