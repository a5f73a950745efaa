"""Which devices a container may use (config-linux.md, "Allowed Device list")."""

from __future__ import annotations

from trimaran.spec.resources import DeviceRule

AT = "$.linux.resources.devices"
# Every container may make nodes, and use these (config-linux.md, "Default Devices"): terminals included.
DEFAULT_RULES = (
    *("c *:* m", "b *:* m"),
    *("c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm"),
    *("c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"),
)


def all_rules(rules: list[DeviceRule]) -> list[DeviceRule]:
    """A configuration's rules with those that every container has."""
    return [*rules, *map(_parsed, DEFAULT_RULES)]


def _parsed(line: str) -> DeviceRule:
    kind, numbers, access = line.split(" ")
    major, minor = (None if number == "*" else int(number) for number in numbers.split(":"))
    return DeviceRule(allow=True, type=kind, major=major, minor=minor, access=access)


def v1_rules(rules: list[DeviceRule]) -> list[tuple[str, str, str]]:
    """Lines for devices.deny and devices.allow as (file, text, where from), in order.

    A container starts with no device at all, and always gets the default ones in the end.
    """
    lines = [("devices.deny", "a", "a container starts with no device")]
    for number, rule in enumerate(rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        lines.append((file, _line(rule), f"{AT}[{number}]"))
    lines += [("devices.allow", line, "a default device") for line in DEFAULT_RULES]
    return lines


def _line(rule: DeviceRule) -> str:
    if rule.type in ("", "a"):
        return "a"

    def number(value: int | None) -> str:
        return "*" if value is None or value < 0 else str(value)

    return f"{rule.type} {number(rule.major)}:{number(rule.minor)} {rule.access or 'rwm'}"
