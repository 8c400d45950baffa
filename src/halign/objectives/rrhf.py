"""Rank responses to align with human feedback (RRHF)."""

import torch
from torch import Tensor

from halign.objectives.contract import NonNegative, reference_free, required
from halign.objectives.items import Lists
from halign.objectives.lists import best, tidied, worse


@reference_free
def rrhf(lists: Lists, *, length_penalty: NonNegative = 1.0, sft_weight: NonNegative = 1.0) -> Tensor:
    r"""No response should be likelier, per token, than a better one; and the best is imitated.

    .. math:: \sum_{r_i < r_j} \max(0, p_i - p_j) - w\, s_\mathrm{best}, \quad p = s / n^\alpha

    Source: Yuan et al. 2023, arXiv 2304.05302. Its released code divides by the padded length, which is a
    mistake and not offered. There is no margin: responses in the right order have no gradient but the best's.

    Args:
        lists: L lists; uses ``logps`` (sums, nats), ``lengths`` (tokens), and ``rewards``, or ``ranks`` where None. Equally good
            responses are not compared; of several best the first is imitated.
        length_penalty: alpha; 1 makes p a mean per token, 0 leaves the sum.
        sft_weight: w, of the best response's negative log-likelihood (the sum over its tokens).

    Returns:
        float32 [L], nats.

    >>> t = torch.tensor
    >>> lists = Lists(t([[-8.0, -3.0]]), lengths=t([[4.0, 3.0]]))
    >>> rrhf(lists).tolist()  # -1 - -2, and 8
    [9.0]
    """
    lists = tidied(lists)
    lengths, ranks, mask = required(lists, "lengths", "ranks", "mask")
    merit = -ranks if lists.rewards is None else lists.rewards
    p = lists.logps / lengths**length_penalty
    excess = torch.relu(p[:, None, :] - p[:, :, None])  # how far j is above k
    ranking = torch.where(worse(merit, mask), excess, 0.0).sum((1, 2))
    return ranking - sft_weight * lists.logps.gather(1, best(merit, mask)).squeeze(1)
