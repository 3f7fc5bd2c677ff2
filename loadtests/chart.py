"""Charts as SVG inside a page: lines over a number, and bars. They hold all they show; colours are the page's.

Drawn here, for a report is opened years later and fetches nothing, and matplotlib would be 40 MB for a few lines.
"""

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 40

#: Wanted distances between ticks, of a decade.
_NICE = (1, 2, 2.5, 5, 10)


def lines(
    title: str, x: str, y: str, curves: Sequence[tuple[str, Points]], *, dots: bool = False, joined: bool = True
) -> str:
    """Return a chart of curves over a common x axis, with dots where wanted; empty where nothing is to draw."""
    shown = [(name, [(a, b) for a, b in points if _sound(a) and _sound(b)]) for name, points in curves]
    shown = [(name, points) for name, points in shown if points]
    if not shown:
        return ""
    xs = [a for _, points in shown for a, _ in points]
    high = max(b for _, points in shown for _, b in points) or 1.0
    left, right = (min(0.0, *xs) if dots else min(xs)), (max(xs) if max(xs) > min(xs) else max(xs) + 1)
    ticks_x, ticks_y = _ticks(left, right), _ticks(0.0, high)
    top = max(high, ticks_y[-1])

    def place(a: float, b: float) -> tuple[float, float]:
        across = _LEFT + (a - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - b / top * (HEIGHT - _TOP - _BOTTOM)

    parts = _axes(title, x, y)
    for tick in ticks_y:
        _, down = place(left, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {down:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (tick for tick in ticks_x if tick <= right + 1e-9):
        across, _ = place(tick, 0)
        parts.append(f'<text x="{across:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for number, (_, points) in enumerate(shown):
        spots = [place(a, b) for a, b in points]
        if joined:
            path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
            parts.append(f'<path class="line c{number % 6}" d="{path}"/>')
        if dots or len(spots) == 1:
            parts += [f'<circle class="dot c{number % 6}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in spots]
    return _whole([*parts, *_legend([name for name, _ in shown])])


def bars(title: str, x: str, y: str, heights: Sequence[tuple[str, float]]) -> str:
    """Return a chart of bars with a word below each; an empty text where there is none."""
    if not heights:
        return ""
    ticks = _ticks(0.0, max(height for _, height in heights) or 1.0)
    top = max(ticks[-1], *(height for _, height in heights))
    width = (WIDTH - _LEFT - _RIGHT) / len(heights)
    parts = _axes(title, x, y)
    for tick in ticks:
        down = HEIGHT - _BOTTOM - tick / top * (HEIGHT - _TOP - _BOTTOM)
        parts.append(f'<path class="grid" d="M{_LEFT} {down:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, (word, height) in enumerate(heights):
        tall = height / top * (HEIGHT - _TOP - _BOTTOM)
        across = _LEFT + number * width
        parts.append(
            f'<rect class="bar" x="{across + width * 0.15:.1f}" y="{HEIGHT - _BOTTOM - tall:.1f}" '
            f'width="{width * 0.7:.1f}" height="{tall:.1f}"><title>{escape(word)}: {height:g}</title></rect>'
        )
        middle = across + width / 2
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(word)}</text>')
    return _whole(parts)


def _axes(title: str, x: str, y: str) -> list[str]:
    """Return title and axes with their words."""
    return [
        f'<text class="title" x="{_LEFT}" y="16">{escape(title)}</text>',
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>',
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x)}</text>',
        f'<text x="12" y="{_TOP + 4}" transform="rotate(-90 12 {_TOP + 4})" text-anchor="end">{escape(y)}</text>',
    ]


def _legend(names: Sequence[str]) -> list[str]:
    """Return the names of curves with their colours, from the right."""
    parts, across = [], float(WIDTH - _RIGHT)
    for number in reversed(range(len(names))):
        across -= 7.0 * len(names[number]) + 22
        parts.append(f'<path class="line c{number % 6}" d="M{across:.0f} 12h14"/>')
        parts.append(f'<text x="{across + 18:.0f}" y="16">{escape(names[number])}</text>')
    return parts


def _whole(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Return some five round numbers from low to high, the last of them not below it."""
    rough = (high - low) / 5
    decade = 10 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(nice * decade for nice in _NICE if nice * decade >= rough * 0.999) if rough > 0 else 1.0
    first = math.floor(low / step)
    return [round((first + number) * step, 10) for number in range(math.ceil((high - first * step) / step) + 1)]


def _sound(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
