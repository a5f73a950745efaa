"""Image references: ``[domain[:port]/]path[:tag][@digest]``, written and normalised as docker does.

Grammar: the OCI distribution specification, section "Pulling manifests" (names and tags), and the image
specification, "Digests". This module is pure and imports nothing but the error tree: it is on the path
of ``trimaran run``.
"""

from __future__ import annotations

from trimaran.errors import InvalidReference

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
OFFICIAL = "library/"
MAX_NAME = 255
MAX_TAG = 128
DIGEST_LENGTHS = {"sha256": 64, "sha512": 128}

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdef")
_TAG = _ALNUM | frozenset("_.-")
_IPV6 = frozenset("0123456789abcdefABCDEF:.")
_DOCKER_HUB_NAMES = ("index.docker.io", "registry-1.docker.io")


class Reference:
    """A normalised reference: at least one of ``tag`` and ``digest`` is set once :meth:`tagged`.

    ``str()`` is the full form (``docker.io/library/debian:12``), :attr:`familiar` the short one.
    """

    __slots__ = ("digest", "domain", "path", "tag")

    def __init__(self, domain: str, path: str, tag: str = "", digest: str = "") -> None:
        self.domain = domain
        self.path = path
        self.tag = tag
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse and normalise; a reference with neither tag nor digest gets the tag ``latest``.

        Raises :class:`~trimaran.errors.InvalidReference`.
        """
        reference = cls.parse_bare(text)
        if not reference.tag and not reference.digest:
            reference.tag = DEFAULT_TAG
        return reference

    @classmethod
    def parse_bare(cls, text: str) -> Reference:
        """As :meth:`parse`, but adds no tag: for commands where a bare name means the repository."""
        if len(text) > MAX_NAME + MAX_TAG + 150:
            raise _invalid(text[:60] + "...", "it is too long")
        rest, at, digest = text.partition("@")
        if at:
            _check_digest(text, digest)
        slash = rest.rfind("/")
        colon = rest.find(":", slash + 1)
        tag = ""
        if colon >= 0:
            rest, tag = rest[:colon], rest[colon + 1 :]
            if not is_tag(tag):
                raise _invalid(
                    text, f"the tag {tag!r} must be 1 to {MAX_TAG} of letters, digits, '_', '.', '-'"
                )
        domain, path = _split_domain(rest)
        _check_domain(text, domain)
        _check_path(text, path)
        if len(domain) + 1 + len(path) > MAX_NAME:
            raise _invalid(text, f"the name is longer than {MAX_NAME} characters")
        return cls(domain, path, tag, digest)

    @property
    def repository(self) -> str:
        """Domain and path, such as ``docker.io/library/debian``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as people write it, such as ``debian``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        return self.path.removeprefix(OFFICIAL) if self.path.count("/") == 1 else self.path

    @property
    def familiar(self) -> str:
        """The reference as people write it, such as ``debian:12``."""
        return self.familiar_repository + self._suffix()

    def with_digest(self, digest: str) -> Reference:
        """The same repository by digest, without tag."""
        return Reference(self.domain, self.path, "", digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix()

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def is_digest(text: str) -> bool:
    """Whether text is a digest of a known algorithm: ``sha256:`` or ``sha512:`` and lower-case hex."""
    algorithm, _, value = text.partition(":")
    return len(value) == DIGEST_LENGTHS.get(algorithm, -1) and _HEX.issuperset(value)


def is_tag(text: str) -> bool:
    """Whether text is a tag: 1 to 128 of letters, digits, ``_``, ``.``, ``-``, not led by ``.`` or ``-``."""
    return 0 < len(text) <= MAX_TAG and _TAG.issuperset(text) and text[0] not in ".-"


def is_short_name(text: str) -> bool:
    """Whether a reference names no registry, so that short-name configuration applies to it."""
    name = text.partition("@")[0]
    first, slash, _ = name.partition("/")
    return not slash or not _is_domain(first)


def _is_domain(component: str) -> bool:
    return "." in component or ":" in component or component == "localhost" or component.lower() != component


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain(first):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain in _DOCKER_HUB_NAMES:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path


def _check_domain(text: str, domain: str) -> None:
    host, port = domain, ""
    if domain.startswith("["):
        host, bracket, port = domain[1:].partition("]")
        good = bool(bracket) and bool(host) and _IPV6.issuperset(host) and ":" in host
        port = port.removeprefix(":") if port.startswith(":") else port or ""
    else:
        host, colon, port = domain.partition(":")
        good = all(_is_host_label(label) for label in host.split(".")) and (not colon or bool(port))
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535 and len(port) <= 5):
        raise _invalid(text, f"{port!r} is no port number")
    if not good:
        raise _invalid(text, f"{domain!r} is no host name")


def _is_host_label(label: str) -> bool:
    return bool(label) and (_ALNUM | {"-"}).issuperset(label) and label[0] != "-" and label[-1] != "-"


def _check_path(text: str, path: str) -> None:
    components = path.split("/")
    for component in components:
        if not _is_path_component(component):
            hint = "repository names are lower-case" if component.lower() != component else ""
            raise _invalid(text, f"{component!r} is no part of a repository name", hint)
    last = components[-1]
    if len(components) == 2 and components[0] + "/" == OFFICIAL and len(last) == 64 and _HEX.issuperset(last):
        raise _invalid(text, "64 hexadecimal digits are an image ID, not a name")


def _is_path_component(component: str) -> bool:
    """``[a-z0-9]+((.|_|__|-+)[a-z0-9]+)*``."""
    if not component or component[0] not in _LOWER or component[-1] not in _LOWER:
        return False
    separator = ""
    for char in component:
        if char in _LOWER:
            separator = ""
        elif char in "._-":
            separator += char
            if separator.strip("-") and separator not in (".", "_", "__"):
                return False
        else:
            return False
    return True


def _check_digest(text: str, digest: str) -> None:
    if not is_digest(digest):
        raise _invalid(text, f"{digest[:80]!r} is no sha256 or sha512 digest")


def _invalid(text: str, why: str, hint: str = "") -> InvalidReference:
    return InvalidReference(f"invalid image reference {text!r}", why=why, hint=hint)
