"""exec."""

from __future__ import annotations

from trimaran.errors import InvalidInput, KernelError
from trimaran.plan import wire
from trimaran.runtime import creating, foreground, joining, launch
from trimaran.runtime.command import Context, read_options
from trimaran.runtime.options import Option, Options
from trimaran.spec import jsonio, validate
from trimaran.spec.capabilities import NUMBERS
from trimaran.spec.runtime import Capabilities, Config, Process

OPTIONS = (
    Option("process p", "value", "file with the process as in config.json", metavar="FILE"),
    Option("console-socket", "value", "unix socket that takes the terminal's master", metavar="PATH"),
    Option("pidfd-socket", "value", "unix socket that takes a pidfd of the process", metavar="PATH"),
    Option("pid-file", "value", "file to write the process's PID to", metavar="FILE"),
    Option("detach d", "flag", "return as soon as the program runs"),
    Option("tty t", "flag", "give it a terminal"),
    Option("cwd", "value", "working directory", metavar="DIR"),
    Option("env e", "value", "environment variable; may be given again", metavar="NAME=VALUE"),
    Option("user u", "value", "user and group numbers", metavar="UID[:GID]"),
    Option("additional-gids g", "value", "one more group; may be given again", metavar="GID"),
    Option("cap c", "value", "one more capability; may be given again", metavar="CAP"),
    Option("no-new-privs", "flag", "it can gain no rights"),
    Option("apparmor", "value", "AppArmor profile", metavar="PROFILE"),
    Option("process-label", "value", "SELinux label", metavar="LABEL"),
    Option(
        "cgroup", "value", "cgroup below the container's; may be given again", metavar="[CONTROLLERS:]PATH"
    ),
    Option("ignore-paused", "flag", "start it even if the container is paused"),
    Option("no-subreaper", "flag", "accepted for runc's sake"),
    Option("preserve-fds", "number", "how many descriptors from 3 on it inherits", metavar="N"),
)
_SETS = ("bounding", "effective", "permitted")


def run(context: Context, name: str, words: list[str]) -> int:
    # As runc does: what the command itself returns is below.
    context.failure = 255
    options, rest = read_options(name, words, OPTIONS, "[options] ID COMMAND [ARG ...]", stop=True)
    if not rest:
        raise InvalidInput("exec takes an id and a command", hint="trimaran-oci exec ID COMMAND")
    id, *args = rest
    with context.store.open(id) as entry:
        state = entry.read()
        process = _process(Config.parse(entry.config()), options, args)
        for warning in validate.check_process(process, "$"):
            context.log.warning(warning)
        plan = joining.plan_exec(
            entry,
            state,
            process,
            sub_cgroups=options.values("cgroup"),
            ignore_paused=options.given("ignore-paused"),
        )
    launched = launch.launch(plan, wire.encode(plan), preserve=options.number("preserve-fds"))
    try:
        wanted = creating.CreateOptions(
            console_socket=options.value("console-socket"),
            pidfd_socket=options.value("pidfd-socket"),
            pid_file=options.value("pid-file"),
        )
        creating.hand_over(launched, wanted)
        launched.peer.send(b"start")
        report, _ = launched.peer.receive()
        if report.startswith(b"error "):
            raise launch.explain(plan, report.decode("utf-8", "replace")[6:])
        return 0 if options.given("detach") else foreground.wait(launched)
    finally:
        if not options.given("detach"):
            launch.discard(launched)


def _process(config: Config, options: Options, args: list[str]) -> Process:
    """The process that is asked for: from a file, or the container's first one with changes."""
    if path := options.value("process"):
        try:
            with open(path, "rb") as file:
                data = file.read(jsonio.MAX_BYTES + 1)
        except OSError as error:
            raise KernelError("open", error.errno or 0, path) from None
        return Process.parse(jsonio.parse(data))
    if not args:
        raise InvalidInput("exec takes a command", hint="trimaran-oci exec ID COMMAND, or --process FILE")
    first = config.process or Process(cwd="/")
    changes: dict[str, object] = {
        "args": args,
        "terminal": options.given("tty"),
        "env": [*first.env, *options.values("env")],
        "cwd": options.value("cwd") or first.cwd,
        "user": _user(first, options),
        "no_new_privileges": first.no_new_privileges or options.given("no-new-privs"),
        "apparmor_profile": options.value("apparmor") or first.apparmor_profile,
        "selinux_label": options.value("process-label") or first.selinux_label,
    }
    if options.values("cap"):
        changes["capabilities"] = _more_capabilities(
            first.capabilities or Capabilities(), options.values("cap")
        )
    return first.replace(**changes)


def _more_capabilities(given: Capabilities, names: list[str]) -> Capabilities:
    for name in names:
        if name not in NUMBERS:
            raise InvalidInput(f"no capability {name}", hint="names are those of capabilities(7): CAP_CHOWN")
    return given.replace(**{kind: [*getattr(given, kind), *names] for kind in _SETS})


def _user(first: Process, options: Options) -> object:
    user = first.user
    changes: dict[str, object] = {}
    if text := options.value("user"):
        uid, _, gid = text.partition(":")
        if not (uid.isdigit() and (gid.isdigit() or not gid)):
            raise InvalidInput(f"--user takes numbers, not {text!r}", hint="--user 1000:1000")
        changes = {"uid": int(uid), "gid": int(gid) if gid else user.gid}
    if groups := options.values("additional-gids"):
        if not all(group.isdigit() for group in groups):
            raise InvalidInput("--additional-gids takes numbers")
        changes["additional_gids"] = [*user.additional_gids, *map(int, groups)]
    # Parsed again, so that numbers are in range.
    return type(user).parse({**user.to_json(), **user.replace(**changes).to_json()}, "$.user")
