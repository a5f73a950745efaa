"""spec."""

from __future__ import annotations

import os

from trimaran.errors import Conflict, InvalidInput, KernelError
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.options import Option
from trimaran.spec import jsonio
from trimaran.spec.default_config import default_config

OPTIONS = (
    Option("bundle b", "value", "directory to write it to (the present one)", metavar="DIR"),
    Option("rootless", "flag", "for an ordinary user"),
)


def run(context: Context, name: str, words: list[str]) -> int:
    options, rest = read_options(name, words, OPTIONS, "[options]")
    if rest:
        raise InvalidInput("spec takes no argument", why=f"{rest[0]!r} is one")
    config = default_config((os.geteuid(), os.getegid()) if options.given("rootless") else None)
    path = os.path.join(options.value("bundle") or ".", "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Conflict(f"{path} exists already", hint="remove it first") from None
    except OSError as error:
        raise KernelError("open", error.errno or 0, path) from None
    with open(fd, "w") as file:
        file.write(jsonio.dump(config, 4) + "\n")
    return 0
