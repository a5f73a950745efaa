"""Networks without root: pasta(1) or slirp4netns(1) joins a container's namespace to the host's sockets.

One such process a container. It is known by a path in its command line that no other has, so that it is
found and ended whatever became of whoever started it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

from trimaran.errors import InvalidInput, NetworkError, TimedOut, Unsupported
from trimaran.network.model import PortRequest, PublishedPort
from trimaran.network.ports import bound
from trimaran.spec import jsonio

SECONDS = 15.0
INTERFACE = "eth0"
# What slirp4netns gives, and the address at which we have pasta answer for the host's name servers.
_SLIRP_ADDRESS, _SLIRP_RESOLVER, _PASTA_RESOLVER = "10.0.2.100", "10.0.2.3", "169.254.1.1"
_NS_GET_USERNS = 0xB701
_PACKAGES = {"pasta": "passt", "slirp4netns": "slirp4netns"}


def resolver(kind: str) -> str:
    """The address at which the container finds the host's name servers."""
    return _PASTA_RESOLVER if kind == "pasta" else _SLIRP_RESOLVER


def start(
    kind: str, options: str, directory: str, container_id: str, netns: int, ports: Sequence[PortRequest]
) -> None:
    """Start the program for a container; returns when its network works.

    ``options`` are further arguments of the program, with commas. Raises Unsupported, NetworkError,
    TimedOut, InvalidInput.
    """
    for port in ports:
        _check_port(port)
    with ExitStack() as stack:
        paths = [f"/proc/self/fd/{netns}"]
        held = [netns]
        owner = fcntl.ioctl(netns, _NS_GET_USERNS)
        stack.callback(os.close, owner)
        if not os.path.sameopenfile(owner, _own_user_namespace(stack)):
            paths.append(f"/proc/self/fd/{owner}")
            held.append(owner)
        further = [option for option in options.split(",") if option]
        if kind == "pasta":
            _start_pasta(_mark(directory, container_id), paths, held, ports, further)
        else:
            _start_slirp(_mark(directory, container_id), paths, held, ports, further)


def _check_port(port: PortRequest) -> None:
    """Raises Conflict that names who has the port: the programs may say nothing of it."""
    if port.protocol == "sctp" or not port.host_port:
        raise InvalidInput(
            f"cannot publish {port.container_port}/{port.protocol} without root",
            hint="give a host port, of tcp or udp",
        )
    family: Literal[4, 6] = 6 if ":" in port.host_ip else 4
    for i in range(port.count):
        number = port.host_port + i
        wanted = PublishedPort("", "", port.protocol, family, port.host_ip, number, port.container_port + i)
        bound(wanted).close()


def _own_user_namespace(stack: ExitStack) -> int:
    fd = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _mark(directory: str, container_id: str) -> str:
    return os.path.join(directory, f"rootless-{container_id}")


def _start_pasta(
    mark: str, paths: Sequence[str], held: Sequence[int], ports: Sequence[PortRequest], further: Sequence[str]
) -> None:
    words = ["pasta", "--quiet", "--config-net", "--no-map-gw", "--ns-ifname", INTERFACE]
    # Nothing of the host's loopback may be reached from inside.
    words += ["-T", "none", "-U", "none", "--dns-forward", _PASTA_RESOLVER, "--pid", f"{mark}.pid"]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        specs = [_pasta_port(port) for port in ports if port.protocol == protocol]
        words += [word for spec in specs or ["none"] for word in (flag, spec)]
    words += ["--runas", f"{os.geteuid()}:{os.getegid()}"] if os.geteuid() == 0 else []
    words += ["--userns", paths[1]] if len(paths) > 1 else []
    try:
        done = subprocess.run(
            [*words, "--netns", paths[0], *further],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=held,
            start_new_session=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise _missing("pasta") from None
    except subprocess.TimeoutExpired:
        raise TimedOut("pasta did not set up the network", why=f"it took more than {SECONDS:g} s") from None
    if done.returncode:
        raise _failed("pasta", done.stderr)


def _pasta_port(port: PortRequest) -> str:
    host, inside = port.host_port, port.container_port
    last = f"-{host + port.count - 1}", f"-{inside + port.count - 1}"
    pair = f"{host}{last[0]}:{inside}{last[1]}" if port.count > 1 else f"{host}:{inside}"
    return f"{port.host_ip}/{pair}" if port.host_ip else pair


def _start_slirp(
    mark: str, paths: Sequence[str], held: Sequence[int], ports: Sequence[PortRequest], further: Sequence[str]
) -> None:
    ready, told = os.pipe()
    words = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={told}"]
    words += [f"--api-socket={mark}.sock", "--netns-type=path"]
    words += [f"--userns-path={paths[1]}"] if len(paths) > 1 else []
    with ExitStack() as stack:
        stack.callback(os.close, ready)
        try:
            process = subprocess.Popen(
                [*words, *further, paths[0], INTERFACE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[*held, told],
                start_new_session=True,
            )
        except FileNotFoundError:
            raise _missing("slirp4netns") from None
        finally:
            os.close(told)
        assert process.stderr
        stack.callback(process.stderr.close)
        if not os.read(ready, 1):
            raise _failed("slirp4netns", process.communicate()[1])
    for port in ports:
        _publish_slirp(f"{mark}.sock", port)


def _publish_slirp(path: str, port: PortRequest) -> None:
    for i in range(port.count):
        arguments = {
            "proto": port.protocol,
            "host_addr": port.host_ip or "0.0.0.0",
            "host_port": port.host_port + i,
            "guest_addr": _SLIRP_ADDRESS,
            "guest_port": port.container_port + i,
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(SECONDS)
            client.connect(path)
            client.sendall(jsonio.dump({"execute": "add_hostfwd", "arguments": arguments}).encode())
            client.shutdown(socket.SHUT_WR)
            answer = jsonio.parse(client.recv(4096))
        if "error" in answer:
            raise NetworkError(
                f"cannot publish port {port.host_port + i}", why=str(answer["error"].get("desc", answer))
            )


def stop(directory: str, container_id: str) -> None:
    """End the container's program, if one runs. Idempotent."""
    mark = _mark(directory, container_id)
    deadline = time.monotonic() + SECONDS
    while running := _processes(mark):
        for pid in running:
            try:
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
                # Ours, if we have started it.
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                continue
        if time.monotonic() > deadline + 1:
            raise TimedOut(f"the network program of container {container_id[:12]} does not end")
        time.sleep(0.005)
    for suffix in (".pid", ".sock"):
        try:
            os.unlink(mark + suffix)
        except FileNotFoundError:
            pass


def _processes(mark: str) -> list[int]:
    """The programs with this mark in their command line that have not ended: proc(5), cmdline and stat."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
            if os.fsencode(mark) not in words:
                continue
            with open(f"/proc/{pid}/stat", "rb") as file:
                name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith((b"pasta", b"passt", b"slirp4netns")) and rest.split()[0] not in (b"Z", b"X"):
            found.append(int(pid))
    return found


def _missing(program: str) -> Unsupported:
    package = _PACKAGES[program]
    return Unsupported(f"there is no {program}", hint=f"apt-get install {package}, or use --network none")


def _failed(program: str, words: bytes) -> NetworkError:
    lines = words.decode(errors="replace").strip().splitlines()
    said = [line for line in lines if "syslog" not in line]
    hint = "ordinary users must be able to open /dev/net/tun" if "tun" in " ".join(said) else ""
    return NetworkError(f"{program} cannot set up the network", why="; ".join(said[-2:]), hint=hint)
