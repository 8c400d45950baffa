"""How many comparisons are enough, and which: a comparison ends when every interval asked for is narrow enough.

Two models. A is compared with B on prompts in random order until the half-width of the advantage's interval is at most h. The
rule is Chow and Robbins' (1965, Ann. Math. Statist. 36): the variance of the mean gets 1/n^2 added, so that a run of equal
verdicts at the beginning, whose variance is 0, does not end it. The interval reported is the ordinary one, without that
addition. Looking after every chunk costs little coverage, since what ends the job is the spread and not the sign;
``docs/log.md`` has simulated figures.

More models. Verdicts are y = (1 + advantage) / 2 in [0, 1], and strengths s follow Bradley and Terry: P(i beats j) = sigma(s_i
- s_j), fitted by quasi-likelihood with half a tie added to every pair, which keeps strengths finite. The variance of strengths
is the sandwich clustered by conversation. A pair's advantage is 2 P - 1 = tanh((s_i - s_j) / 2); its half-width comes by the
delta method, with 1/n^2 added to the variance, n being the number of direct comparisons that are worth as much (the inverse
resistance between i and j in the network of comparisons). The next pair is the one whose information narrows the widest
interval most: the one with the largest (c' V x)^2 w / (1 + w x' V x), where V is the inverse information, c the widest
contrast, x that of the candidate and w = P (1 - P). Prompts with the fewest comparisons come first.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from halign.evaluate.bradley_terry import Design
from halign.evaluate.clusters import coded
from halign.evaluate.intervals import Interval

Pair = tuple[int, int]
TIE = 0.5
"""Weight of the tie that is added to every pair."""


def half_width(interval: Interval, level: float = 0.95) -> float:
    """Half of an interval by the rule above: of its standard error with 1/n^2 added to the variance, n being its conversations.

    >>> round(half_width(Interval(0.0, -0.1, 0.1, 50, 50)), 4)
    0.1078
    """
    t = float(stats.t.ppf((1 + level) / 2, max(1, interval.clusters - 1)))
    return float(np.hypot((interval.high - interval.low) / 2, t / interval.clusters))


@dataclass
class Observed:
    """Comparisons so far on one dimension: P pairs of models, their y in [0, 1], their conversations."""

    pairs: list[Pair] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    conversations: list[Hashable] = field(default_factory=list)

    def add(self, pair: Pair, advantage: float, conversation: Hashable) -> None:
        """One comparison; its advantage is in [-1, 1]."""
        self.pairs.append(pair)
        self.values.append((1 + advantage) / 2)
        self.conversations.append(conversation)

    @property
    def rows(self) -> list[tuple[Pair, float, Hashable]]:
        """(pair, y, conversation) of each comparison."""
        return list(zip(self.pairs, self.values, self.conversations, strict=True))


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths of N models.

    Attributes:
        values: [N], sum 0; a difference is a log-odds.
        covariance: [N, N], the sandwich clustered by conversation; 0 where fewer than two conversations show no spread.
        information: [N, N], of the quasi-likelihood.
        counts: [N, N], comparisons of each pair.
        conversations: how many.
    """

    values: np.ndarray
    covariance: np.ndarray
    information: np.ndarray
    counts: np.ndarray
    conversations: int

    def advantage(self, i: int, j: int, level: float = 0.95) -> Interval:
        """P(i better) - P(j better) under the model, and its interval by the delta method; of one conversation, all there is."""
        value = float(np.tanh((self.values[i] - self.values[j]) / 2))
        if self.conversations < 2:
            return Interval(value, -1.0, 1.0, int(self.counts[i, j]), self.conversations)
        x = contrast(len(self.values), (i, j))
        spread = (1 - value**2) / 2 * float(x @ self.covariance @ x) ** 0.5
        half = float(stats.t.ppf((1 + level) / 2, self.conversations - 1)) * spread
        compared = int(self.counts[i, j])
        return Interval(value, max(-1.0, value - half), min(1.0, value + half), compared, self.conversations)

    def half_width(self, i: int, j: int, level: float = 0.95) -> float:
        """Half of ``advantage``'s interval by the rule above, which a beginning without spread does not satisfy."""
        laplacian = np.diag(self.counts.sum(1)) - self.counts
        x = contrast(len(self.values), (i, j))
        inverse = np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True)
        if self.conversations < 2 or np.abs(laplacian @ inverse @ x - x).max() > 1e-6:
            return float("inf")  # no spread to see, or nothing connects the two
        worth = 1 / float(x @ inverse @ x)
        value = np.tanh((self.values[i] - self.values[j]) / 2)
        variance = ((1 - value**2) / 2) ** 2 * float(x @ self.covariance @ x) + 1 / worth**2
        return float(stats.t.ppf((1 + level) / 2, self.conversations - 1) * variance**0.5)


def contrast(models: int, pair: Pair) -> np.ndarray:
    """[N]: +1 at the first of the pair, -1 at the second."""
    x = np.zeros(models)
    x[pair[0]], x[pair[1]] = 1.0, -1.0
    return x


def strengths(observed: Observed, models: int) -> Strengths:
    """The quasi-likelihood fit (module docstring) by the design that ratings are fitted with (``bradley_terry``).

    Raises:
        HalignError: it does not converge, which half a tie a pair should exclude.
    """
    pairs, y = np.array(observed.pairs, dtype=np.int64).reshape(-1, 2), np.array(observed.values)
    found = Design(models, "half").fitted(pairs[:, 0], pairs[:, 1], np.stack([y, 1 - y], axis=1), TIE)
    codes, groups = coded(observed.conversations)
    spread = found.covariance(codes, groups) if groups > 1 else np.zeros((models, models))
    counts = np.zeros((models, models))
    np.add.at(counts, (pairs, pairs[:, ::-1]), 1)
    return Strengths(found.weights - found.weights.mean(), spread, found.information, counts, groups)


def next_pairs(
    found: Strengths, needed: Sequence[Pair], open_pairs: Sequence[Sequence[Pair]]
) -> list[Pair | None]:
    """For each prompt in turn the pair to compare on it: of those still open there, the one that narrows the widest of the needed
    intervals most. What the pairs before are expected to add is counted in. None where no pair is open.

    Spreads are those of the model, times what the sandwich says they are more or less than that.
    """
    models = len(found.values)
    inverse = _inverse(found.information)
    slopes = {p: 4 * _weight(found, p) / 2 for p in needed}
    factors = {p: _factor(found, inverse, p) for p in needed}
    chosen: list[Pair | None] = []
    for candidates in open_pairs:
        spread = {p: slopes[p] ** 2 * factors[p] * _quadratic(inverse, contrast(models, p)) for p in needed}
        c = contrast(models, max(needed, key=lambda p: spread[p]))
        gains = {p: _gain(found, inverse, c, p) for p in candidates}
        best = max(candidates, key=lambda p: gains[p]) if candidates else None
        if best is not None:
            x = contrast(models, best)
            seen, weight = inverse @ x, _weight(found, best)
            inverse = inverse - np.outer(seen, seen) * weight / (1 + weight * float(x @ seen))
        chosen.append(best)
    return chosen


def _gain(found: Strengths, inverse: np.ndarray, c: np.ndarray, pair: Pair) -> float:
    """By how much one more comparison of the pair narrows the variance of c's contrast (Sherman and Morrison)."""
    x, weight = contrast(len(found.values), pair), _weight(found, pair)
    return float(c @ inverse @ x) ** 2 * weight / (1 + weight * _quadratic(inverse, x))


def _factor(found: Strengths, inverse: np.ndarray, pair: Pair) -> float:
    """Variance of a contrast by the sandwich over that by the model; 1 before there is any."""
    x = contrast(len(found.values), pair)
    sandwich = _quadratic(found.covariance, x)
    return sandwich / _quadratic(inverse, x) if sandwich > 0 else 1.0


def _quadratic(matrix: np.ndarray, x: np.ndarray) -> float:
    return float(x @ matrix @ x)


def _inverse(information: np.ndarray) -> np.ndarray:
    """The pseudo-inverse of a connected network's information, whose only null direction is that all strengths shift alike."""
    shift = np.full_like(information, 1 / len(information))
    inverse: np.ndarray = np.linalg.inv(information + shift) - shift
    return inverse


def _weight(found: Strengths, pair: Pair) -> float:
    p = 1 / (1 + np.exp(-(found.values[pair[0]] - found.values[pair[1]])))
    return float(p * (1 - p))
