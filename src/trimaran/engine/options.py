"""What a container is created with: docker run's options as data, kept as JSON in the state database."""

from __future__ import annotations

from trimaran.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypedDict

    class OptionsDict(TypedDict, total=False):
        """The keyword arguments of :meth:`Engine.run` and :meth:`Engine.create`: see :class:`Options`."""

        name: str
        hostname: str
        domainname: str
        entrypoint: Sequence[str] | str
        user: str
        workdir: str
        env: Mapping[str, str] | Sequence[str]
        labels: Mapping[str, str]
        annotations: Mapping[str, str]
        tty: bool
        interactive: bool
        auto_remove: bool
        isolation: str
        platform: str
        pull: str
        volumes: Sequence[str]
        mounts: Sequence[str]
        tmpfs: Sequence[str]
        read_only: bool
        network: str | Sequence[str]
        network_alias: Sequence[str]
        ip: str
        ip6: str
        mac_address: str
        ports: Sequence[str]
        publish_all: bool
        dns: Sequence[str]
        dns_search: Sequence[str]
        dns_option: Sequence[str]
        add_host: Sequence[str]
        memory: int
        memory_swap: int
        memory_reservation: int
        memory_swappiness: int
        oom_kill_disable: bool
        oom_score_adj: int
        cpus: float
        cpu_shares: int
        cpu_period: int
        cpu_quota: int
        cpuset_cpus: str
        cpuset_mems: str
        pids_limit: int
        blkio_weight: int
        ulimits: Sequence[str]
        sysctls: Mapping[str, str]
        devices: Sequence[str]
        device_cgroup_rules: Sequence[str]
        cap_add: Sequence[str]
        cap_drop: Sequence[str]
        privileged: bool
        security_opt: Sequence[str]
        group_add: Sequence[str]
        pid: str
        ipc: str
        uts: str
        cgroupns: str
        cgroup_parent: str
        shm_size: int
        storage_size: int
        stop_signal: str
        stop_timeout: int
        restart: str
        health_cmd: Sequence[str] | str
        health_interval: float
        health_timeout: float
        health_start_period: float
        health_start_interval: float
        health_retries: int
        no_healthcheck: bool
        log_driver: str
        log_opts: Mapping[str, str]
        durable: bool


class Options:
    """The options of one container; what was not given is the class's default.

    Sizes are in bytes, times in seconds. Raises :class:`InvalidInput` for a name that is no option.
    """

    name: str = ""
    hostname: str = ""
    domainname: str = ""
    entrypoint: Sequence[str] | str | None = None
    user: str = ""
    workdir: str = ""
    env: Mapping[str, str] | Sequence[str] = ()
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    tty: bool = False
    interactive: bool = False
    auto_remove: bool = False
    isolation: str = "native"
    platform: str = ""
    pull: str = "missing"
    volumes: Sequence[str] = ()
    mounts: Sequence[str] = ()
    tmpfs: Sequence[str] = ()
    read_only: bool = False
    network: str | Sequence[str] = "bridge"
    network_alias: Sequence[str] = ()
    ip: str = ""
    ip6: str = ""
    mac_address: str = ""
    ports: Sequence[str] = ()
    publish_all: bool = False
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    dns_option: Sequence[str] = ()
    add_host: Sequence[str] = ()
    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int = -1
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    ulimits: Sequence[str] = ()
    sysctls: Mapping[str, str] = {}
    devices: Sequence[str] = ()
    device_cgroup_rules: Sequence[str] = ()
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    privileged: bool = False
    security_opt: Sequence[str] = ()
    group_add: Sequence[str] = ()
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    cgroup_parent: str = ""
    shm_size: int = 64 << 20
    storage_size: int = 0
    stop_signal: str = ""
    stop_timeout: int = 10
    restart: str = "no"
    health_cmd: Sequence[str] | str | None = None
    health_interval: float = 0.0
    health_timeout: float = 0.0
    health_start_period: float = 0.0
    health_start_interval: float = 0.0
    health_retries: int = 0
    no_healthcheck: bool = False
    log_driver: str = "cri"
    log_opts: Mapping[str, str] = {}
    durable: bool = False

    def __init__(self, given: Mapping[str, Any]) -> None:
        for key, value in given.items():
            if not hasattr(Options, key) or key.startswith("_"):
                raise InvalidInput(f"'{key}' is no option of a container", hint=_near(key))
            if value is not None:
                self.__dict__[key] = value

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON can hold it."""
        return {
            key: dict(value)
            if hasattr(value, "items")
            else list(value)
            if isinstance(value, tuple)
            else value
            for key, value in self.__dict__.items()
        }

    @property
    def environment(self) -> list[str]:
        """``NAME=VALUE`` for each variable."""
        if hasattr(self.env, "items"):
            return [f"{name}={value}" for name, value in self.env.items()]
        return list(self.env)

    @property
    def networks(self) -> list[str]:
        """The names of the networks; ``none`` and ``host`` stand alone."""
        return [self.network] if isinstance(self.network, str) else list(self.network)


def _near(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, [name for name in vars(Options) if not name.startswith("_")], 1)
    return f"did you mean {near[0]}?" if near else "see trimaran.engine.options"
