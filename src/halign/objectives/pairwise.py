"""Preference models that read both responses."""

import torch
from torch import Tensor

from halign.objectives.contract import FlipRate, logistic_loss
from halign.objectives.items import ValuePairs


def pairwise(pairs: ValuePairs, *, label_smoothing: FlipRate = 0.0) -> Tensor:
    r"""P(y_1 beats y_2 | x) from one reading of both responses; learnt in both orders.

    .. math:: \tfrac12 \big(\ell(f(x, y_w, y_l)) + \ell(-f(x, y_l, y_w))\big), \quad
              \ell(f) = -q \log\sigma(f) - (1-q) \log\sigma(-f)

    q is 1, or (1-e) p + e (1-p) with label smoothing e and soft labels p. What is predicted is symmetric: P(y_1 beats y_2) is the
    logistic function of (f(x, y_1, y_2) - f(x, y_2, y_1)) / 2, and so P(y_2 beats y_1) the rest. Unlike a reward, such a
    preference may be intransitive.

    Source: Jiang et al. 2023 (PairRanker), arXiv 2306.02561; the model behind SPPO's win rates, arXiv 2405.00675.

    Args:
        pairs: P pairs; uses ``chosen_values`` (f with the chosen response first), ``rejected_values`` (with the rejected one
            first) and ``preference``.
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P], nats.

    >>> pairs = ValuePairs(torch.tensor([2.0]), torch.tensor([-2.0]))
    >>> round(float(pairwise(pairs)), 4)  # log(1 + e^-2)
    0.1269
    """
    forward, backward = pairs.chosen_values, -pairs.rejected_values
    losses = (logistic_loss(forward, label_smoothing) + logistic_loss(backward, label_smoothing)) / 2
    if pairs.preference is None:
        return losses
    wrong = 1 - pairs.preference
    other = (logistic_loss(-forward, label_smoothing) + logistic_loss(-backward, label_smoothing)) / 2
    return torch.where(wrong > 0, (1 - wrong) * losses + wrong * other, losses)
