"""A picture of a run, as SVG written here: bars are all it takes, and so a benchmark needs no library to draw."""

from collections.abc import Sequence
from html import escape

from loadtests.benchmark.figures import Row
from loadtests.benchmark.side import BY_HAND, FRAMEWORK, SAMEWAY
from loadtests.benchmark.work import Work

_COLOURS = {SAMEWAY: "#1b6ca8", BY_HAND: "#7a8793", FRAMEWORK: "#c9a227"}
_OTHER = "#a9b4bd"

#: All in pixels; the labels' width fits the longest name.
_LABEL, _BARS, _VALUE, _LINE, _GAP, _HEAD, _MARGIN = 270, 380, 130, 18, 18, 24, 12


def draw(rows: Sequence[Row], works: Sequence[Work]) -> str:
    """Return an SVG document with, for each kind of work, a bar for every side: requests per second, the fastest first."""
    parts: list[str] = []
    y = _MARGIN
    for work in works:
        mine = sorted((row for row in rows if row.work == work), key=lambda row: -row.requests_per_second)
        if not mine:
            continue
        parts.append(f'<text x="{_MARGIN}" y="{y + 14}" font-weight="bold">{escape(f"{work}: requests/s")}</text>')
        y += _HEAD
        longest = mine[0].requests_per_second
        for row in mine:
            parts += _bar(row, y, longest)
            y += _LINE
        y += _GAP
    width = _LABEL + _BARS + _VALUE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}"'
            ' font-family="sans-serif" font-size="12" fill="#222">',
            f'<rect width="{width}" height="{y}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _bar(row: Row, y: int, longest: float) -> list[str]:
    length = max(1.0, row.requests_per_second / longest * _BARS)
    colour = _COLOURS.get(row.family, _OTHER)
    value = f"{row.requests_per_second:,.0f} · {row.cpu_us:,.0f} µs CPU"
    return [
        f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(row.side)}</text>',
        f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.1f}" height="{_LINE - 4}" fill="{colour}"/>',
        # Inside the bar where there is room for it, else behind.
        f'<text x="{_LABEL + length - 6:.1f}" y="{y + 12}" text-anchor="end" fill="#ffffff">{escape(value)}</text>'
        if length > _VALUE + 10
        else f'<text x="{_LABEL + length + 6:.1f}" y="{y + 12}">{escape(value)}</text>',
    ]
