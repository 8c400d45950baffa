"""Logistic regression on probabilities with an absolute-value penalty, and the difficulty of instructions by a joint fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from halign.errors import HalignError
from halign.evaluate.clusters import Floats

STRENGTHS = np.logspace(-4, 4, 10)
"""Among which cross-validation chooses (scikit-learn's default grid, which AlpacaEval uses)."""


def penalised_logistic(x: Floats, y: Floats, weight: Floats, *, strength: float) -> Floats:
    """The w that minimises |w|_1 + C sum_i weight_i CE(y_i, sigmoid(x_i . w)): float64 [p].

    Args:
        x: [n, p]; a constant column is penalised like any other.
        y: [n], probabilities.
        weight: [n], not negative.
        strength: C; larger penalises less.
    """
    p = x.shape[1]

    def loss(both: Floats) -> tuple[float, Floats]:  # w = up - down, both at least 0, so that |w| is a sum
        z = x @ (both[:p] - both[p:])
        value = strength * float(weight @ (np.logaddexp(0, z) - y * z)) + float(both.sum())
        slope = strength * x.T @ (weight * (expit(z) - y))
        return value, np.concatenate([slope + 1, 1 - slope])

    found = minimize(
        loss,
        np.zeros(2 * p),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * p),
        options={"ftol": 1e-15, "gtol": 1e-9 * max(1.0, strength), "maxiter": 1000},
    )
    solution: Floats = found.x[:p] - found.x[p:]
    return solution


def chosen_strength(x: Floats, y: Floats, weight: Floats, *, folds: int = 5) -> float:
    """The C with the smallest mean over folds of a held-out fold's mean weighted cross-entropy; of equal ones the smallest.

    Row i is held out with fold (n - 1 - i) mod ``folds``.
    """
    fold = (len(y) - 1 - np.arange(len(y))) % folds
    losses = []
    for strength in STRENGTHS:
        of = []
        for f in range(min(folds, len(y))):
            inside, outside = fold != f, fold == f
            w = penalised_logistic(x[inside], y[inside], weight[inside], strength=float(strength))
            z = x[outside] @ w
            of.append(np.mean(weight[outside] * (np.logaddexp(0, z) - y[outside] * z)))
        losses.append(np.mean(of))
    return float(STRENGTHS[int(np.argmin(losses))])


def instruction_difficulty(preferences: ArrayLike, lengths: ArrayLike, *, ridge: float = 1.0) -> Floats:
    """g_x for the length-controlled model with difficulty, from M models' verdicts on N instructions: float64 [N], mean 0.

    One joint fit of sigmoid(bias_m + length_m tanh(d_mx) + g_x), penalised by ridge/2 |g|^2. Higher: models do better against the
    baseline there. AlpacaEval's published g_x are of such a fit on its models of early 2024, with an absolute-value penalty;
    they are not in its repository, so numbers made with these differ from the leaderboard's a little.

    Args:
        preferences: [M, N] in [0, 1], NaN where there is none.
        lengths: [M, N], d / s of each model.

    Raises:
        HalignError: shapes differ, or a single model.
    """
    y, d = np.asarray(preferences, dtype=float), np.tanh(np.asarray(lengths, dtype=float))
    if y.shape != d.shape or y.ndim != 2 or len(y) < 2:
        raise HalignError(
            f"difficulty needs verdicts on two models or more, [M, N] each; got {y.shape}, {d.shape}"
        )
    seen = ~np.isnan(y)
    y, d, (m, n) = np.where(seen, y, 0.0), np.where(seen, d, 0.0), y.shape

    def loss(w: Floats) -> tuple[float, Floats]:
        bias, length, g = w[:m], w[m : 2 * m], w[2 * m :]
        z = bias[:, None] + length[:, None] * d + g
        gap = np.where(seen, expit(z) - y, 0.0)
        # a faint pull on the other weights keeps those of a model that never won finite
        value = float(np.where(seen, np.logaddexp(0, z) - y * z, 0.0).sum()) + ridge / 2 * float(g @ g)
        value += 5e-4 * float(w[: 2 * m] @ w[: 2 * m])
        slope = np.concatenate([gap.sum(1), (gap * d).sum(1), gap.sum(0) + ridge * g])
        slope[: 2 * m] += 1e-3 * w[: 2 * m]
        return value, slope

    found = minimize(loss, np.zeros(2 * m + n), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    g: Floats = found.x[2 * m :]
    return g - g.mean()
