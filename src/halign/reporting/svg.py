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

    def __init__(self, points: Sequence[Point], x_label: str, y_label: str, zero: bool = False) -> None:
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        self.x_ticks = ticks(min(xs), max(xs))
        self.y_ticks = ticks(min([*ys, 0.0]) if zero else min(ys), max(ys))
        self.x_label, self.y_label = x_label, y_label

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def parts(self) -> list[str]:
        out = []
        for t in self.y_ticks:
            out.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(t)}" y2="{self.y(t)}"/>'
            )
            out.append(f'<text x="{LEFT - 5}" y="{self.y(t) + 3.5}" text-anchor="end">{number(t)}</text>')
        below = HEIGHT - BOTTOM + 13
        out += [
            f'<text x="{self.x(t)}" y="{below}" text-anchor="middle">{number(t)}</text>' for t in self.x_ticks
        ]
        middle = (LEFT + WIDTH - RIGHT) / 2
        out.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(self.x_label)}</text>')
        if self.y_label:
            out.append(f'<text x="4" y="10">{escape(self.y_label)}</text>')
        return out


def _svg(parts: Sequence[str], title: str) -> Markup:
    name = escape(title)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>'
    return Markup(f"{head}{''.join(parts)}</svg>")


def lines(series: Sequence[Series], title: str, x_label: str = "step", y_label: str = "") -> Markup:
    """A line chart; series with ``marks`` are drawn as points. Empty markup if there is nothing to draw."""
    points = [p for s in series for p in s.points]
    if not points:
        return Markup("")
    frame = _Frame(points, x_label, y_label)
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
    return _svg(parts, title)


@dataclass(frozen=True)
class Spot:
    """One model in a scatter chart, with its intervals."""

    name: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    css: str = "c0"


def scatter(spots: Sequence[Spot], title: str, x_label: str, y_label: str) -> Markup:
    """Labelled points with their intervals as crosses."""
    if not spots:
        return Markup("")
    corners = [p for s in spots for p in zip(s.x_range, s.y_range, strict=True)]
    frame = _Frame([*corners, *((s.x, s.y) for s in spots)], x_label, y_label)
    parts = frame.parts()
    taken: list[tuple[float, float]] = [(frame.x(s.x), frame.y(s.y)) for s in spots]
    for s in sorted(spots, key=lambda s: -s.y):
        x, y = frame.x(s.x), frame.y(s.y)
        (x0, x1), (y0, y1) = map(frame.x, s.x_range), map(frame.y, s.y_range)
        parts.append(f'<line class="cross {s.css}" x1="{x0}" x2="{x1}" y1="{y}" y2="{y}"/>')
        parts.append(f'<line class="cross {s.css}" x1="{x}" x2="{x}" y1="{y0}" y2="{y1}"/>')
        parts.append(f'<circle class="dot {s.css}" cx="{x}" cy="{y}" r="4"/>')
        a, b, anchor = _free_place(x, y, s.name, taken)
        parts.append(f'<text class="label" x="{a}" y="{b}" text-anchor="{anchor}">{escape(s.name)}</text>')
    return _svg(parts, title)


def _free_place(x: float, y: float, name: str, taken: list[tuple[float, float]]) -> tuple[float, float, str]:
    """Where a spot's name overlaps nothing, if there is such a place near it; notes it down as taken."""
    width = 5.8 * len(name)
    places = [(side, step) for step in (0, -11, 11, -22, 22, -33, 33) for side in (1, -1)]
    for side, step in places:
        a, b = x + 8 * side, y + 3.5 + step
        covered = [(a + side * i * width / 4, b - 3.5) for i in range(5)]
        inside = all(LEFT < c < WIDTH for c, _ in covered) and TOP - 6 < b < HEIGHT - BOTTOM
        if inside and not any(abs(c - p) < 12 and abs(d - q) < 9 for c, d in covered for p, q in taken):
            break
    else:
        a, b, side, covered = x + 8, y - 5, 1, []
    taken += covered
    return round(a, 1), round(b, 1), "start" if side > 0 else "end"
