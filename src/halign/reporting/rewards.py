"""What a report says of a reward model: how often it is right, and whether it knows how sure it may be."""

from __future__ import annotations

from typing import Any

from halign.reporting.evidence import ModelEntry, Panel
from halign.reporting.stored_results import stored
from halign.reporting.svg import Series, lines
from halign.rewards.card import CARD


def reward_panel(entry: ModelEntry) -> Panel | None:
    """The report card of a run that trained a reward model; None for others."""
    file = entry.run / CARD if entry.run else None
    if file is None or not file.exists():
        return None
    card = stored(file)
    names = {
        "accuracy": "the preferred response gets the higher reward",
        "matched_accuracy": "the same where lengths differ by at most a tenth",
        "longer_accuracy": "baseline: pick the longer one",
    }
    said = "; ".join(f"{what} in {_share(card[name])}" for name, what in names.items() if card[name])
    table = card["reliability"]
    chart = lines(
        [
            Series("as sure as right", [(0.5, 0.5), (1.0, 1.0)], "c0"),
            Series("held out", [(r["confidence"], r["accuracy"]) for r in table], "c1", marks=True),
        ],
        f"reliability of {entry.name}",
        "confidence σ(|difference of rewards|)",
        "accuracy",
        size=(960, 420),
    )
    return Panel(
        f"reward-{entry.name}",
        f"The reward model {entry.name} on held-out comparisons",
        f"{said[:1].upper()}{said[1:]}. Expected calibration error {card['calibration_error']:.3f}.",
        ("confidence", "mean", "accuracy", "comparisons"),
        [
            (
                f"{r['from']:.2f} to {r['to']:.2f}",
                f"{r['confidence']:.2f}",
                f"{r['accuracy']:.2f}",
                str(r["n"]),
            )
            for r in table
        ],
        (chart,),
    )


def _share(share: dict[str, Any]) -> str:
    interval = ""
    if share["low"] is not None:
        interval = f" (95 % interval {100 * share['low']:.0f} to {100 * share['high']:.0f})"
    return f"{100 * share['value']:.0f} % of {share['n']} comparisons{interval}"
