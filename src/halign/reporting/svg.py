"""Small charts as inline SVG. Colours come from the page's style sheet, so that they follow light and
dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 20, 34

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line or set of points. ``css`` is a class of the style sheet (c0 ... c7)."""

    name: str
    points: Sequence[Point]
    css: str = "c0"
    marks: bool = False


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that span an interval.

    >>> ticks(0, 97)
    [0.0, 25.0, 50.0, 75.0, 100.0]
    >>> ticks(0.31, 0.62)
    [0.3, 0.4, 0.5, 0.6, 0.7]
    """
    if high <= low:
        high = low + (abs(low) or 1.0) * 0.1
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def number(x: float) -> str:
    """A tick's label.

    >>> number(0.30000000000000004), number(1500.0), number(2e-05)
    ('0.3', '1500', '2e-05')
    """
    return f"{x:.4g}"


class _Frame:
    """Axes of a chart and the map from values to pixels."""

    def __init__(
        self,
        points: Sequence[Point],
        x_label: str,
        y_label: str,
        zero: bool = False,
        size: tuple[int, int] = (WIDTH, HEIGHT),
    ) -> None:
        self.width, self.height = size
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        self.x_ticks = ticks(min(xs), max(xs))
        self.y_ticks = ticks(min([*ys, 0.0]) if zero else min(ys), max(ys))
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM), 1)

    def parts(self) -> list[str]:
        out = []
        for t in self.y_ticks:
            out.append(
                f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{self.y(t)}" y2="{self.y(t)}"/>'
            )
            out.append(f'<text x="{LEFT - 5}" y="{self.y(t) + 3.5}" text-anchor="end">{number(t)}</text>')
        below = self.height - BOTTOM + 13
        out += [
            f'<text x="{self.x(t)}" y="{below}" text-anchor="middle">{number(t)}</text>' for t in self.x_ticks
        ]
        middle = (LEFT + self.width - RIGHT) / 2
        out.append(
            f'<text x="{middle}" y="{self.height - 4}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        if self.y_label:
            out.append(f'<text x="4" y="10">{escape(self.y_label)}</text>')
        return out


def _svg(parts: Sequence[str], title: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Markup:
    name = escape(title)
    head = f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{name}"><title>{name}</title>'
    return Markup(f"{head}{''.join(parts)}</svg>")


def lines(
    series: Sequence[Series],
    title: str,
    x_label: str = "step",
    y_label: str = "",
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Markup:
    """A line chart; series with ``marks`` are drawn as points. Empty markup if there is nothing to draw."""
    points = [p for s in series for p in s.points]
    if not points:
        return Markup("")
    frame = _Frame(points, x_label, y_label, size=size)
    parts = frame.parts()
    for s in series:
        if not s.points:
            continue
        path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in s.points)
        if not s.marks or len(s.points) > 1:
            parts.append(f'<polyline class="line {s.css}{" thin" if s.marks else ""}" points="{path}"/>')
        if s.marks:
            parts += [
                f'<circle class="dot {s.css}" cx="{frame.x(x)}" cy="{frame.y(y)}" r="3"/>'
                for x, y in s.points
            ]
    return _svg(parts, title, size)


@dataclass(frozen=True)
class Spot:
    """One model in a scatter chart, with its intervals."""

    name: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    css: str = "c0"


def scatter(
    spots: Sequence[Spot], title: str, x_label: str, y_label: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Markup:
    """Labelled points with their intervals as crosses."""
    if not spots:
        return Markup("")
    corners = [p for s in spots for p in zip(s.x_range, s.y_range, strict=True)]
    frame = _Frame([*corners, *((s.x, s.y) for s in spots)], x_label, y_label, size=size)
    parts = frame.parts()
    taken: list[tuple[float, float]] = [(frame.x(s.x), frame.y(s.y)) for s in spots]
    for s in sorted(spots, key=lambda s: -s.y):
        x, y = frame.x(s.x), frame.y(s.y)
        (x0, x1), (y0, y1) = map(frame.x, s.x_range), map(frame.y, s.y_range)
        parts.append(f'<line class="cross {s.css}" x1="{x0}" x2="{x1}" y1="{y}" y2="{y}"/>')
        parts.append(f'<line class="cross {s.css}" x1="{x}" x2="{x}" y1="{y0}" y2="{y1}"/>')
        parts.append(f'<circle class="dot {s.css}" cx="{x}" cy="{y}" r="4"/>')
        a, b, anchor = _free_place(x, y, s.name, taken, size)
        parts.append(f'<text class="label" x="{a}" y="{b}" text-anchor="{anchor}">{escape(s.name)}</text>')
    return _svg(parts, title, size)


def _free_place(
    x: float, y: float, name: str, taken: list[tuple[float, float]], size: tuple[int, int]
) -> tuple[float, float, str]:
    """Where a spot's name overlaps nothing, if there is such a place near it; notes it down as taken."""
    width = 5.8 * len(name)
    places = [(side, step) for step in (0, -11, 11, -22, 22, -33, 33) for side in (1, -1)]
    for side, step in places:
        a, b = x + 8 * side, y + 3.5 + step
        covered = [(a + side * i * width / 4, b - 3.5) for i in range(5)]
        inside = all(LEFT < c < size[0] for c, _ in covered) and TOP - 6 < b < size[1] - BOTTOM
        if inside and not any(abs(c - p) < 12 and abs(d - q) < 9 for c, d in covered for p, q in taken):
            break
    else:
        a, b, side, covered = x + 8, y - 5, 1, []
    taken += covered
    return round(a, 1), round(b, 1), "start" if side > 0 else "end"


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: a name and a value for each of its bars."""

    name: str
    values: tuple[float, ...]


ROW, NAMES_WIDTH, BARS_WIDTH = 22, 130, 720


def bars(rows: Sequence[Bar], title: str, label: str, css: Sequence[str]) -> Markup:
    """Horizontal bars from zero, one line a name; ``css`` has a class for each bar of a line. Empty markup for no rows."""
    if not rows:
        return Markup("")
    marks = ticks(*_reach([v for r in rows for v in r.values]))
    low, high = marks[0], marks[-1]

    def x(value: float) -> float:
        return round(NAMES_WIDTH + (value - low) / (high - low) * (BARS_WIDTH - NAMES_WIDTH - RIGHT), 1)

    bottom = TOP + ROW * len(rows)
    parts = []
    for t in marks:
        parts.append(f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x(t)}" y="{bottom + 13}" text-anchor="middle">{number(t)}</text>')
    for i, row in enumerate(rows):
        y = TOP + ROW * i
        parts.append(f'<text x="{NAMES_WIDTH - 6}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>')
        tall = (ROW - 6) / len(row.values)
        for n, value in enumerate(row.values):
            left, right = sorted((x(0.0), x(value)))
            box = f'x="{left}" y="{y + 3 + n * tall}" width="{round(right - left, 1)}" height="{tall}"'
            parts.append(f'<rect class="fill {css[n]}" {box}><title>{number(value)}</title></rect>')
    parts.append(f'<text x="{BARS_WIDTH / 2}" y="{bottom + 29}" text-anchor="middle">{escape(label)}</text>')
    return _svg(parts, title, (BARS_WIDTH, bottom + 36))


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """The least interval that holds all values and zero."""
    return min(0.0, *values), max(0.0, *values)
