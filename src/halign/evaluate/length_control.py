"""Length-controlled win rates: what a model's win rate against a baseline would be if its replies were as long (AlpacaEval 2).

Dubois et al. 2024 (arXiv 2404.04475), as in ``alpaca_eval/metrics/glm_winrate.py``. For instruction x and a reply that is d
characters longer than the baseline's, with s the standard deviation of d (n - 1 in the denominator),

    P(model better) = sigmoid(bias + length tanh(d / s) + difficulty g_x)

is fitted to the judge's preferences (probabilities or 0, 1/2, 1), and the length-controlled win rate is the mean over x of
sigmoid(bias + difficulty g_x). Three models, AlpacaEval's name in brackets:

- ``plain`` (length_controlled_minimal): bias and length alone;
- ``with_difficulty`` (length_controlled_noreg): g_x besides, from a fit of many models (``instruction_difficulty``);
- ``full`` (length_controlled_v1, the leaderboard's): besides, the verdicts on the baseline's own verbose and concise replies
  (``Anchors``, weight 0.2) keep the length term near what it is for one and the same model.

Weights are penalised by their absolute sum, the strength chosen by 5-fold cross-validation among C = 10^-4 ... 10^4 as there.
AlpacaEval states the length term with the other sign (baseline's less model's length).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from halign.errors import HalignError
from halign.evaluate.clusters import Floats, coded, resampled
from halign.evaluate.intervals import Interval
from halign.evaluate.penalised import chosen_strength, penalised_logistic

ANCHOR_WEIGHT = 0.2
"""AlpacaEval's, of all anchors together relative to the model's own rows."""
THEIR_NAMES = {
    "plain": "length_controlled_minimal",
    "with_difficulty": "length_controlled_noreg",
    "full": "length_controlled_v1",
}
"""Model -> what AlpacaEval calls it."""


@dataclass(frozen=True)
class Anchors:
    """Verdicts on the baseline's own replies when it was asked to be verbose or concise; all arrays [k].

    Attributes:
        preferences: in [0, 1], that such a reply beats the baseline's plain one.
        lengths: d / s, each of such a model by its own s.
        difficulty: g_x.
        models: how many such models the rows come from. AlpacaEval has two.
    """

    preferences: Floats
    lengths: Floats
    difficulty: Floats
    models: int = 2


@dataclass(frozen=True)
class LengthControlled:
    """Attributes:
    model: plain, with_difficulty or full.
    win_rate: raw, clustered bootstrap.
    controlled: length-controlled, with the clustered bootstrap's percentile interval (strength of the penalty and s held).
    weights: bias, length and difficulty; length above 0: longer replies win more.
    spread: standard error of the mean of the predictions over instructions, which AlpacaEval prints as lc_standard_error. It is
        no standard error of ``controlled``: it is 0 for ``plain``, whatever n.
    """

    model: str
    win_rate: Interval
    controlled: Interval
    weights: dict[str, float]
    spread: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "model": self.model,
            "win_rate": self.win_rate.to_dict(),
            "controlled": self.controlled.to_dict(),
            "weights": self.weights,
            "spread": self.spread,
        }


def length_controlled(
    preferences: ArrayLike,
    lengths: ArrayLike,
    baseline_lengths: ArrayLike,
    conversations: Sequence[Hashable],
    *,
    difficulty: ArrayLike | None = None,
    anchors: Anchors | None = None,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> LengthControlled:
    """The length-controlled win rate of one model against one baseline.

    Args:
        preferences: [n] in [0, 1], that the model's reply is better; a tie is 1/2.
        lengths, baseline_lengths: [n], characters.
        conversations: [n], which cluster the intervals.
        difficulty: [n], g_x of each instruction; None: the ``plain`` model.
        anchors: make it the ``full`` model; need ``difficulty``.

    Raises:
        HalignError: sizes differ; preferences outside [0, 1]; all lengths differ by the same number; anchors without difficulty.
    """
    y, codes, groups = np.asarray(preferences, dtype=float), *coded(conversations)
    d = np.asarray(lengths, dtype=float) - np.asarray(baseline_lengths, dtype=float)
    _check(y, d, codes, difficulty, anchors)
    spread = float(d.std(ddof=1))
    columns = [np.ones(len(y)), np.tanh(d / spread)]
    names, model = ["bias", "length"], "plain"
    if difficulty is not None:
        columns.append(np.asarray(difficulty, dtype=float))
        names, model = [*names, "difficulty"], "with_difficulty"
    x, weight = np.stack(columns, axis=1), np.ones(len(y))
    more = _anchor_rows(anchors)
    if anchors is not None:
        model = "full"
    strength = chosen_strength(*_joined(more, (x, y, weight)))
    at_zero = x.copy()
    at_zero[:, 1] = 0

    def controlled(times: Floats) -> tuple[float, Floats, Floats]:
        w = penalised_logistic(*_joined(more, (x, y, weight * times)), strength=strength)
        predicted = expit(at_zero @ w)
        return float(np.average(predicted, weights=times)), w, predicted

    value, w, predicted = controlled(weight)
    drawn, raw = [], []
    for counts in resampled(groups, resamples, seed):
        times = counts[codes].astype(float)
        drawn.append(controlled(times)[0])
        raw.append(np.average(y, weights=times))
    ends = [(1 - level) / 2, (1 + level) / 2]
    (low, high), (raw_low, raw_high) = np.quantile(drawn, ends), np.quantile(raw, ends)
    return LengthControlled(
        model,
        Interval(float(y.mean()), float(raw_low), float(raw_high), len(y), groups),
        Interval(value, float(low), float(high), len(y), groups),
        dict(zip(names, w.tolist(), strict=True)),
        float(predicted.std(ddof=1) / len(y) ** 0.5),
    )


def anchors_of(
    models: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]], difficulty: Sequence[ArrayLike]
) -> Anchors:
    """From verdicts on the baseline asked to be verbose, concise ...: (preferences, lengths, baseline lengths), [n] each."""
    rows = []
    for (y, lengths, base), g in zip(models, difficulty, strict=True):
        d = np.asarray(lengths, dtype=float) - np.asarray(base, dtype=float)
        rows.append(np.stack([np.asarray(y, dtype=float), d / d.std(ddof=1), np.asarray(g, dtype=float)]))
    y, lengths, g = np.concatenate(rows, axis=1)
    return Anchors(y, lengths, g, models=len(models))


def predicted_win_rate(a: dict[str, float], b: dict[str, float], difficulty: ArrayLike) -> float:
    """Length-controlled win rate of model a against model b, from their weights against one baseline and g_x [n].

    mean over x of sigmoid((bias_a - bias_b) + (difficulty_a - difficulty_b) g_x); 1/2 for a model and itself.
    """
    g = np.asarray(difficulty, dtype=float)
    return float(expit(a["bias"] - b["bias"] + (a["difficulty"] - b["difficulty"]) * g).mean())


def _anchor_rows(anchors: Anchors | None) -> tuple[Floats, Floats, Floats] | None:
    if anchors is None:
        return None
    k = len(anchors.preferences)
    x = np.stack([np.zeros(k), np.tanh(anchors.lengths), anchors.difficulty], axis=1)
    return x, anchors.preferences, np.full(k, ANCHOR_WEIGHT / anchors.models)


def _joined(
    first: tuple[Floats, Floats, Floats] | None, rows: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    if first is None:
        return rows
    x, y, weight = (np.concatenate(both) for both in zip(first, rows, strict=True))
    return x, y, weight


def _check(
    y: Floats, d: Floats, codes: ArrayLike, difficulty: ArrayLike | None, anchors: Anchors | None
) -> None:
    sizes = {len(y), len(d), np.size(codes), *(() if difficulty is None else (np.size(difficulty),))}
    if len(sizes) > 1:
        raise HalignError(
            f"preferences, lengths, conversations and difficulty differ in number: {sorted(sizes)}"
        )
    if not len(y) or not ((y >= 0) & (y <= 1)).all():
        raise HalignError("preferences must be probabilities within 0 and 1 that the model is better")
    if len(y) < 2 or d.std() == 0:
        raise HalignError(
            "length control needs replies whose lengths differ from the baseline's in more than one way"
        )
    if anchors is not None and difficulty is None:
        raise HalignError("anchors belong to the full model; give difficulty too, or leave them out")
