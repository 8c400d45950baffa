"""Contrastive preference optimisation: DPO with a uniform reference, held by the likelihood of the chosen."""

from torch import Tensor

from halign.objectives.contract import (
    FlipRate,
    NonNegative,
    Positive,
    logistic_loss,
    reference_free,
    required,
)
from halign.objectives.items import Pairs


@reference_free
def cpo(
    pairs: Pairs,
    *,
    beta: Positive = 0.1,
    sft_weight: NonNegative = 1.0,
    average: bool = False,
    label_smoothing: FlipRate = 0.0,
) -> Tensor:
    r"""Logistic loss on the difference of log-probabilities, plus the negative log-likelihood of the chosen response.

    .. math:: -\log\sigma(\beta (s_w - s_l)) - w s_w, \quad s = \log\pi(y|x)

    Source: Xu et al. 2024, arXiv 2401.08417; smoothing as in ``dpo``.

    Args:
        pairs: P pairs; uses ``chosen_logps``, ``rejected_logps`` (sums, nats) and, with ``average``, ``chosen_lengths``.
        beta: scale of the preference, per nat.
        sft_weight: weight w of the likelihood.
        average: take the likelihood per token. The paper's formula is the sum (False), against which the preference weighs
            little on long responses; the authors' code and TRL take a mean over tokens (True). Theirs is over all tokens of a
            batch at once, here it is each response's own.
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P], nats.

    >>> import torch
    >>> round(float(cpo(Pairs(torch.tensor([-3.0]), torch.tensor([-3.0])))), 6)  # ln 2 + 3
    3.693147
    """
    likelihood = pairs.chosen_logps
    if average:
        likelihood = likelihood / required(pairs, "chosen_lengths")[0]
    logits = beta * (pairs.chosen_logps - pairs.rejected_logps)
    return logistic_loss(logits, label_smoothing) - sft_weight * likelihood
