"""Odds ratio preference optimisation: fine-tuning and preference in one loss, no reference."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import NonNegative, per_token, reference_free
from halign.objectives.items import Pairs

SURE = -1e-6
"""The highest mean log-probability whose odds are told apart; at 0 they would be infinite."""


@reference_free
def orpo(pairs: Pairs, *, beta: NonNegative = 0.1) -> Tensor:
    r"""Negative log-likelihood of the chosen response per token, plus a logistic loss on the log odds ratio of the two.

    .. math:: -\bar s_w - \beta \log\sigma\left(\log\frac{P_w}{1 - P_w} - \log\frac{P_l}{1 - P_l}\right),
              \quad \bar s = \frac{\log\pi(y|x)}{|y|}, \quad P = e^{\bar s}

    Source: Hong et al. 2024, arXiv 2403.07691, equations 6 and 7. As in the paper, the likelihood is that of the response; the
    authors' code and TRL take the mean over the prompt's tokens too, and over all tokens of a batch at once.

    Args:
        pairs: P pairs; uses ``chosen_logps``, ``rejected_logps`` (sums, nats) and the two ``*_lengths`` (tokens).
        beta: weight of the odds ratio (the paper's lambda); 0 leaves fine-tuning on the chosen.

    Returns:
        float32 [P], nats. Mean log-probabilities above -1e-6 have the odds of -1e-6, and no gradient through them.

    >>> one = torch.tensor([1.0])
    >>> p = Pairs(torch.tensor([-2.0]), torch.tensor([-2.0]), chosen_lengths=one, rejected_lengths=one)
    >>> round(float(orpo(p)), 6)  # 2 + 0.1 ln 2
    2.069315
    """
    chosen, rejected = per_token(pairs, pairs.chosen_logps, pairs.rejected_logps)
    return -chosen - beta * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _log_odds(logp: Tensor) -> Tensor:
    """log(P / (1 - P)) of P = e^logp; 1 - P by whichever way keeps its digits."""
    logp = logp.clamp(max=SURE)
    rest = torch.where(logp > -math.log(2), torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp)))
    return logp - rest
