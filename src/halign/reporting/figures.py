"""Figures for print: curves with intervals, drawn by matplotlib, as SVG for a page and as PNG beside it.

The small charts of ``svg.py`` follow the page's colours; these have their own, one marker for each curve, and stand on white, so
that they can be read in grey.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

Range = tuple[float, float]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5230", "#555555")
"""Okabe and Ito's, which the colour-blind can tell apart, with two more."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, SOFT = "#111111", "#8b8f96"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "halign",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Mark:
    """One point with its intervals; ``label`` is written beside it; ``hollow``: its marker is."""

    x: float
    y: float
    x_range: Range | None = None
    y_range: Range | None = None
    label: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Curve:
    """Points of one kind, joined in their order.

    Attributes:
        style: number of its colour and marker; None: an ink line without markers.
        band: intervals in y as a band instead of bars.
        dashed: the line.
    """

    name: str
    marks: Sequence[Mark]
    style: int | None = None
    band: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Axes:
    """One plot.

    Attributes:
        root: x is drawn on a scale of square roots, which spreads what is near zero (KL as Gao et al. draw it).
        reach: largest x that is shown; y is as high as what is seen there needs. None: all.
        level: (y, words) of a horizontal line to compare with.
        ticks: of x; empty: round numbers.
        legend: where the legend stands, as matplotlib has it, or ``beside`` the plot.
    """

    curves: Sequence[Curve]
    title: str
    x_label: str
    y_label: str
    root: bool = False
    reach: float | None = None
    level: tuple[float, str] | None = None
    ticks: Sequence[float] = ()
    legend: str = "best"


def figure(plots: Sequence[Axes], width: float = 8.6, height: float = 5.2) -> Any:
    """A ``matplotlib.figure.Figure`` with the plots side by side; inches, each ``width`` x ``height``."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(width * len(plots), height), layout="constrained", facecolor="white")
        for place, plot in enumerate(plots):
            _draw(made.add_subplot(1, len(plots), place + 1), plot)
    return made


def save(made: Any, folder: Path, name: str) -> Markup:
    """Write NAME.svg and NAME.png (150 dpi) into the folder; returns the SVG for a page."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        made.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        made.savefig(folder / f"{name}.png", dpi=150)
    text = buffer.getvalue()
    (folder / f"{name}.svg").write_text(text, encoding="utf-8")
    return Markup(text[text.index("<svg") :])


def _draw(ax: Any, plot: Axes) -> None:
    if plot.root:
        ax.set_xscale("function", functions=(_root, _square))
        ax.set_xlim(left=0.0)
    for curve in plot.curves:
        _curve(ax, curve, plot.root)
    if plot.level:
        y, words = plot.level
        ax.axhline(y, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=words)
    if plot.root or plot.reach is not None:
        reach = plot.reach or max((m.x for c in plot.curves for m in c.marks), default=1.0)
        ax.set_xlim(0.0 if plot.root else None, 1.08 * max(reach, 1e-6))
        if plot.root:
            ax.set_xticks(_root_ticks(reach))
        if plot.reach is not None:
            seen = [
                y for c in plot.curves for m in c.marks if m.x <= reach for y in (m.y, *(m.y_range or ()))
            ]
            apart = 0.06 * (max(seen) - min(seen)) if seen else 0.0
            ax.set_ylim((min(seen) - apart, max(seen) + apart) if apart else None)
    ax.set_title(plot.title, loc="left", fontsize=11)
    ax.set_xlabel(plot.x_label)
    ax.set_ylabel(plot.y_label)
    if plot.ticks:
        ax.set_xticks(plot.ticks)
    if plot.legend == "beside":
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    else:
        ax.legend(loc=plot.legend, fontsize=9)


def _curve(ax: Any, curve: Curve, root: bool) -> None:
    if not curve.marks:
        return
    xs = [max(0.0, m.x) if root else m.x for m in curve.marks]
    ys = [m.y for m in curve.marks]
    bare = curve.style is None
    colour = INK if bare else COLOURS[(curve.style or 0) % len(COLOURS)]
    marker = "" if bare else MARKERS[(curve.style or 0) % len(MARKERS)]
    line = (0, (4, 2)) if curve.dashed else "-"
    ax.plot(
        xs, ys, color=colour, marker=marker, markersize=5.5, linewidth=1.6 if bare else 1.1, linestyle=line,
        label=curve.name, zorder=3,
    )  # fmt: skip
    if curve.band:
        ranges = [m.y_range or (m.y, m.y) for m in curve.marks]
        ax.fill_between(
            xs,
            [low for low, _ in ranges],
            [high for _, high in ranges],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
    for x, m in zip(xs, curve.marks, strict=True):
        if m.y_range and not curve.band:
            ax.plot([x, x], m.y_range, color=colour, linewidth=0.8, alpha=0.7, zorder=2)
        if m.x_range:
            low = max(0.0, m.x_range[0]) if root else m.x_range[0]
            ax.plot([low, m.x_range[1]], [m.y, m.y], color=colour, linewidth=0.8, alpha=0.7, zorder=2)
        if m.hollow:
            ax.plot(
                [x], [m.y], color=colour, marker=marker, markersize=5.5, markerfacecolor="white", zorder=4
            )
        if m.label:
            ax.annotate(
                m.label,
                (x, m.y),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7.5,
                color=colour,
                zorder=4,
            )


def _root(x: Any) -> Any:
    import numpy as np

    return np.sqrt(np.maximum(x, 0.0))


def _square(x: Any) -> Any:
    return x * x


def _root_ticks(reach: float) -> list[float]:
    """Round numbers that are about evenly apart in their square roots.

    >>> _root_ticks(4.3)
    [0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0]
    """
    round_ones = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5)] + [3.0, 4.0, 6.0, 8.0, 15.0, 30.0]
    kept = [0.0]
    apart = (reach**0.5) / 9
    for tick in sorted(round_ones):
        if tick <= 1.02 * reach and tick**0.5 - kept[-1] ** 0.5 >= apart:
            kept.append(round(tick, 10))
    return kept
