"""Ports of the host (the calling thread's namespace): which are free, and who holds one that is not."""

from __future__ import annotations

import _socket
import errno
import os

from trimaran.errors import Conflict, InvalidInput, KernelError, Unsupported
from trimaran.network.model import Endpoint, PortRequest, PublishedPort

_KIND = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_TCP_LISTEN = "0A"
_BACKLOG = 16


def expand(request: PortRequest, endpoint: Endpoint) -> list[list[PublishedPort]]:
    """The ports to publish, in groups that share a host port (one for each address family).

    The host port is still 0 where any will do. Raises InvalidInput if the container has no address of
    the family that was asked for.
    """
    if request.host_ip == "::1":
        raise Unsupported(
            f"cannot publish port {request.container_port} on ::1",
            why="the kernel leads no packets from there to another link",
            hint="publish on 127.0.0.1",
        )
    families = [4 if ":" not in request.host_ip else 6] if request.host_ip else [4, 6]
    # A plugin chooses its addresses later, and takes one mapping for both families.
    usable = families[:1] if endpoint.driver == "cni" else _given(families, endpoint)
    if not usable:
        raise InvalidInput(
            f"cannot publish port {request.container_port}",
            why=f"the container has no IPv{families[0]} address on network {endpoint.network}",
            hint="publish on an address of its family, or create the network with --ipv6",
        )
    return [
        [
            PublishedPort(
                container_id=endpoint.container_id,
                endpoint_id=endpoint.id,
                protocol=request.protocol,
                family=4 if family == 4 else 6,
                host_ip="" if request.host_ip in ("0.0.0.0", "::") else request.host_ip,
                host_port=request.host_port + i if request.host_port else 0,
                container_port=request.container_port + i,
            )
            for family in usable
        ]
        for i in range(request.count)
    ]


def _given(families: list[int], endpoint: Endpoint) -> list[int]:
    return [family for family in families if (endpoint.ipv4 if family == 4 else endpoint.ipv6)]


def hold(port: PublishedPort) -> _socket.socket | None:
    """Bind the host's port, which proves that no process has it; port 0 takes a free one.

    None for a protocol that this kernel has no sockets of. Raises Conflict that names the holder.
    """
    return bound(port) if port.protocol in _KIND else None


def bound(port: PublishedPort) -> _socket.socket:
    """A socket on a TCP (listening) or UDP port of the host. Raises Conflict, InvalidInput, KernelError."""
    family = _socket.AF_INET if port.family == 4 else _socket.AF_INET6
    address = port.host_ip or ("0.0.0.0" if port.family == 4 else "::")
    made = _socket.socket(family, _KIND[port.protocol] | _socket.SOCK_CLOEXEC)
    try:
        if port.family == 6:
            made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":
            # Connections of a server that has ended may linger; one that listens is still refused.
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        made.bind((address, port.host_port))
        if port.protocol == "tcp":
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _refused(port, address, error) from error
    return made


def _refused(port: PublishedPort, address: str, error: OSError) -> Exception:
    what = f"cannot publish {address}:{port.host_port}/{port.protocol}"
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port) or "a process outside this one's view"
        hint = "stop it, or choose another host port"
        return Conflict(
            f"the host's port {port.host_port}/{port.protocol} is taken", why=f"{holder} has it", hint=hint
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidInput(what, why="the host has no such address", hint="see them with: ip address")
    return KernelError("bind", error.errno or 0, message=what)


def holder_of(port: PublishedPort) -> str:
    """The process that has a socket on the port, as ``NAME (process PID)``; "" if it cannot be found."""
    wanted = {f"socket:[{inode}]" for inode in _socket_inodes(port)}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if wanted & _open_files(pid):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (process {pid})"
            except OSError:
                # It has ended meanwhile.
                return f"process {pid}"
    return ""


def _open_files(pid: str) -> set[str]:
    """Where a process's descriptors lead; nothing for one that has ended or is not ours to see."""
    found = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except FileNotFoundError:
                continue
    except OSError:
        pass
    return found


def _socket_inodes(port: PublishedPort) -> set[str]:
    """Inodes of the sockets bound to the port: proc(5), /proc/net/tcp. An IPv6 socket may hold IPv4's."""
    found = set()
    for suffix in ("", "6"):
        try:
            with open(f"/proc/thread-self/net/{port.protocol}{suffix}", encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:
            continue
        for row in rows:
            local, state, inode = row[1], row[3], row[9]
            listens = port.protocol != "tcp" or state == _TCP_LISTEN
            if listens and int(local.rpartition(":")[2], 16) == port.host_port:
                found.add(inode)
    return found
