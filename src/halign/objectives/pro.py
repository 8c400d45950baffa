"""Preference ranking optimisation."""

from typing import Literal

import torch
from torch import Tensor

from halign.objectives.contract import NonNegative, needs, reference_free, required
from halign.objectives.items import Lists
from halign.objectives.lists import best, choice_loss, tidied, worse


@needs(lambda settings: ("rewards",) if settings["temperature"] == "reward" else ())
@reference_free
def pro(
    lists: Lists, *, temperature: Literal["reward", "none"] = "reward", sft_weight: NonNegative = 0.05
) -> Tensor:
    r"""Each response is to be picked from among itself and all worse ones, from the best down; and the best is imitated.

    .. math:: \sum_k -\log \frac{e^{p_k T_{kk}}}{e^{p_k T_{kk}} + \sum_{j:\, r_j < r_k} e^{p_j T_{kj}}}
              - w (K-1)^2 s_\mathrm{best}, \quad p = s / n

    With ``temperature="reward"``, T_kj = r_k - r_j and T_kk is the largest of them: a response that is only a little worse is
    pushed down only a little. With ``none``, every T is 1: the Plackett-Luce likelihood of the order.

    Source: Song et al. 2023, arXiv 2306.17492. Its code, from which the ``reward`` form is, differs in
    ties: there an equally good response stays in the sum as e^0, here it is left out. A k with nothing worse contributes 0.

    Args:
        lists: L lists; uses ``logps`` (sums, nats), ``lengths`` (tokens), and ``rewards``, with ``none`` instead ``ranks``.
        temperature: reward, or the word none for T = 1 (a word, because an empty value would be easily misread in YAML).
        sft_weight: w; times (K-1)^2, K being the number of this list's responses, the weight of the best response's negative
            log-likelihood (the sum over its tokens; of several best the first).

    Returns:
        float32 [L], nats.

    Raises:
        ValueError: if ``temperature="reward"`` and there are no rewards.

    >>> t = torch.tensor
    >>> lists = Lists(t([[-4.0, -3.0]]), lengths=t([[4.0, 3.0]]), rewards=t([[2.0, 0.0]]))
    >>> round(float(pro(lists)), 5)  # means -1 and -1: log(1 + e^0) + 0.05 * 1 * 4
    0.89315
    """
    lists = tidied(lists)
    lengths, ranks, mask = required(lists, "lengths", "ranks", "mask")
    p = lists.logps / lengths
    merit = required(lists, "rewards")[0] if temperature == "reward" else -ranks
    others = worse(merit, mask)
    if temperature == "reward":
        gaps = torch.where(others, merit[:, :, None] - merit[:, None, :], 0.0)
        differences = p[:, None, :] * gaps - p[:, :, None] * gaps.amax(-1, keepdim=True)
    else:
        differences = p[:, None, :] - p[:, :, None]
    imitation = -lists.logps.gather(1, best(merit, mask)).squeeze(1)
    return choice_loss(differences, others).sum(1) + sft_weight * (mask.sum(1) - 1) ** 2 * imitation
