"""From rewards to advantages: what policy gradients weigh the tokens of their replies by. Pure functions on numpy arrays.

A reply's tokens are an array [n]; several replies are a list of them, or one number each in an array [N].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Array = np.ndarray
EPSILON = 1e-8
"""Added to a variance before its root is divided by."""
GROUP_EPSILON = 1e-4
"""Added to the standard deviation of a group, as in TRL: rewards that differ by rounding are not blown up."""
Scale = Literal["group", "none", "batch"]


def token_rewards(logps: Array, ref_logps: Array, score: float, beta: float) -> Array:
    r"""Rewards of one reply's tokens, float64 [n]: :math:`-\beta (\log\pi - \log\pi_\mathrm{ref})` each, the score on the last.

    Source: Ziegler et al. 2019, arXiv 1909.08593, equation 2, spread over tokens as in their code and in InstructGPT.

    >>> token_rewards(np.array([-1.0, -2.0]), np.array([-2.0, -2.5]), 1.0, 0.1).tolist()
    [-0.1, 0.95]
    """
    rewards = -beta * (np.asarray(logps, dtype=np.float64) - np.asarray(ref_logps, dtype=np.float64))
    rewards[-1] += score
    return rewards


def gae(rewards: Array, values: Array, *, discount: float, gae_lambda: float) -> tuple[Array, Array]:
    r"""Generalised advantage estimates of one reply's tokens, and the returns that the critic learns.

    .. math:: \delta_t = r_t + \gamma V_{t+1} - V_t, \quad A_t = \sum_{l \ge 0} (\gamma\lambda)^l \delta_{t+l},
              \quad R_t = A_t + V_t

    The value after the last token is 0: a reply is over there, whether or not it was cut off.

    Source: Schulman et al. 2016, arXiv 1506.02438, equation 16.

    Args:
        rewards, values: [n]; ``values[t]`` is of the state before token t.

    Returns:
        (advantages, returns), float64 [n] each.

    >>> advantages, returns = gae(np.array([0.0, 1.0]), np.array([0.5, 0.4]), discount=1.0, gae_lambda=0.5)
    >>> advantages.round(3).tolist(), returns.round(3).tolist()  # deltas -.1 and .6
    ([0.2, 0.6], [0.7, 1.0])
    """
    values = np.asarray(values, dtype=np.float64)
    deltas = np.asarray(rewards, dtype=np.float64) + discount * np.append(values[1:], 0.0) - values
    advantages = np.empty_like(deltas)
    following = 0.0
    for t in reversed(range(len(deltas))):
        following = deltas[t] + discount * gae_lambda * following
        advantages[t] = following
    return advantages, advantages + values


def whiten(parts: Sequence[Array], *, shift_mean: bool = True) -> list[Array]:
    """All numbers together scaled to variance 1, and shifted to mean 0 unless ``shift_mean`` is False, which leaves their mean.

    The variance is the population's, as in lm-human-preferences. Numbers that are all the same become 0 (or stay).

    >>> [p.round(3).tolist() for p in whiten([np.array([1.0]), np.array([3.0, 5.0])])]
    [[-1.225], [0.0, 1.225]]
    >>> [p.round(3).tolist() for p in whiten([np.array([1.0]), np.array([3.0, 5.0])], shift_mean=False)]
    [[1.775], [3.0, 4.225]]
    """
    joined = np.concatenate([np.asarray(p, dtype=np.float64) for p in parts])
    mean, spread = joined.mean(), np.sqrt(joined.var() + EPSILON)
    return [(p - mean) / spread + (0.0 if shift_mean else mean) for p in parts]


def clip_scores(scores: Array, limit: float | None) -> Array:
    """Scores cut at +- ``limit``; None: as they are."""
    return scores if limit is None else np.clip(scores, -limit, limit)


def leave_one_out(rewards: Array, groups: Sequence[int]) -> Array:
    r"""Each reward less the mean of the *other* rewards of its group, float64 [N].

    .. math:: A_i = R_i - \frac{1}{k - 1} \sum_{j \ne i} R_j

    The baseline does not depend on the reply itself, so the gradient stays unbiased.

    Source: Kool et al. 2019; Ahmadian et al. 2024 (RLOO), arXiv 2402.14740, equation 7.

    Raises:
        ValueError: if a group is of one.

    >>> leave_one_out(np.array([1.0, 2.0, 6.0, 4.0, 4.0]), [0, 0, 0, 1, 1]).tolist()
    [-3.0, -1.5, 4.5, 0.0, 0.0]
    """
    codes, counts = _groups(groups)
    if (counts < 2).any():
        raise ValueError("a group of one has no others to compare with")
    rewards = np.asarray(rewards, dtype=np.float64)
    others = (np.bincount(codes, rewards)[codes] - rewards) / (counts[codes] - 1)
    return rewards - others


def group_relative(rewards: Array, groups: Sequence[int], *, scale: Scale = "group") -> Array:
    r"""Each reward less its group's mean, divided by a standard deviation, float64 [N].

    .. math:: A_i = (R_i - \bar R) / (s + 10^{-4})

    Where ``scale`` is ``group``, s is the sample's standard deviation (over k - 1) within the group: GRPO, Shao et al. 2024,
    arXiv 2402.03300. ``batch`` takes all rewards' of the batch, ``none`` divides by nothing (Dr. GRPO, Liu et al. 2025, arXiv
    2503.20783): that advantage is (k - 1) / k times ``leave_one_out``'s.

    Raises:
        ValueError: if a group is of one.

    >>> group_relative(np.array([1.0, 3.0, 5.0, 5.0]), [0, 0, 1, 1], scale="none").tolist()
    [-1.0, 1.0, 0.0, 0.0]
    >>> group_relative(np.array([1.0, 3.0, 5.0, 5.0]), [0, 0, 1, 1]).round(3).tolist()
    [-0.707, 0.707, 0.0, 0.0]
    """
    codes, counts = _groups(groups)
    if (counts < 2).any():
        raise ValueError("a group of one has no mean to compare with")
    rewards = np.asarray(rewards, dtype=np.float64)
    centred = rewards - (np.bincount(codes, rewards) / counts)[codes]
    if scale == "none":
        return centred
    if scale == "batch":
        return centred / (rewards.std(ddof=1) + GROUP_EPSILON)
    spread = np.sqrt(np.bincount(codes, centred**2) / (counts - 1))
    return centred / (spread[codes] + GROUP_EPSILON)


def running_baseline(
    rewards: Array, before: tuple[float, float], *, decay: float
) -> tuple[Array, tuple[float, float]]:
    r"""Each reward less the mean of *earlier* batches' rewards, and what to remember for the next batch.

    The mean of batch means :math:`m_j` in which older ones count less, :math:`b = \sum_j d^{\,i-j} m_j / \sum_j d^{\,i-j}`,
    does not
    depend on the replies at hand, so the gradient stays unbiased. The first batch has nothing before it: each reward is
    compared with the mean of the batch's others (0 where there are none).

    Source: Williams 1992 (REINFORCE with a baseline).

    Args:
        rewards: [N].
        before: (weighted sum of means, sum of weights); (0, 0) at first.
        decay: d in [0, 1]; 1 is the plain mean over all batches.

    >>> advantages, memory = running_baseline(np.array([1.0, 3.0]), (0.0, 0.0), decay=0.5)
    >>> advantages.tolist(), memory
    ([-2.0, 2.0], (2.0, 1.0))
    >>> advantages, memory = running_baseline(np.array([5.0]), memory, decay=0.5)
    >>> advantages.tolist(), memory
    ([3.0], (6.0, 1.5))
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    total, weight = before
    if weight:
        advantages = rewards - total / weight
    else:
        advantages = (
            leave_one_out(rewards, [0] * len(rewards)) if len(rewards) > 1 else np.zeros(len(rewards))
        )
    return advantages, (decay * total + float(rewards.mean()), decay * weight + 1.0)


def explained_variance(values: Array, returns: Array) -> float:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for one that says the same everywhere; 0 where the
    returns do not vary.

    >>> explained_variance(np.array([1.0, 2.0]), np.array([1.0, 2.0])), explained_variance(np.ones(2), np.array([1.0, 2.0]))
    (1.0, 0.0)
    """
    variance = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / variance if variance > 0 else 0.0


def _groups(groups: Sequence[int]) -> tuple[Array, Array]:
    """Groups numbered from 0, int64 [N], and how many are in each."""
    _, codes, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return codes, counts
