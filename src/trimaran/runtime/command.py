"""The command line of trimaran-oci: runc's, so that any engine can call it.

Each command is a module of :mod:`trimaran.runtime.commands`, imported when it is called: this program
starts four times for each container, and what it does not import it does not pay for.
"""

from __future__ import annotations

import os
import sys

from trimaran.errors import InvalidInput, TrimaranError
from trimaran.runtime.options import Option, Options, describe, parse
from trimaran.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# name: (module, what it does)
COMMANDS = {
    "create": ("create", "create a container; start runs its program"),
    "start": ("start", "run the program of a created container"),
    "run": ("create", "create a container and run its program"),
    "exec": ("exec", "run one more process in a container"),
    "state": ("state", "print a container's state as JSON"),
    "kill": ("kill", "send a signal to a container"),
    "delete": ("delete", "remove a container"),
    "pause": ("freeze", "stop every process of a container where it is"),
    "resume": ("freeze", "let the processes of a paused container go on"),
    "ps": ("ps", "list the processes of a container"),
    "update": ("update", "change the limits of a container"),
    "events": ("events", "print what a container uses, as JSON"),
    "spec": ("spec", "write a config.json to start from"),
    "features": ("features", "print what this runtime can do, as JSON"),
    "list": ("list", "list containers"),
}

GLOBAL = (
    Option("root", "value", "directory of the containers' state", metavar="DIR"),
    Option("log", "value", "write errors to a file as well", metavar="FILE"),
    Option("log-format", "value", "text or json", metavar="FORMAT", default="text"),
    Option("debug", "flag", "say more in the log"),
    Option("systemd-cgroup", "flag", "let systemd make the cgroups"),
    Option("cgroup-manager", "value", "cgroupfs, systemd or disabled", metavar="NAME", default="cgroupfs"),
    Option("rootless", "value", "true, false or auto (found out in any case)", metavar="WHEN"),
    Option("help h", "flag", "show this help"),
    Option("version v", "flag", "show the version"),
)


class Context:
    """What every command is given: the global options and the containers."""

    __slots__ = ("failure", "globals", "log", "store")

    def __init__(self, options: Options) -> None:
        from trimaran.runtime.log import Log

        self.globals = options
        # The exit status of an error.
        self.failure = 1
        self.store = Store(options.value("root") or default_root())
        self.log = Log(options.value("log"), options.value("log-format", "text"), options.given("debug"))

    @property
    def cgroup_manager(self) -> str:
        """Who makes the cgroups: ``cgroupfs`` (we do), ``systemd``, or ``disabled`` (nobody)."""
        if self.globals.given("systemd-cgroup"):
            return "systemd"
        name = self.globals.value("cgroup-manager", "cgroupfs")
        if name not in ("cgroupfs", "systemd", "disabled"):
            raise InvalidInput(f"no cgroup manager {name!r}", hint="cgroupfs, systemd or disabled")
        return name


def default_root() -> str:
    """Where the state is unless ``--root`` says: /run for root, else the user's runtime directory."""
    if os.geteuid() == 0:
        return "/run/trimaran-oci"
    return os.path.join(
        os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/trimaran-oci-{os.geteuid()}", "trimaran-oci"
    )


def main() -> None:
    """Run the command of ``sys.argv``; does not return."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command; returns the exit status."""
    context: Context | None = None
    try:
        options, rest = parse(words, GLOBAL, stop=True)
        if options.given("version"):
            return _version()
        if options.given("help") or not rest or rest[0] == "help":
            print(_usage())
            return 0 if rest or options.given("help") else 1
        context = Context(options)
        name, *rest = rest
        if name not in COMMANDS:
            raise InvalidInput(f"no command {name}", hint="trimaran-oci --help lists them")
        return _command(name)(context, name, rest)
    except TrimaranError as error:
        if context:
            context.log.error(str(error))
        sys.stderr.write(f"trimaran-oci: {error}\n")
        return context.failure if context else 1
    except BrokenPipeError:
        return 1


def _command(name: str) -> Callable[[Context, str, list[str]], int]:
    from importlib import import_module

    module = import_module(f"trimaran.runtime.commands.{COMMANDS[name][0]}")
    found: Callable[[Context, str, list[str]], int] = module.run
    return found


def read_options(
    name: str, words: list[str], options: tuple[Option, ...], usage: str, *, stop: bool = False
) -> tuple[Options, list[str]]:
    """A command's own options, which end at its first argument if ``stop``; prints its help and exits if that
    is asked for."""
    found, rest = parse(words, (*options, Option("help h", "flag", "show this help")), stop=stop)
    if found.given("help"):
        print(f"usage: trimaran-oci {name} {usage}\n\n{COMMANDS[name][1]}\n\noptions:\n{describe(options)}")
        sys.exit(0)
    return found, rest


def only_id(name: str, rest: list[str]) -> str:
    """The one argument that most commands take."""
    if len(rest) != 1:
        raise InvalidInput(
            f"{name} takes one argument", why=f"not {len(rest)}", hint=f"trimaran-oci {name} ID"
        )
    return rest[0]


def _version() -> int:
    from trimaran._version import VERSION
    from trimaran.runtime.lifecycle import OCI_VERSION

    print(f"trimaran-oci version {VERSION}\nspec: {OCI_VERSION}")
    return 0


def _usage() -> str:
    commands = "\n".join(f"  {name.ljust(12)} {about}" for name, (_, about) in COMMANDS.items())
    return (
        "usage: trimaran-oci [options] COMMAND [command options] [ID] [...]\n\n"
        "An OCI runtime: makes a container from a bundle (config.json and a root file system).\n\n"
        f"commands:\n{commands}\n\noptions:\n{describe(GLOBAL)}\n\n"
        "trimaran-oci COMMAND --help says more about one."
    )
