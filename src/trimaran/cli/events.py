"""trimaran events"""

from __future__ import annotations

import sys
import time

from trimaran.cli.options import Command, Option
from trimaran.cli.output import FILTER_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from trimaran.cli.context import Context
    from trimaran.cli.options import Arguments
    from trimaran.engine.events import Event


def run(context: Context, args: Arguments) -> int | None:
    from trimaran.cli.moments import parse_moment

    filters = _filters(args.filter)
    until = parse_moment(args.until) if args.until else 0
    since = parse_moment(args.since) if args.since else time.time_ns()
    for event in context.engine().events(since=since, until=until, follow=lambda: True):
        if _matches(event, filters):
            context.print(_text(event, args.format))
            sys.stdout.flush()
    return None


def _filters(given: list[str]) -> dict[str, set[str]]:
    from trimaran.cli.options import UsageError

    found: dict[str, set[str]] = {}
    for text in given:
        key, _, value = text.partition("=")
        if key not in ("type", "event", "container"):
            raise UsageError(f"'{text}' is no filter of events", hint="type=, event= or container=")
        found.setdefault(key, set()).add(value)
    return found


def _matches(event: Event, filters: dict[str, set[str]]) -> bool:
    facts = {"type": event.type, "event": event.action}
    if any(facts[key] not in values for key, values in filters.items() if key in facts):
        return False
    wanted = filters.get("container")
    names = {event.attributes.get("name")}
    return not wanted or any(event.actor.startswith(w) or w in names for w in wanted)


def _text(event: Event, format: str | None) -> str:
    from trimaran.engine.inspecting import moment

    document: dict[str, Any] = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "time": event.time // 10**9,
        "timeNano": event.time,
    }
    if format == "json":
        from json import dumps

        return dumps(document)
    if format:
        from trimaran.cli.template import Template

        return Template(format).render(document)
    about = ", ".join(f"{key}={value}" for key, value in event.attributes.items())
    return f"{moment(event.time)} {event.type} {event.action} {event.actor}" + (
        f" ({about})" if about else ""
    )


COMMAND = Command(
    run,
    options=[
        FILTER_OPTION,
        Option("--since", metavar="TIME", help="From then on (10m ago, RFC 3339, seconds); else from now"),
        Option("--until", metavar="TIME", help="Until then; else on and on"),
        Option("--format", metavar="FORMAT", help="json, or a template"),
    ],
)
