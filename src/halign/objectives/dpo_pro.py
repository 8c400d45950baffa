"""DPO on rankings: the Plackett-Luce likelihood with implicit rewards."""

from torch import Tensor

from halign.objectives.contract import NonNegative, Positive, required
from halign.objectives.items import Lists
from halign.objectives.lists import best, choice_loss, tidied, worse


def dpo_pro(
    lists: Lists, *, beta: Positive = 0.1, best_of: bool = False, sft_weight: NonNegative = 0.0
) -> Tensor:
    r"""PRO's walk down the ranking, with the policy's log-ratio to a reference as the reward; for two responses, DPO.

    .. math:: \sum_k -\log \frac{e^{\beta D_k}}{e^{\beta D_k} + \sum_{i \text{ worse than } k} e^{\beta D_i}}
              - w\, s_\mathrm{best}, \quad D = \log\pi(y|x) - \log\pi_\mathrm{ref}(y|x)

    Source: the proposal of M. Santos's talk "Aligning Language Models with Human Feedback without Reinforcement Learning"
    (2024), which joins PRO (arXiv 2306.17492) and DPO (arXiv 2305.18290; its appendix has the same likelihood). The talk prints
    y_1 in every factor's exponent where y_k is meant.

    Args:
        lists: L lists; uses ``logps``, ``ref_logps`` (sums, nats) and ``ranks``. Equally ranked responses are left out of each
            other's denominator.
        beta: strength of the pull to the reference, per nat.
        best_of: keep the best response's factor alone (the talk's first formula): which of the others is better is not asked.
        sft_weight: w, of the best response's negative log-likelihood (the sum over its tokens; of several best the first).

    Returns:
        float32 [L]; without ties ln K! (``best_of``: ln K) where the policy equals the reference.

    >>> import torch
    >>> lists = Lists(torch.tensor([[-5.0, -6.0, -7.0]]), torch.tensor([[-5.0, -6.0, -7.0]]))
    >>> round(float(dpo_pro(lists)), 5), round(float(dpo_pro(lists, best_of=True)), 5)  # ln 6, ln 3
    (1.79176, 1.09861)
    """
    lists = tidied(lists)
    ref_logps, ranks, mask = required(lists, "ref_logps", "ranks", "mask")
    rewards = beta * (lists.logps - ref_logps)
    losses = choice_loss(rewards[:, None, :] - rewards[:, :, None], worse(-ranks, mask))
    top = best(-ranks, mask)
    ranking = losses.gather(1, top).squeeze(1) if best_of else losses.sum(1)
    return ranking - sft_weight * lists.logps.gather(1, top).squeeze(1)
