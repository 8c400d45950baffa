"""Reward models from whole orders."""

import torch
from torch import Tensor

from halign.objectives.items import ValueLists
from halign.objectives.lists import choice_loss
from halign.objectives.values import compared, tidied_values


def plackett_luce(lists: ValueLists) -> Tensor:
    r"""A ranking is made by choosing, from the best down, among what is left, in proportion to e to the power of the reward.

    .. math:: \sum_k -\log \frac{e^{r_k}}{e^{r_k} + \sum_{j \text{ worse than } k} e^{r_j}}

    A pair with a soft label p is p times this for the one order plus 1 - p times this for the other.

    Source: Plackett 1975 and Luce 1959; for preferences between responses Rafailov et al. 2023, arXiv 2305.18290, appendix A.3.
    For pairs it is ``reward`` with its defaults.

    Args:
        lists: L lists; uses ``values``, ``ranks``, ``mask`` and ``preference``. Responses that tie are not compared with each
            other.

    Returns:
        float32 [L], nats: minus the log-probability of the order.

    >>> lists = ValueLists(torch.zeros(1, 3))
    >>> bool(torch.isclose(plackett_luce(lists)[0], torch.tensor(6.0).log()))  # 3! orders, all as likely
    True
    """
    lists = tidied_values(lists)
    pairs, ahead = compared(lists)
    losses = choice_loss(-ahead, pairs).sum(1)
    if lists.preference is None:
        return losses
    # of two, -log sigma(-h) is h more than -log sigma(h)
    other_way = (ahead * pairs).sum((1, 2))
    return losses + torch.where(lists.preference < 1, (1 - lists.preference) * other_way, 0.0)
