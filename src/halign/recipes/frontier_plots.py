"""The plots of the frontier, drawn from frontier.json's numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from halign.reporting.figures import Axes, Curve, Mark

Numbers = Mapping[str, Any]
KL = "KL from the start model (nats per reply; spread as its square root)"
BEST = "best of n (KL at its upper bound)"
START = "start model"


def frontier(found: Numbers) -> list[Axes]:
    """True reward against KL: the ideal, best-of-n, and every method."""
    base = found["start"]["reward"]
    curves = _curves(found, "reward", Mark(0.0, base["value"], None, _range(base)))
    label, level = "true reward of held-out replies", (base["value"], START)
    return [Axes(curves, "True reward against KL", KL, label, True, level=level, legend="beside")]


def gain(found: Numbers) -> list[Axes]:
    """The same, less the start model's reward at the same prompts, as far as the methods went."""
    curves = _curves(found, "gain", Mark(0.0, 0.0))
    reach = max((m.x for c in curves[2:] for m in c.marks), default=1.0)
    title, label = (
        "Gain over the start model, as far as the methods went",
        "gain in true reward, prompt by prompt",
    )
    return [Axes(curves, title, KL, label, True, max(reach, 0.01), (0.0, START), legend="beside")]


def temperature(found: Numbers) -> list[Axes]:
    """Win rate over sampling temperature."""
    curves = []
    for number, (name, rows) in enumerate(found["temperature"].items()):
        shift = 0.008 * (number - len(found["temperature"]) / 2)  # bars of one temperature stand side by side
        marks = [
            Mark(r["temperature"] + shift, r["win_rate"]["value"], None, _range(r["win_rate"])) for r in rows
        ]
        method = found["methods"].get(name)
        label = START if method is None else f"{name}, {method['strength']} {method['chosen']:g}"
        curves.append(Curve(label, marks, style=7 if method is None else number - 1, dashed=method is None))
    level = (0.5, "as good as the start model\nat temperature 1")
    title, label = "Win rate over sampling temperature", "win rate (ties count half)"
    ticks = [r["temperature"] for r in found["temperature"]["start"]]
    return [Axes(curves, title, "sampling temperature", label, level=level, ticks=ticks, legend="beside")]


def over(found: Numbers) -> list[Axes]:
    """Learned and true reward, both gained by maximising the learned one."""
    proxy = _maximised(found, "learned_gain")
    true = _maximised(found, "gain")
    true.append(
        Curve("best of n by the true reward", _best(found["best_of_n"], "gain"), style=2, dashed=True)
    )
    level = (0.0, START)
    return [
        Axes(
            proxy,
            "What is maximised: the learned reward",
            KL,
            "gain in learned reward (logits)",
            True,
            level=level,
        ),
        Axes(true, "What is wanted: the true reward", KL, "gain in true reward", True, level=level),
    ]


def _maximised(found: Numbers, measure: str) -> list[Curve]:
    """What maximises the learned reward."""
    learned, origin = found["learned"], Mark(0.0, 0.0)
    best = [{**r["by_learned"], "kl_bound": r["kl_bound"], "n": r["n"]} for r in found["best_of_n"]]
    reached = [_mark(p, measure, str(p["updates"])) for p in learned["points"]]
    return [
        Curve(
            "optimum π* of the learned reward",
            [origin, *(_ideal(r, measure) for r in learned["ideal"])],
            band=True,
        ),
        Curve(BEST, _best(best, measure), style=7, band=True, dashed=True),
        *([Curve(f"{learned['loop']}, by updates", [origin, *reached], style=1)] if reached else []),
    ]


def _curves(found: Numbers, measure: str, origin: Mark) -> list[Curve]:
    """The optimum, best-of-n, and every method."""
    curves = [
        Curve("optimum π* for each KL", [origin, *(_ideal(r, measure) for r in found["ideal"])], band=True),
        Curve(BEST, _best(found["best_of_n"], measure), style=7, band=True, dashed=True),
    ]
    for number, (name, method) in enumerate(found["methods"].items()):
        of = [p for p in method["points"] if "kl" in p]
        marks = [replace(_mark(p, measure), hollow=p is of[0] and len(of) > 1) for p in of]
        curves.append(Curve(_title(name, method, of), marks, style=number))
    return curves


def _title(name: str, method: Mapping[str, Any], of: Sequence[Mapping[str, Any]]) -> str:
    """A method in the legend, with the ends of its sweep; the first point is hollow."""
    swept = [f"{p[method['strength']]:g}" for p in of]
    kind = "loop" if "loop" in method else "offline"
    ends = f"{swept[0]} (hollow) to {swept[-1]}" if len(swept) > 1 else "".join(swept)
    return f"{name} ({kind})\n{method['strength']} {ends}"


def _mark(row: Mapping[str, Any], measure: str, label: str = "") -> Mark:
    kl, y = row["kl"], row[measure]
    return Mark(kl["value"], y["value"], _range(kl), _range(y), label)


def _ideal(row: Mapping[str, Any], measure: str) -> Mark:
    """A point of an optimum, whose interval in KL is left to the table."""
    return Mark(row["kl"]["value"], row[measure]["value"], None, _range(row[measure]))


def _best(rows: Sequence[Mapping[str, Any]], measure: str) -> list[Mark]:
    return [
        Mark(r["kl_bound"], r[measure]["value"], None, _range(r[measure]), str(r["n"]) if r["n"] > 1 else "")
        for r in rows
    ]


def _range(of: Mapping[str, float]) -> tuple[float, float]:
    return of["low"], of["high"]
