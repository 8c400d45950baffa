"""What can be had from a model without training it, estimated from a pool of its own samples: best-of-n, and the optimum of
KL-regularised reward. And how often one model's replies beat another's.

A pool is N independent samples y_1 ... y_N of the reference for each prompt, with their rewards r_i. Everything here is for
one prompt; means over prompts, with intervals clustered by conversation, are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, gammaln, softmax

from halign.errors import HalignError

Floats = NDArray[np.float64]


def best_of_weights(size: int, n: int) -> Floats:
    """P(the k-th smallest of a pool is the largest of n drawn from it without replacement), k = 1 ... ``size``: float64 [size].

    C(k-1, n-1) / C(size, n), the law of a subset's maximum.

    >>> best_of_weights(4, 2).round(4).tolist()
    [0.0, 0.1667, 0.3333, 0.5]

    Raises:
        HalignError: unless 1 <= n <= size.
    """
    if not 1 <= n <= size:
        raise HalignError(
            f"best of {n} needs a pool of at least {max(n, 1)} samples, and n of at least 1; got {size}"
        )
    k = np.arange(n, size + 1, dtype=float)
    log = _log_choose(k - 1, n - 1) - _log_choose(np.float64(size), n)
    return np.concatenate([np.zeros(n - 1), np.exp(log)])


def best_of_n(chosen_by: ArrayLike, values: ArrayLike, n: int) -> float:
    """Expected value of the best of n samples, from a pool of N: the mean over all C(N, n) subsets of the pool.

    The best is the one with the highest ``chosen_by``; of equal ones each is as likely. A U-statistic: unbiased for n <= N, and
    without the noise that resampling would add.

    Args:
        chosen_by: [N], by which the best is chosen (a learned reward, or the true one).
        values: [N], what is averaged (the same, or the true reward).

    >>> round(best_of_n([1.0, 3.0, 2.0], [1.0, 3.0, 2.0], 2), 4)
    2.6667
    """
    keys, inverse = np.unique(np.asarray(chosen_by, dtype=float), return_inverse=True)
    weights = best_of_weights(len(inverse), n)
    order = np.sort(inverse)
    each = np.bincount(order, weights=weights, minlength=len(keys)) / np.bincount(order)
    return float(each[inverse] @ np.asarray(values, dtype=float))


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1)/n nats: an upper bound on KL(best-of-n || reference) of one reply (Beirami et al. 2024, arXiv 2401.01879),
    and its value where no two replies have the same reward.

    >>> best_of_n_kl(1), round(best_of_n_kl(4), 4)
    (0.0, 0.6363)
    """
    return math.log(n) - (n - 1) / n


@dataclass(frozen=True, slots=True)
class Tilted:
    """The optimum at one prompt and beta, estimated.

    Attributes:
        reward: E[r] under it.
        kl: KL from the reference, nats per reply.
        effective: effective sample size 1 / sum w^2, from 1 to N.
    """

    reward: float
    kl: float
    effective: float


def tilted(rewards: ArrayLike, beta: float, chosen_by: ArrayLike | None = None) -> Tilted:
    """pi*(y) proportional to pi_ref(y) exp(r(y) / beta), the maximiser of E[r] - beta KL(pi || pi_ref), estimated from a pool.

    Self-normalised importance sampling with w_i = exp(r_i / beta) / sum_j exp(r_j / beta): E*[r] is estimated by sum w_i r_i, and
    KL(pi* || pi_ref) = E*[r] / beta - log Z by sum w_i log(N w_i). Exact for a pool that holds every reply in proportion; with
    random pools both are consistent and on average too small, and so is the reward for a given KL: what is in reach of the
    pool's own empirical distribution is a concave function of that distribution, so its mean lies below the truth (Jensen).
    ``jackknifed`` takes most of that away.

    Args:
        rewards: [N] of the pool, averaged.
        beta: strength of the KL penalty, in units of ``chosen_by``; > 0.
        chosen_by: [N], the reward that tilts; None: ``rewards``.

    >>> t = tilted([0.0, 1.0], beta=1 / math.log(3))
    >>> round(t.reward, 6), round(t.kl, 6), round(t.effective, 6)
    (0.75, 0.130812, 1.6)

    Raises:
        HalignError: if beta is not above 0.
    """
    r, by = _tilting(rewards, beta, chosen_by)
    w = softmax(by / beta)
    return Tilted(float(w @ r), math.log(len(r)) - float(entr(w).sum()), float(1 / (w @ w)))


def jackknifed(rewards: ArrayLike, beta: float, chosen_by: ArrayLike | None = None) -> Tilted:
    """``tilted`` without the part of its bias that goes as 1/N: N t - (N - 1) mean of the t of the N pools with one sample left
    out (Quenouille 1956). Good for effective sample sizes of about ten and more; far below, it overshoots.

    Raises:
        HalignError: if beta is not above 0, or for a pool of one.
    """
    r, by = _tilting(rewards, beta, chosen_by)
    n = len(r)
    if n < 2:
        raise HalignError("a pool of one sample cannot do without one; set pool= to 2 or more")
    whole = tilted(r, beta, by)
    w = softmax(np.where(np.eye(n, dtype=bool), -np.inf, by / beta), axis=1)  # row j: without sample j
    reward = n * whole.reward - (n - 1) * float((w @ r).mean())
    kl = n * whole.kl - (n - 1) * (math.log(n - 1) - float(entr(w).sum(axis=1).mean()))
    return Tilted(reward, kl, whole.effective)


def win_rate(reward: float, others: Sequence[float] | Floats) -> float:
    """Share of the other replies to the same prompt with a lower reward; equal ones count half.

    >>> win_rate(0.5, [0.0, 0.5, 1.0, 0.25])
    0.625
    """
    against = np.asarray(others, dtype=float)
    return float(np.mean((reward > against) + 0.5 * (reward == against)))


def _tilting(rewards: ArrayLike, beta: float, chosen_by: ArrayLike | None) -> tuple[Floats, Floats]:
    if not beta > 0:
        raise HalignError(f"beta: {beta:g} is not above 0; the optimum at beta 0 has no finite KL in general")
    r = np.asarray(rewards, dtype=float)
    return r, r if chosen_by is None else np.asarray(chosen_by, dtype=float)


def _log_choose(n: Floats | np.float64, k: int) -> Floats | np.float64:
    found: Floats | np.float64 = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found
