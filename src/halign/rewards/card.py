"""How good a reward model is on comparisons that it has not seen.

>>> from halign.rewards.card import Compared, report_card
>>> seen = [Compared(2.0, 9, 5, "a"), Compared(1.0, 4, 4, "b"), Compared(-0.5, 3, 6, "c"), Compared(0.5, 7, 9, "c")]
>>> card = report_card(seen)
>>> card["accuracy"]["value"], card["longer_accuracy"]["value"]
(0.75, 0.375)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from halign.objectives.items import Items, ValueLists, ValuePairs
from halign.objectives.values import compared

CARD = "reward.json"
"""The file of a run folder that holds the last report card."""
BINS = 10
"""Rows of the reliability table, of equal width from one half to 1."""
ALIKE = 0.1
"""Two responses are matched in length if they differ by at most this share of the longer one."""


class Compared(NamedTuple):
    """Of two responses one is preferred.

    Attributes:
        margin: reward of the preferred one minus that of the other, or a pairwise model's symmetrised logit.
        length, other_length: theirs (tokens, or characters where a pair is read whole).
        conversation: where they are from.
    """

    margin: float
    length: float
    other_length: float
    conversation: str


def comparisons(items: Items) -> list[Compared]:
    """The comparisons among some items, one by one; those in which neither response is preferred are left out."""
    if (
        isinstance(items, ValuePairs)
        and items.chosen_lengths is not None
        and items.rejected_lengths is not None
    ):
        margins = (items.chosen_values - items.rejected_values) / 2
        columns = (margins, items.chosen_lengths, items.rejected_lengths)
        rows = zip(*(c.tolist() for c in columns), items.conversation, _preferences(items), strict=True)
        return [_oriented(*row) for row in rows if row[-1] != 0.5]
    if isinstance(items, ValueLists) and items.lengths is not None:
        pairs, ahead = compared(items)
        preference = _preferences(items)
        lengths = items.lengths.tolist()
        found = []
        for i, better, worse in pairs.nonzero().tolist():
            if preference[i] != 0.5:
                margin = float(ahead[i, better, worse])
                row = (margin, lengths[i][better], lengths[i][worse], items.conversation[i], preference[i])
                found.append(_oriented(*row))
        return found
    return []


def _preferences(items: ValuePairs | ValueLists) -> list[float]:
    given: Tensor | None = items.preference
    return [1.0] * len(items.conversation) if given is None else given.tolist()


def _oriented(margin: float, length: float, other: float, conversation: str, preference: float) -> Compared:
    """Seen from the response that is preferred."""
    if preference < 0.5:
        return Compared(-margin, other, length, conversation)
    return Compared(margin, length, other, conversation)


def report_card(seen: Sequence[Compared]) -> dict[str, Any]:
    """Accuracy and calibration on comparisons, JSON-ready.

    - ``accuracy``: share in which the preferred response gets the higher reward (a tie is half right), with a 95 % interval
      clustered by conversation;
    - ``longer_accuracy``: what the rule "the longer one is better" would reach, as a baseline;
    - ``matched_accuracy``: accuracy where lengths differ by at most a tenth, so that length cannot help; None if there is none;
    - ``calibration_error``: with the model's confidence c = sigma(|margin|), the mean of |c - accuracy| over the rows of
      ``reliability``, weighted by their counts (expected calibration error, arXiv 1706.04599);
    - ``reliability``: rows of {"from", "to", "confidence", "accuracy", "n"}, of confidences from one half to 1.

    Shares are {"value", "low", "high", "n", "clusters"}; low and high are None where everything is of one conversation.

    Raises:
        ValueError: if there are no comparisons.
    """
    if not seen:
        raise ValueError("no comparisons to judge a reward model by")
    margins = np.array([c.margin for c in seen])
    lengths = np.array([(c.length, c.other_length) for c in seen], dtype=float)
    clusters = [c.conversation for c in seen]
    right = _right(margins)
    alike = np.abs(lengths[:, 0] - lengths[:, 1]) <= ALIKE * lengths.max(1)
    confidence = 1 / (1 + np.exp(-np.minimum(np.abs(margins), 700)))
    table = _reliability(confidence, right)
    return {
        "accuracy": _share(right, clusters),
        "longer_accuracy": _share(_right(lengths[:, 0] - lengths[:, 1]), clusters),
        "matched_accuracy": _share(right[alike], [c for c, k in zip(clusters, alike, strict=True) if k])
        if alike.any()
        else None,
        "calibration_error": sum(r["n"] * abs(r["confidence"] - r["accuracy"]) for r in table) / len(seen),
        "reliability": table,
    }


def figures(card: dict[str, Any]) -> dict[str, float]:
    """A card's numbers by name, flat, for a row of metrics."""
    found = {"calibration_error": card["calibration_error"]}
    for name in ("accuracy", "longer_accuracy", "matched_accuracy"):
        share = card[name]
        if share is not None:
            found[name] = share["value"]
            found |= {f"{name}_{end}": share[end] for end in ("low", "high") if share[end] is not None}
    return found


def _right(margins: np.ndarray) -> np.ndarray:
    return np.where(margins == 0, 0.5, (margins > 0).astype(float))


def _share(right: np.ndarray, clusters: Sequence[str]) -> dict[str, Any]:
    if len(set(clusters)) < 2:
        return {"value": float(right.mean()), "low": None, "high": None, "n": len(right), "clusters": 1}
    from halign.evaluate.intervals import share  # whose room is above this one

    return share(right.tolist(), clusters).to_dict()


def _reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    edges = np.linspace(0.5, 1.0, BINS + 1)
    row_of = np.clip(((confidence - 0.5) * 2 * BINS).astype(int), 0, BINS - 1)
    table = []
    for b in range(BINS):
        here = row_of == b
        if here.any():
            table.append(
                {
                    "from": round(float(edges[b]), 4),
                    "to": round(float(edges[b + 1]), 4),
                    "confidence": float(confidence[here].mean()),
                    "accuracy": float(right[here].mean()),
                    "n": int(here.sum()),
                }
            )
    return table
