"""Where a repository is to be found: mirrors, blocked and insecure registries, short names.

containers-registries.conf(5), version 2: ``$CONTAINERS_REGISTRIES_CONF``, else the user's file, else
``/etc/containers/registries.conf``; then ``registries.conf.d/*.conf`` of the system and of the user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimaran.errors import InvalidInput, RegistryError
from trimaran.image.proxy import is_loopback
from trimaran.image.reference import DEFAULT_DOMAIN, Reference, is_short_name

DOCKER_HUB_HOST = "registry-1.docker.io"
SYSTEM_DIRECTORY = "/etc/containers"
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that serves a repository: ``host[:port]`` and the repository's path there.

    ``insecure`` allows plain HTTP and unverified TLS. ``credentials_for`` is the name under which the
    user stored credentials.
    """

    host: str
    path: str
    insecure: bool = False
    mirror: bool = False

    @property
    def address(self) -> str:
        """The host to connect to."""
        return DOCKER_HUB_HOST if self.host == DEFAULT_DOMAIN else self.host

    @property
    def plain_first(self) -> bool:
        """Whether plain HTTP is tried before TLS: only on this machine, where nobody listens in."""
        return is_loopback(self.host)


@dataclass(slots=True)
class _Rule:
    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: list[dict[str, Any]] = field(default_factory=list)
    digest_only: bool = False

    def matches(self, name: str) -> bool:
        if self.prefix.startswith("*."):
            host = name.partition("/")[0].partition(":")[0]
            return host.endswith(self.prefix[1:])
        return name == self.prefix or (name.startswith(self.prefix) and name[len(self.prefix)] in "/:@")

    def rewrite(self, name: str, location: str) -> str:
        if not location:
            return name
        if self.prefix.startswith("*."):
            return location + name[len(name.partition("/")[0]) :]
        return location + name[len(self.prefix) :]


class Registries:
    """The user's and the system's configuration of registries."""

    def __init__(self, documents: list[tuple[str, dict[str, Any]]] | None = None) -> None:
        self._rules: dict[str, _Rule] = {}
        self._aliases: dict[str, str] = {}
        self.search: list[str] = []
        for name, document in documents or []:
            self._add(name, document)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Registries:
        """Read the files. Raises :class:`~trimaran.errors.InvalidInput` with the file's name."""
        return cls([(name, _read(name)) for name in _files(environ)])

    def _add(self, name: str, document: dict[str, Any]) -> None:
        try:
            for table in document.get("registry", []):
                rule = _rule(table)
                self._rules[rule.prefix] = rule
            self._aliases.update(document.get("aliases", {}))
            search = document.get("unqualified-search-registries")
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{name} is not a valid registries.conf", why=repr(error)) from error
        if search:
            self.search = [str(host) for host in search]

    def endpoints(self, reference: Reference, *, insecure: bool = False) -> list[Endpoint]:
        """Where to pull from, in order: mirrors, then the registry itself.

        ``insecure`` allows plain HTTP for the registry itself. Raises RegistryError if it is blocked.
        """
        rule = self._match(reference.repository)
        if rule is None:
            return [Endpoint(reference.domain, reference.path, insecure)]
        if rule.blocked:
            raise RegistryError(
                f"cannot use {reference.familiar}", why=f"registries.conf blocks {rule.prefix}"
            )
        found = []
        for mirror in rule.mirrors:
            which = mirror.get("pull-from-mirror", "digest-only" if rule.digest_only else "all")
            if which == "all" or (which == "digest-only") == bool(reference.digest):
                location = rule.rewrite(reference.repository, str(mirror["location"]))
                found.append(_endpoint(location, bool(mirror.get("insecure")), mirror=True))
        primary = rule.rewrite(reference.repository, rule.location)
        return [*found, _endpoint(primary, rule.insecure or insecure, mirror=False)]

    def primary(self, reference: Reference, *, insecure: bool = False) -> Endpoint:
        """Where to push to: never a mirror."""
        return self.endpoints(reference, insecure=insecure)[-1]

    def candidates(self, text: str) -> list[Reference]:
        """What a reference as typed may mean: for a short name, its alias or each registry to search."""
        if not is_short_name(text):
            return [Reference.parse(text)]
        name, separator, rest = _split_short(text)
        if name in self._aliases:
            return [Reference.parse(self._aliases[name] + separator + rest)]
        return [Reference.parse(f"{host}/{text}") for host in self.search] or [Reference.parse(text)]

    def _match(self, name: str) -> _Rule | None:
        matching = [rule for rule in self._rules.values() if rule.matches(name)]
        return max(matching, key=lambda rule: len(rule.prefix)) if matching else None


def _split_short(text: str) -> tuple[str, str, str]:
    ends = [position for position in (text.find(":"), text.find("@")) if position >= 0]
    end = min(ends) if ends else len(text)
    return text[:end], text[end : end + 1], text[end + 1 :]


def _rule(table: dict[str, Any]) -> _Rule:
    location = str(table.get("location", "")).rstrip("/")
    prefix = str(table.get("prefix") or location).rstrip("/")
    if not prefix:
        raise KeyError("a [[registry]] needs a prefix or a location")
    mirrors = table.get("mirror", [])
    for mirror in mirrors:
        mirror["location"] = mirror["location"].rstrip("/")
    return _Rule(
        prefix,
        location,
        bool(table.get("insecure")),
        bool(table.get("blocked")),
        mirrors,
        bool(table.get("mirror-by-digest-only")),
    )


def _endpoint(name: str, insecure: bool, mirror: bool) -> Endpoint:
    host, _, path = name.partition("/")
    return Endpoint(host, path, insecure, mirror)


def _files(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("HOME") or os.path.expanduser("~")
    user = os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers")
    main = [environ.get("CONTAINERS_REGISTRIES_CONF", "")]
    if not main[0]:
        main = [os.path.join(place, "registries.conf") for place in (user, SYSTEM_DIRECTORY)]
        main = [name for name in main if os.path.exists(name)][:1]
    drop_ins = []
    for place in (SYSTEM_DIRECTORY, user):
        directory = os.path.join(place, "registries.conf.d")
        if os.path.isdir(directory):
            drop_ins += sorted(
                os.path.join(directory, x) for x in os.listdir(directory) if x.endswith(".conf")
            )
    return main + drop_ins


def _read(name: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(name, "rb") as file:
            return tomllib.loads(file.read(MAX_FILE_BYTES).decode())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read {name}", why=str(error)) from error
