"""Tables, JSON and templates: how commands that list or show print what they have.

``--format`` is ``table`` (the default), ``json`` (one object a line), ``table TEMPLATE`` or a template, in
the words of docker: ``{{.Names}}\\t{{.Status}}``.
"""

from __future__ import annotations

from trimaran.cli.options import Option
from trimaran.engine.texts import ago as ago
from trimaran.engine.texts import size as size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from trimaran.cli.context import Context

FORMAT_OPTION = Option(
    "--format", metavar="FORMAT", help="table, json, or a template such as '{{.ID}}' or 'table {{.ID}}'"
)
QUIET_OPTION = Option("-q", "--quiet", help="Only IDs")
NO_TRUNC_OPTION = Option("--no-trunc", help="Do not shorten")
FILTER_OPTION = Option("-f", "--filter", metavar="KEY=VALUE", many=True, help="Only what matches")
WIDE_OPTION = Option(
    "-o", "--output", metavar="OUTPUT", choices=("wide", "json"), help="More columns, or JSON"
)
LIST_OPTIONS = (FILTER_OPTION, FORMAT_OPTION, NO_TRUNC_OPTION, WIDE_OPTION, QUIET_OPTION)

GAP = "   "


def show_list(
    context: Context,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    format: str | None = None,
    quiet: str = "",
) -> None:
    """Print a list. ``columns`` maps headings to keys of the rows; ``quiet`` names a key to show alone."""
    if quiet:
        for row in rows:
            context.print(row[quiet])
    elif format == "json":
        from json import dumps

        for row in rows:
            context.print(dumps(row, default=str))
    elif format and format != "table":
        _templated(context, rows, columns, format)
    else:
        table(context, list(columns), [[text(row.get(key)) for key in columns.values()] for row in rows])


def _templated(
    context: Context, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], format: str
) -> None:
    from trimaran.cli.template import Template, headings

    as_table = format.startswith("table ")
    source = format.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(source)
    if not as_table:
        for row in rows:
            context.print(template.render(row))
        return
    titles = headings(source, {key: title for title, key in columns.items()})
    table(context, titles, [template.render(row).split("\t") for row in rows])


def show_one(context: Context, value: Mapping[str, Any], format: str | None = None) -> None:
    """Print one object: ``Key: value`` lines, or by a format."""
    if format == "json":
        from json import dumps

        context.print(dumps(value, default=str))
    elif format:
        from trimaran.cli.template import Template

        context.print(Template(format).render(value))
    else:
        width = max(map(len, value), default=0)
        for key, item in value.items():
            context.print(f"{key + ':':<{width + 1}} {text(item)}")


def show_documents(context: Context, values: Sequence[Any], format: str | None = None) -> None:
    """Print what ``inspect`` found: a JSON array, or each by a template."""
    from json import dumps

    if not format:
        context.print(dumps(values, indent=4, default=str, ensure_ascii=False))
        return
    if format == "json":
        for value in values:
            context.print(dumps(value, default=str))
        return
    from trimaran.cli.template import Template

    template = Template(format)
    for value in values:
        context.print(template.render(value))


def table(context: Context, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest entry."""
    lines = [list(titles), *(list(row) for row in rows)]
    widths = [max(len(line[i]) if i < len(line) else 0 for line in lines) for i in range(len(titles))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        context.print(GAP.join([*cells, *line[len(widths) :]]).rstrip())


def text(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value)
