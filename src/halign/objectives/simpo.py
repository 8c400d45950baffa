"""Simple preference optimisation: the mean log-probability as the reward, no reference."""

from torch import Tensor

from halign.objectives.contract import (
    FlipRate,
    NonNegative,
    Positive,
    logistic_loss,
    per_token,
    reference_free,
)
from halign.objectives.items import Pairs


@reference_free
def simpo(
    pairs: Pairs, *, beta: Positive = 2.0, gamma: NonNegative = 0.5, label_smoothing: FlipRate = 0.0
) -> Tensor:
    r"""Logistic loss on the difference of mean log-probabilities, less a margin.

    .. math:: -\log\sigma\left(\beta \left(\frac{\log\pi(y_w|x)}{|y_w|} - \frac{\log\pi(y_l|x)}{|y_l|}\right) - \gamma\right)

    Source: Meng et al. 2024, arXiv 2405.14734, equation 6; smoothing as in ``dpo``.

    Args:
        pairs: P pairs; uses ``chosen_logps``, ``rejected_logps`` (sums, nats) and the two ``*_lengths`` (tokens).
        beta: scale of the reward, tokens per nat. The paper's values are 2 to 10.
        gamma: the margin by which rewards should differ, after beta (the paper tunes gamma / beta).
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P], nats.

    >>> import torch
    >>> four = torch.tensor([4.0])
    >>> p = Pairs(torch.tensor([-8.0]), torch.tensor([-9.0]), chosen_lengths=four, rejected_lengths=four)
    >>> round(float(simpo(p)), 6)  # 2 * (-2 + 2.25) - 0.5 = 0, so ln 2
    0.693147
    """
    chosen, rejected = per_token(pairs, pairs.chosen_logps, pairs.rejected_logps)
    return logistic_loss(beta * (chosen - rejected) - gamma, label_smoothing)
