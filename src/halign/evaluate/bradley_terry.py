"""Bradley-Terry ratings of m models from comparisons, ties included.

P(i beats j) = s(r_i - r_j), s the logistic function (Bradley and Terry 1952), fitted by maximum likelihood. Ties are half a win
each (``ties="half"``, as Chatbot Arena does), or an outcome of their own (``ties="davidson"``, Davidson 1970):
P(tie) : P(i) : P(j) = v sqrt(e^r_i e^r_j) : e^r_i : e^r_j.

Ratings are shown on Elo's scale: 400 / ln 10 points a nat, 1000 the mean of the models; 400 points are odds of 10 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from halign.errors import HalignError
from halign.evaluate.choice import Fitted, fit, fitted
from halign.evaluate.clusters import Floats, quantile, resampled
from halign.evaluate.intervals import Interval
from halign.evaluate.matches import Matches

POINTS = 400 / math.log(10)
"""Elo points in a nat."""
CENTRE = 1000.0
"""Mean rating of the models."""
Ties = Literal["half", "davidson"]
_TINY = 1e-3  # virtual comparisons in resamples, so that one in which a model never lost has a finite (and very high) rating


@dataclass(frozen=True)
class Ratings:
    """Of m models, in the order of ``Matches.models``.

    Attributes:
        ratings: model -> points and the sandwich's interval, clustered by conversation.
        resampled: model -> the same points with the bootstrap's percentile interval.
        differences: float64 [m, m], standard error of the difference of two ratings, in points.
        tie: Davidson's v, at least 0; None where ties are halves.
    """

    models: tuple[str, ...]
    ratings: dict[str, Interval]
    resampled: dict[str, Interval]
    differences: Floats
    tie: float | None

    def beats(self, a: str, b: str) -> float:
        """P(a beats b), ties counted half: from the ratings.

        With Davidson's ties P(a) + P(tie) / 2.
        """
        d = (self.ratings[a].value - self.ratings[b].value) / POINTS
        if self.tie is None:
            return 1 / (1 + math.exp(-d))
        up, down = math.exp(d / 2), math.exp(-d / 2)
        return (up + self.tie / 2) / (up + down + self.tie)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "ratings": {
                m: {**i.to_dict(), "bootstrap": self.resampled[m].to_dict()} for m, i in self.ratings.items()
            },
            "standard_errors_of_differences": self.differences.tolist(),
            "models": list(self.models),
            "davidson_v": self.tie,
        }


def bradley_terry(
    matches: Matches,
    *,
    ties: Ties = "half",
    prior: float = 0.0,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> Ratings:
    """Ratings by maximum likelihood with two intervals: sandwich, and bootstrap over conversations (each sums to the centre).

    Args:
        ties: half a win each, or an outcome of their own.
        prior: virtual comparisons of every two models that end half and half (``ties="half"``) or a third each way. 0 is
            maximum likelihood; more pulls ratings together.
        resamples: of the bootstrap.

    Raises:
        HalignError: fewer than two conversations; without a prior, the models do not hang together by wins (``hanging_apart``).
    """
    codes, groups = matches.clusters
    if groups < 2:
        raise HalignError(f"ratings need comparisons from at least two conversations, got {groups}")
    if prior == 0 and (parts := hanging_apart(matches)) is not None:
        raise HalignError(
            f"no finite ratings: no path of wins or ties leads from {', '.join(parts[1])} to {', '.join(parts[0])}; "
            "set prior= to a small number such as 0.1, or judge more comparisons between them"
        )
    m, design, observed = len(matches.models), Design(len(matches.models), ties), _observed(matches, ties)
    found = design.fitted(matches.a, matches.b, observed, prior)
    weights = _shown(found.weights, m)
    covariance = _shown_covariance(found.covariance(codes, groups), m)
    half = quantile(level, groups) * np.sqrt(np.diag(covariance))
    drawn = _bootstrap(matches, design, observed, max(prior, _TINY), resamples, seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    spread = np.diag(covariance)[:, None] + np.diag(covariance)[None] - 2 * covariance
    count = np.bincount(np.concatenate([matches.a, matches.b]), minlength=m)
    closed = [Interval(w, w - h, w + h, int(n), groups) for w, h, n in zip(weights, half, count, strict=True)]
    boot = [
        Interval(w, lo, hi, int(n), groups)
        for w, lo, hi, n in zip(weights, low.tolist(), high.tolist(), count, strict=True)
    ]
    return Ratings(
        matches.models,
        dict(zip(matches.models, closed, strict=True)),
        dict(zip(matches.models, boot, strict=True)),
        np.sqrt(np.maximum(spread, 0)),
        math.exp(found.weights[-1]) if ties == "davidson" else None,
    )


def hanging_apart(matches: Matches) -> tuple[list[str], list[str]] | None:
    """Two groups of models such that none of the second ever won against one of the first, not even half; None if there are none.

    Ford's condition (1957): maximum likelihood is finite exactly where every model can be reached from every other over wins.
    """
    m = len(matches.models)
    half = matches.results[:, 2] / 2
    won = np.concatenate([matches.results[:, 0] + half, matches.results[:, 1] + half])
    by, over = np.concatenate([matches.a, matches.b]), np.concatenate([matches.b, matches.a])
    graph = coo_array((np.ones(int((won > 0).sum())), (by[won > 0], over[won > 0])), shape=(m, m)).tocsr()
    parts, of = connected_components(graph, directed=True, connection="strong")
    if parts == 1:
        return None
    reached = {int(of[j]) for i, j in zip(*graph.nonzero(), strict=True) if of[i] != of[j]}
    top = next(p for p in range(parts) if p not in reached)  # nobody outside ever won against it
    groups: tuple[list[str], list[str]] = ([], [])
    for name, part in zip(matches.models, of, strict=True):
        groups[int(part != top)].append(name)
    return groups


class Design:
    """Features of comparisons: a column per model, and one for ties where they are an outcome."""

    def __init__(self, models: int, ties: Ties) -> None:
        if ties not in ("half", "davidson"):
            raise HalignError(f"ties = {ties!r} is neither half nor davidson")
        self.models, self.ties = models, ties

    def of(self, a: np.ndarray, b: np.ndarray) -> Floats:
        """[n, 2, m], or [n, 3, m + 1]."""
        rows, outcomes = np.arange(len(a)), 3 if self.ties == "davidson" else 2
        found = np.zeros((len(a), outcomes, self.models + (outcomes == 3)))
        found[rows, 0, a] = found[rows, 1, b] = 0.5
        found[rows, 0, b] = found[rows, 1, a] = -0.5
        if outcomes == 3:
            found[:, 2, -1] = 1
        return found

    def virtual(self, prior: float) -> tuple[Floats, Floats]:
        """``prior`` comparisons of every two models, all outcomes alike: features and how often."""
        a, b = np.triu_indices(self.models, 1)
        features = self.of(a, b) if prior else self.of(a[:0], b[:0])
        return features, np.full(features.shape[:2], prior / features.shape[1])

    def fitted(self, a: np.ndarray, b: np.ndarray, observed: Floats, prior: float) -> Fitted:
        """The maximum with ``prior`` virtual comparisons; its influences are those of the n real ones alone, so that its
        covariance is, too.

        Args:
            a, b: int [n], who was compared.
            observed: [n, 2 or 3], how often each outcome occurred.
        """
        features, rare = self.virtual(prior)
        found = fitted(np.concatenate([self.of(a, b), features]), np.concatenate([observed, rare]))
        return replace(found, influences=found.influences[: len(a)] * (len(a) / len(found.influences)))


def _shown_covariance(whole: Floats, m: int) -> Floats:
    """Of the ratings in points, whose mean is fixed."""
    flat = np.eye(m) - 1 / m
    shown: Floats = POINTS**2 * flat @ whole[:m, :m] @ flat
    return shown


def _observed(matches: Matches, ties: Ties) -> Floats:
    if ties == "davidson":
        return matches.results
    return np.stack([matches.score, 1 - matches.score], axis=1)


def _shown(weights: Floats, m: int) -> list[float]:
    found: list[float] = (CENTRE + POINTS * (weights[:m] - weights[:m].mean())).tolist()
    return found


def _bootstrap(
    matches: Matches, design: Design, observed: Floats, prior: float, resamples: int, seed: int
) -> Floats:
    """Ratings of resampled conversations: [resamples, m]. Comparisons of the same two models are added up first."""
    codes, groups = matches.clusters
    m = len(matches.models)
    keys, pair = np.unique(matches.a * m + matches.b, return_inverse=True)
    features, rare = design.virtual(prior)
    features = np.concatenate([design.of(keys // m, keys % m), features])
    found = []
    for times in resampled(groups, resamples, seed):
        weighted = times[codes][:, None] * observed
        together = np.stack([np.bincount(pair, w, len(keys)) for w in weighted.T], axis=1)
        found.append(_shown(fit(features, np.concatenate([together, rare])), m))
    return np.array(found)
