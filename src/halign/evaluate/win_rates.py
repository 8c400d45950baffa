"""How often one model's replies are better than another's: win rates of every pair that met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from halign.evaluate.intervals import Interval, advantage, bootstrap, rate
from halign.evaluate.matches import Matches
from halign.evaluate.significance import holm, sign_flip


@dataclass(frozen=True)
class WinRate:
    """A against B.

    Attributes:
        wins, losses, ties: of A, in comparisons; halves where the orders disagreed.
        rate: (wins + ties / 2) / n with its closed-form interval.
        resampled: the same with the bootstrap's interval.
        p: of the sign-flip test that neither is better.
        adjusted: p after Holm's correction over all pairs.
    """

    a: str
    b: str
    wins: float
    losses: float
    ties: float
    rate: Interval
    resampled: Interval
    p: float
    adjusted: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        plain = {k: getattr(self, k) for k in ("a", "b", "wins", "losses", "ties", "p", "adjusted")}
        return {**plain, "rate": self.rate.to_dict(), "bootstrap": self.resampled.to_dict()}


def win_rates(
    matches: Matches, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> list[WinRate]:
    """Every pair of models that met, the earlier name of ``matches.models`` as A; clustered by conversation."""
    low, high = np.minimum(matches.a, matches.b), np.maximum(matches.a, matches.b)
    turned = np.where((matches.a == low)[:, None], matches.results, matches.results[:, [1, 0, 2]])
    found = []
    for x, y in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        here = np.flatnonzero((low == x) & (high == y))
        results, clusters = turned[here], [matches.conversations[i] for i in here]
        score = (results[:, 0] + results[:, 2] / 2).tolist()
        wins, losses, ties = (float(v) for v in results.sum(0))
        found.append(
            WinRate(
                matches.models[x],
                matches.models[y],
                wins,
                losses,
                ties,
                rate=rate(score, clusters, level=level),
                resampled=bootstrap(score, clusters, level=level, resamples=resamples, seed=seed),
                p=sign_flip((results[:, 0] - results[:, 1]).tolist(), clusters, seed=seed),
                adjusted=1.0,
            )
        )
    adjusted = holm([w.p for w in found])
    return [replace(w, adjusted=p) for w, p in zip(found, adjusted, strict=True)]


def winning_score(
    advantages: Sequence[float], conversations: Sequence[str], *, level: float = 0.95
) -> Interval:
    """(wins - losses) / N + 1, from 0 to 2, 1 where neither is better (AlpaGasus, arXiv 2307.08701, section 4), clustered.

    Args:
        advantages: [N] in [-1, 1]: 1 a win, -1 a loss, 0 a tie.
    """
    i = advantage(advantages, conversations, level=level)
    return Interval(1 + i.value, max(0.0, 1 + i.low), min(2.0, 1 + i.high), i.n, i.clusters)
