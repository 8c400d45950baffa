"""The plots of the frontier, drawn from frontier.json's numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halign.reporting.figures import Axes, Curve, Mark

Numbers = Mapping[str, Any]
KL = "KL from the start model (nats per reply; spread as its square root)"
BEST = "best of n (KL at its upper bound)"


def frontier(found: Numbers) -> list[Axes]:
    """True reward against KL: the ideal, best-of-n, and every method."""
    base = found["start"]["reward"]
    origin = Mark(0.0, base["value"], None, _range(base))
    curves = [
        Curve("optimum π* for each KL", [origin, *(_mark(r, "reward") for r in found["ideal"])], band=True),
        Curve(BEST, _best(found["best_of_n"], "reward"), style=7, band=True, dashed=True),
    ]
    for number, (name, method) in enumerate(found["methods"].items()):
        of = [p for p in method["points"] if "kl" in p]
        marks = [_mark(p, "reward", _ends(method["strength"], p, of)) for p in of]
        curves.append(Curve(_title(name, method), marks, style=number))
    level = (base["value"], "start model")
    return [
        Axes(
            curves,
            "True reward against KL",
            KL,
            "true reward of held-out replies",
            True,
            level,
            "lower right",
        )
    ]


def temperature(found: Numbers) -> list[Axes]:
    """Win rate over sampling temperature."""
    curves = []
    for number, (name, rows) in enumerate(found["temperature"].items()):
        shift = 0.008 * (
            number - len(found["temperature"]) / 2
        )  # so that bars of one temperature stand side by side
        marks = [
            Mark(r["temperature"] + shift, r["win_rate"]["value"], None, _range(r["win_rate"])) for r in rows
        ]
        method = found["methods"].get(name)
        label = "start model" if method is None else f"{name}, {method['strength']} {method['chosen']:g}"
        curves.append(Curve(label, marks, style=7 if method is None else number - 1, dashed=method is None))
    level = (0.5, "as good as the start model at temperature 1")
    title = "Win rate over sampling temperature"
    return [Axes(curves, title, "sampling temperature", "win rate (ties count half)", level=level)]


def over(found: Numbers) -> list[Axes]:
    """Learned and true reward, both gained by maximising the learned one."""
    learned = found["learned"]
    origin = Mark(0.0, 0.0)
    plots = []
    for key, title, label in (
        (
            "learned_gain",
            "What is maximised: the learned reward",
            "learned reward, gain over the start model (logits)",
        ),
        ("gain", "What is wanted: the true reward", "true reward, gain over the start model"),
    ):
        best = [{"kl_bound": r["kl_bound"], "n": r["n"], **r["by_learned"]} for r in found["best_of_n"]]
        curves = [
            Curve(
                "optimum π* of the learned reward",
                [origin, *(_mark(r, key) for r in learned["ideal"])],
                band=True,
            ),
            Curve(BEST, _best(best, key), style=7, band=True, dashed=True),
            Curve(
                f"{learned['loop']}, by updates",
                [origin, *(_mark(p, key, str(p["updates"])) for p in learned["points"])],
                style=1,
            ),
        ]
        if key == "gain":
            true = [{"kl_bound": r["kl_bound"], "n": r["n"], "gain": r["gain"]} for r in found["best_of_n"]]
            curves.append(Curve("best of n by the true reward", _best(true, key), style=2, dashed=True))
        plots.append(Axes(curves, title, KL, label, True, (0.0, "start model")))
    return plots


def _title(name: str, method: Mapping[str, Any]) -> str:
    return f"{name} ({'loop' if 'loop' in method else 'offline'})"


def _ends(strength: str, point: Mapping[str, Any], of: Sequence[Mapping[str, Any]]) -> str:
    """The strength, written at the ends of a sweep."""
    return f"{strength} {point[strength]:g}" if point is of[0] or point is of[-1] else ""


def _mark(row: Mapping[str, Any], measure: str, label: str = "") -> Mark:
    kl, y = row["kl"], row[measure]
    return Mark(kl["value"], y["value"], _range(kl), _range(y), label)


def _best(rows: Sequence[Mapping[str, Any]], measure: str) -> list[Mark]:
    return [
        Mark(r["kl_bound"], r[measure]["value"], None, _range(r[measure]), f"{r['n']}" if r["n"] > 1 else "")
        for r in rows
    ]


def _range(of: Mapping[str, float]) -> tuple[float, float]:
    return of["low"], of["high"]
