"""create and run."""

from __future__ import annotations

import os

from trimaran.runtime import creating, lifecycle
from trimaran.runtime.command import Context, only_id, read_options
from trimaran.runtime.options import Option, Options

OPTIONS = (
    Option("bundle b", "value", "directory with config.json (the present one)", metavar="DIR"),
    Option("config f", "value", "another file than the bundle's config.json", metavar="FILE"),
    Option("console-socket", "value", "unix socket that takes the terminal's master", metavar="PATH"),
    Option("pidfd-socket", "value", "unix socket that takes a pidfd of the process", metavar="PATH"),
    Option("pid-file", "value", "file to write the process's PID to", metavar="FILE"),
    Option("no-pivot", "flag", "move the root instead of pivoting to it (for a ramdisk)"),
    Option("no-new-keyring", "flag", "keep the caller's session keyring"),
    Option("preserve-fds", "number", "how many descriptors from 3 on the process inherits", metavar="N"),
)
RUN_OPTIONS = (
    *OPTIONS,
    Option("detach d", "flag", "return as soon as the program runs"),
    Option("keep", "flag", "do not delete the container when it has ended"),
    Option("no-subreaper", "flag", "accepted for runc's sake"),
)


def run(context: Context, name: str, words: list[str]) -> int:
    running = name == "run"
    options, rest = read_options(name, words, RUN_OPTIONS if running else OPTIONS, "[options] ID")
    id = only_id(name, rest)
    wanted = _wanted(context, options)
    if running and not options.given("detach"):
        from trimaran.runtime import foreground

        return foreground.run(context, id, options.value("bundle") or ".", wanted, keep=options.given("keep"))
    launched, warnings = creating.create(context.store, id, options.value("bundle") or ".", wanted)
    for warning in warnings:
        context.log.warning(warning)
    if running:
        for warning in lifecycle.start(context.store, id):
            context.log.warning(warning)
    # The process goes on without us: what is open here ends with this program.
    if launched.console >= 0:
        os.close(launched.console)
    return 0


def _wanted(context: Context, options: Options) -> creating.CreateOptions:
    # sd_listen_fds(3): sockets that our caller was given are the container's.
    listening = os.environ.get("LISTEN_FDS", "")
    return creating.CreateOptions(
        preserve=options.number("preserve-fds") + (int(listening) if listening.isdigit() else 0),
        listening=listening if listening.isdigit() else "",
        console_socket=options.value("console-socket"),
        pidfd_socket=options.value("pidfd-socket"),
        pid_file=options.value("pid-file"),
        no_pivot=options.given("no-pivot"),
        new_keyring=not options.given("no-new-keyring"),
        cgroup_manager=context.cgroup_manager,
        config=options.value("config") or "config.json",
    )
