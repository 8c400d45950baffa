"""How far two judges, a judge and people, or a judge and itself agree beyond what chance would bring."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from halign.errors import HalignError
from halign.evaluate.clusters import Floats, coded, covariance, quantile, resampled
from halign.evaluate.intervals import Interval, rate

Weights = Literal["linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval"]


def cohen_kappa(
    first: Sequence[Any],
    second: Sequence[Any],
    clusters: Sequence[Hashable],
    *,
    weights: Weights | None = None,
    level: float = 0.95,
) -> Interval:
    """(p_o - p_e) / (1 - p_e): agreement beyond what the raters' own shares would bring (Cohen 1960; weighted: 1968).

    The interval is by the delta method (Fleiss, Cohen and Everitt 1969), clustered. With w_ab the credit for answers a and b and
    w_a., w_.b its means over the other rater's shares, the influence of an item on kappa is
    (w_ab - p_o)/(1 - p_e) - (1 - p_o)(w_a. + w_.b - 2 p_e)/(1 - p_e)^2.

    Args:
        first, second: [n] answers; sortable where there are weights.
        weights: credit for near misses, 1 - d or 1 - d^2 with d the distance in ranks over its maximum; None: none.

    Raises:
        HalignError: both raters only ever gave one and the same answer, so that chance agreement is 1.
        ValueError: a single conversation.
    """
    if not len(first) == len(second) == len(clusters):
        raise HalignError(f"{len(first)} and {len(second)} answers, {len(clusters)} conversations")
    answers = sorted(set(first) | set(second), key=None if weights else str)
    place = {a: i for i, a in enumerate(answers)}
    x, y = np.array([place[a] for a in first]), np.array([place[a] for a in second])
    credit = _credit(len(answers), weights)
    p, q = (np.bincount(v, minlength=len(answers)) / len(v) for v in (x, y))
    observed, expected = float(credit[x, y].mean()), float(p @ credit @ q)
    if expected == 1:
        raise HalignError("kappa is not defined: both gave one and the same answer throughout")
    kappa = (observed - expected) / (1 - expected)
    of_chance = (credit @ q)[x] + (p @ credit)[y] - 2 * expected
    influences = (credit[x, y] - observed) / (1 - expected) - (1 - observed) * of_chance / (1 - expected) ** 2
    codes, groups = coded(clusters)
    half = quantile(level, groups) * float(covariance(influences[:, None], codes, groups)[0, 0]) ** 0.5
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), len(x), groups)


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]],
    *,
    metric: Metric = "nominal",
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """1 - D_o / D_e for any number of raters, with gaps (Krippendorff 2019, chapter 12), and its bootstrap interval.

    D_o is the mean squared distance within units, over all pairs of values, each unit of m counting m times; D_e the same
    over all pairs of values of all units with two or more. The distance is 0 or 1 (nominal), between ranks (ordinal:
    values counted between them, the ends half), or between values (interval).

    Args:
        ratings: [units][raters], None where a rater did not rate. Units with fewer than two ratings say nothing.
        clusters: [units], the conversation of each unit; each unit its own if None.

    Raises:
        HalignError: no unit has two ratings, or all ratings are the same.
    """
    named = clusters if clusters is not None else list(range(len(ratings)))
    if len(named) != len(ratings):
        raise HalignError(f"{len(ratings)} units, but {len(named)} conversations")
    rows = [([v for v in unit if v is not None], c) for unit, c in zip(ratings, named, strict=True)]
    rows = [(unit, c) for unit, c in rows if len(unit) > 1]
    if not rows:
        raise HalignError("alpha needs units with at least two ratings each")
    values = sorted({v for unit, _ in rows for v in unit})
    place = {v: i for i, v in enumerate(values)}
    counts = np.array([np.bincount([place[v] for v in u], minlength=len(values)) for u, _ in rows])
    alpha = _alpha(counts.astype(float), np.asarray(values, dtype=float), metric)
    if np.isnan(alpha):
        raise HalignError("alpha is not defined: all ratings are the same")
    codes, groups = coded([c for _, c in rows])
    drawn = []
    for times in resampled(groups, resamples, seed):
        kept = np.repeat(counts, times[codes], axis=0).astype(float)
        drawn.append(_alpha(kept, np.asarray(values, dtype=float), metric))
    drawn = [1.0 if np.isnan(d) else d for d in drawn]  # nothing but one value is agreement
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(alpha, float(low), float(high), int(counts.sum()), groups)


def _alpha(counts: Floats, values: Floats, metric: Metric) -> float:
    """From [units, values] counts, every unit with at least two; NaN where D_e is 0."""
    sizes = counts.sum(1)
    scaled = counts / (sizes - 1)[:, None]
    coincidences = counts.T @ scaled - np.diag(scaled.sum(0))  # o_ck
    marginals = coincidences.sum(0)
    n = float(marginals.sum())
    distance = _distance(values, marginals, metric)
    expected = (np.outer(marginals, marginals) - np.diag(marginals)) / (n - 1)
    against = float((expected * distance).sum())
    return 1 - float((coincidences * distance).sum()) / against if against > 0 else float("nan")


def _distance(values: Floats, marginals: Floats, metric: Metric) -> Floats:
    """Squared distances between values: [V, V]."""
    if metric == "nominal":
        found: Floats = 1.0 - np.eye(len(values))
    elif metric == "ordinal":
        middle = np.cumsum(marginals) - marginals / 2
        found = (middle[:, None] - middle[None]) ** 2
    elif metric == "interval":
        found = (values[:, None] - values[None]) ** 2
    else:
        raise HalignError(f"metric = {metric!r} is none of nominal, ordinal, interval")
    return found


@dataclass(frozen=True)
class Repeatability:
    """A judge asked twice.

    Attributes:
        same: share of questions that it answered alike.
        kappa: the same beyond chance; None where it only ever gave one answer.
    """

    same: Interval
    kappa: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {"same": self.same.to_dict(), "kappa": self.kappa.to_dict() if self.kappa else None}


def repeatability(
    first: Sequence[Any], second: Sequence[Any], clusters: Sequence[Hashable], *, level: float = 0.95
) -> Repeatability:
    """Test-retest: how alike two runs of one judge on the same questions are.

    Raises:
        ValueError: a single conversation.
    """
    same = [float(a == b) for a, b in zip(first, second, strict=True)]
    one = len(set(first) | set(second)) == 1
    kappa = None if one else cohen_kappa(first, second, clusters, level=level)
    return Repeatability(rate(same, clusters, level=level), kappa)


def _credit(answers: int, weights: Weights | None) -> Floats:
    if weights is None:
        return np.eye(answers)
    if weights not in ("linear", "quadratic"):
        raise HalignError(f"weights = {weights!r} is neither linear nor quadratic")
    d = np.abs(np.arange(answers)[:, None] - np.arange(answers)[None]) / max(1, answers - 1)
    found: Floats = 1 - (d if weights == "linear" else d**2)
    return found
