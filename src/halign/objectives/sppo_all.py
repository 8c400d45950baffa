"""Self-play preference optimisation, on all of a prompt's samples."""

import torch
from torch import Tensor

from halign.objectives.contract import Positive, monitored, needs, probabilities, required
from halign.objectives.items import Lists
from halign.objectives.lists import tidied
from halign.objectives.sppo import out_of_reach


def unreachable(lists: Lists, *, beta: float) -> dict[str, Tensor]:
    """``sppo_unreachable``: the share of each list's responses whose target is out of reach, [L]."""
    lists = tidied(lists)
    rates, ref_logps, mask = required(lists, "rewards", "ref_logps", "mask")
    return {"sppo_unreachable": (out_of_reach(rates, ref_logps, beta) * mask).sum(1) / mask.sum(1)}


@monitored(unreachable)
@needs("rewards", within=(0.0, 1.0))
def sppo_all(lists: Lists, *, beta: Positive = 0.001) -> Tensor:
    r"""Each sample's log-ratio is drawn to how much more often than not it beats the samples of its prompt.

    .. math:: \operatorname{mean}_{k} \left(D_k - \frac{p_k - 1/2}{\beta}\right)^2

    Source: Wu et al. 2024, arXiv 2405.00675, equation 4.7 and algorithm 1, with all K samples as in the paper's text; its code
    keeps the best and the worst (``sppo``, which this equals for K = 2). See there on targets that cannot be reached.

    Args:
        lists: L lists; uses ``logps``, ``ref_logps`` (sums, nats) and, as win rates, ``rewards``: the mean over the K samples
            of the probability of beating each, 1/2 against itself. Order and ranks play no part.
        beta: one over the step size of the self-play, per nat.

    Returns:
        float32 [L], nats squared.

    Raises:
        ValueError: if a win rate is outside [0, 1].

    >>> t = torch.tensor
    >>> lists = Lists(t([[-7.0, -8.0, -9.0]]), t([[-8.0, -8.0, -8.0]]), rewards=t([[0.75, 0.5, 0.25]]))
    >>> round(float(sppo_all(lists, beta=0.125)), 6)  # the mean of (1 - 2)^2, 0 and (-1 - -2)^2
    0.666667
    """
    lists = tidied(lists)
    ref_logps, rates, mask = required(lists, "ref_logps", "rewards", "mask")
    probabilities("Lists.rewards (win rates)", rates)
    errors = (lists.logps - ref_logps - (rates - 0.5) / beta).square()
    return torch.where(mask, errors, 0.0).sum(1) / mask.sum(1)
