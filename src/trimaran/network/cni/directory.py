"""Where CNI configurations and plugins are: /etc/cni/net.d, /opt/cni/bin and Debian's /usr/lib/cni."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trimaran.errors import NotFound, SpecError
from trimaran.spec import jsonio
from trimaran.spec.cni import NetworkList

CONFIG_DIRECTORIES = ("/etc/cni/net.d",)
PLUGIN_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni")
_LIMIT = 1 << 20


def config_directories() -> list[str]:
    """Where configurations are: CNI_CONF_DIR (with colons) if set."""
    return _from_environment("CNI_CONF_DIR") or list(CONFIG_DIRECTORIES)


def plugin_directories() -> list[str]:
    """Where plugins are: CNI_PATH (with colons) if set."""
    return _from_environment("CNI_PATH") or list(PLUGIN_DIRECTORIES)


def _from_environment(name: str) -> list[str]:
    return [directory for directory in os.environ.get(name, "").split(":") if directory]


def parse_text(text: str, where: str = "$") -> NetworkList:
    """A configuration from its JSON text. Raises SpecError with ``where`` as the start of the path."""
    return NetworkList(jsonio.parse(text.encode(), max_bytes=_LIMIT), where)


def load(directories: Sequence[str]) -> list[tuple[str, NetworkList | SpecError]]:
    """All configurations in the order of their files' names, with the errors of those that are wrong.

    Of two files that name one network, the first counts.
    """
    files: dict[str, str] = {}
    for directory in directories:
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if name.endswith((".conf", ".conflist", ".json")):
                files.setdefault(name, os.path.join(directory, name))
    found: list[tuple[str, NetworkList | SpecError]] = []
    for name in sorted(files):
        try:
            with open(files[name], encoding="utf-8") as file:
                found.append((files[name], parse_text(file.read(_LIMIT + 1), files[name])))
        except (OSError, UnicodeError) as error:
            found.append((files[name], SpecError(files[name], str(error))))
        except SpecError as error:
            error.message = (
                error.message if error.message.startswith("/") else f"{files[name]}: {error.message}"
            )
            found.append((files[name], error))
    return found


def find(name: str, directories: Sequence[str]) -> NetworkList:
    """The configuration of the network of that name; "" is the first that is right.

    Raises NotFound; SpecError if the only file that could be it is wrong.
    """
    wrong: SpecError | None = None
    for _, config in load(directories):
        if isinstance(config, SpecError):
            wrong = wrong or config
        elif name in ("", config.name):
            return config
    if wrong and not name:
        raise wrong
    raise NotFound(f"no CNI network {name}".rstrip(), why=f"none in {', '.join(directories)}")
