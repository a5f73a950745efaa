"""What a sandbox may reach over the network, with counters."""

from __future__ import annotations

import errno as E

from trimaran.errors import InvalidInput
from trimaran.sandbox.kernel.outcome import Fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trimaran.sandbox.kernel.socket.base import Socket
    from trimaran.sandbox.kernel.task import Task

Address = tuple[str | int, ...]


def _number(text: str) -> tuple[int, int]:
    """An address as version and number."""
    import _socket

    family = 10 if ":" in text else 2
    packed = _socket.inet_pton(family, text.split("%")[0])
    if family == 10 and packed[:12] == bytes(10) + b"\xff\xff":
        return 4, int.from_bytes(packed[12:], "big")
    return (6 if family == 10 else 4), int.from_bytes(packed, "big")


class Rule:
    """``allow`` or deny addresses of a network (``10.0.0.0/8``, a name, ``*``) at ports (``0`` for any).

    A name is looked up when the rule is made: what it meant then is what it means.
    """

    def __init__(self, allow: bool, where: str, ports: tuple[int, int] = (0, 65535)) -> None:
        self.allow = allow
        self.where = where
        self.ports = ports
        self.hits = 0
        self.networks: list[tuple[int, int, int]] = []
        if where == "*":
            self.networks = [(4, 0, 0), (6, 0, 0)]
        else:
            self._resolve(where)

    def _resolve(self, where: str) -> None:
        host, _, prefix = where.partition("/")
        try:
            addresses = [_number(host)]
        except OSError:
            import socket

            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = [_number(str(entry[4][0])) for entry in found]
        for version, number in addresses:
            bits = 32 if version == 4 else 128
            length = int(prefix) if prefix else bits
            self.networks.append((version, number >> (bits - length), bits - length))

    def matches(self, address: Address) -> bool:
        version, number = _number(str(address[0]))
        if not self.ports[0] <= int(address[1]) <= self.ports[1]:
            return False
        return any(v == version and number >> shift == network for v, network, shift in self.networks)

    def __str__(self) -> str:
        ports = "" if self.ports == (0, 65535) else f":{self.ports[0]}-{self.ports[1]}"
        return f"{'allow' if self.allow else 'deny'} {self.where}{ports}"


def parse_rules(texts: list[str]) -> list[Rule]:
    """Rules as text: ``allow HOST[/PREFIX][:PORT[-PORT]]`` or ``deny ...``. Raises :class:`InvalidInput`."""
    rules = []
    for text in texts:
        words = text.split()
        if len(words) != 2 or words[0] not in ("allow", "deny"):
            raise InvalidInput(
                f"{text!r} is no network rule", hint="write allow HOST:PORT or deny HOST/PREFIX"
            )
        where, ports = words[1], (0, 65535)
        head, colon, tail = where.rpartition(":")
        if colon and tail.replace("-", "").isdigit() and (head.count(":") == 0 or head.endswith("]")):
            low, _, high = tail.partition("-")
            where, ports = head, (int(low), int(high or low))
        try:
            rules.append(Rule(words[0] == "allow", where.strip("[]"), ports))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{text!r} is no network rule", why=str(error)) from error
    return rules


class Network:
    """Rules in order, the first that matches decides; without a match ``default`` does."""

    def __init__(self, rules: list[Rule] | None = None, *, default: bool = True) -> None:
        self.rules = rules or []
        self.default = default
        self.connections = self.refused = self.bytes_sent = self.bytes_received = 0

    def decide(self, address: Address) -> tuple[bool, Rule | None]:
        for rule in self.rules:
            if rule.matches(address):
                rule.hits += 1
                return rule.allow, rule
        return self.default, None

    def check_connect(self, task: Task, socket: Socket, address: Address) -> Address:
        """Where to connect, or send, to. Raises Fail(EACCES) with an entry in the log of denials."""
        allowed, rule = self.decide(address)
        if not allowed:
            self.refused += 1
            why = f"rule '{rule}'" if rule else "no rule allows it"
            task.process.kernel.denied(task, "connect", f"{address[0]}:{address[1]}", why)
            raise Fail(E.EACCES)
        self.connections += 1
        return address

    def check_bind(self, task: Task, socket: Socket, address: Address) -> None:
        """Binding is free: who may come in is the business of the namespace."""

    def sent(self, size: int) -> None:
        self.bytes_sent += size

    def received(self, size: int) -> None:
        self.bytes_received += size
