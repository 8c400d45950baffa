"""The conditional logit model: which of a few outcomes occurs, by linear utilities. Ratings, style and bias are cases of it.

Comparison i has outcomes a = 1 ... A with features x_ia, and P(a) = exp(x_ia . w) / sum_b exp(x_ib . w) (McFadden 1974). With two
outcomes and x = (+d/2, -d/2) it is logistic regression on d without an intercept; with one column per model it is
Bradley-Terry; with a third outcome for ties, Davidson's model.

What is observed of a comparison may be soft (half a win each): then this is the quasi-likelihood with that mean, and the
sandwich is what makes its intervals right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from halign.errors import HalignError
from halign.evaluate.clusters import Codes, Floats, covariance

_STEPS, _TOLERANCE = 100, 1e-10
_NOTHING = 1e-11  # of the largest eigenvalue
_FAR = 35.0  # nats between two outcomes: a probability of 1e-15, which no data show


@dataclass(frozen=True)
class Fitted:
    """Maximum of the (quasi-)likelihood.

    Attributes:
        weights: float64 [p]. Where shifting some of them together changes nothing (all ratings by a constant), the shortest.
        influences: float64 [n, p], of each observation on the weights: H^-1 times its score, times n.
        log_likelihood: nats, summed.
        information: float64 [p, p], the negative Hessian H at the maximum.
    """

    weights: Floats
    influences: Floats
    log_likelihood: float
    information: Floats

    def covariance(self, codes: Codes, groups: int) -> Floats:
        """Cluster-robust (sandwich) covariance of the weights: float64 [p, p]."""
        return covariance(self.influences, codes, groups)


def fit(features: Floats, observed: Floats, *, ridge: float = 0.0) -> Floats:
    """The weights that make ``observed`` most likely, by Newton's method with step halving: float64 [p].

    Args:
        features: [n, A, p].
        observed: [n, A], how often each outcome occurred; any non-negative numbers.
        ridge: adds -ridge/2 |w|^2 to the log-likelihood.

    Raises:
        HalignError: if there is no finite maximum (some outcome is foretold without error).
    """
    w = np.zeros(features.shape[2])
    value, gradient, hessian = _at(w, features, observed, ridge)
    for _ in range(_STEPS):
        step = inverse(hessian) @ gradient
        size = 1.0
        while True:
            new = _at(w + size * step, features, observed, ridge)
            if new[0] >= value - 1e-12 * abs(value) or size < 1e-8:
                break
            size /= 2
        w, (value, gradient, hessian) = w + size * step, new
        utilities = features @ w
        if np.ptp(utilities, axis=1).max() > _FAR:
            break
        if np.abs(size * step).max() < _TOLERANCE:
            return w
    raise HalignError(
        "no finite estimate: some outcome is foretold without error (such as a model that never lost); "
        "set prior= to a small number such as 0.1, or gather more comparisons"
    )


def fitted(features: Floats, observed: Floats, *, ridge: float = 0.0) -> Fitted:
    """``fit`` with what intervals are made of. Every row is one observation.

    Raises:
        HalignError: as ``fit``.
    """
    w = fit(features, observed, ridge=ridge)
    value, _, hessian = _at(w, features, observed, ridge)
    p = probabilities(features, w)
    scores = np.einsum("na,nap->np", observed - observed.sum(1, keepdims=True) * p, features)
    influences = len(features) * scores @ inverse(hessian)
    return Fitted(w, influences, value, hessian)


def inverse(information: Floats) -> Floats:
    """The pseudo-inverse, [p, p]. Directions in which nothing is known have eigenvalues of rounding's size, not of 0: numpy's own
    threshold, p times the machine's epsilon, lets some of them through, depending on the processor.
    """
    found = np.linalg.pinv(information, rcond=_NOTHING, hermitian=True)
    return found.astype(np.float64, copy=False)


def probabilities(features: Floats, weights: Floats) -> Floats:
    """P(outcome) of each comparison: float64 [n, A], rows sum to 1."""
    u = features @ weights
    found: Floats = np.exp(u - logsumexp(u, axis=1, keepdims=True))
    return found


def binary(differences: Floats) -> Floats:
    """Features of two outcomes whose utilities differ by d . w: [n, p] -> [n, 2, p]."""
    return np.stack([differences / 2, -differences / 2], axis=1)


def _at(w: Floats, features: Floats, observed: Floats, ridge: float) -> tuple[float, Floats, Floats]:
    """Log-likelihood, its gradient [p] and negative Hessian [p, p]."""
    u = features @ w
    logs = u - logsumexp(u, axis=1, keepdims=True)
    p, n = np.exp(logs), observed.sum(1)
    value = float((observed * logs).sum()) - ridge / 2 * float(w @ w)
    gradient = np.einsum("na,nap->p", observed - n[:, None] * p, features) - ridge * w
    centred = features - np.einsum("na,nap->np", p, features)[:, None]
    weighted = centred * (n[:, None] * p)[:, :, None]
    flat = features.shape[2]
    hessian = weighted.reshape(-1, flat).T @ centred.reshape(-1, flat) + ridge * np.eye(flat)
    return value, gradient, hessian
