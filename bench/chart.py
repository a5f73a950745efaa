"""A bar chart of one job's medians, as SVG: readable in light and in dark, without a library."""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.measure import OUR_NAME, Result
from bench.report import FLOOR, number

WIDTH, LABEL, VALUE, ROW = 640, 150, 90, 26
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.t{font-weight:600}.o{fill:#0969da}.p{fill:#9aa4b2}"
    ".f{fill:#57ab5a}@media(prefers-color-scheme:dark){text{fill:#ddd}.o{fill:#4493f8}.p{fill:#6e7681}}"
)


def svg(result: Result) -> str:
    """Bars in the order of the medians, the best first; failed contestants are named without a bar."""
    done = sorted(
        (s for s in result.series if s.samples), key=lambda s: s.median, reverse=not result.lower_is_better
    )
    failed = [s for s in result.series if not s.samples]
    height = 34 + ROW * (len(done) + len(failed))
    longest = max((s.median for s in done), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(result.title)}</title><style>{STYLE}</style>",
        f'<text class="t" x="0" y="16">{escape(result.title)} ({escape(result.unit)})</text>',
    ]
    y = 30
    for series in done:
        kind = "o" if series.name.startswith(OUR_NAME) else "f" if series.name == FLOOR else "p"
        width = max(1.0, (WIDTH - LABEL - VALUE) * series.median / longest)
        parts += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(series.name)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y + 2}" width="{width:.1f}" height="16" rx="2"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}">{number(series.median)}</text>',
        ]
        y += ROW
    for series in failed:
        parts.append(f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(series.name)}</text>')
        parts.append(f'<text x="{LABEL}" y="{y + 14}">failed</text>')
        y += ROW
    return "\n".join([*parts, "</svg>"]) + "\n"
