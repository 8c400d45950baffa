"""Direct preference optimisation."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import FlipRate, Positive, log_ratios
from halign.objectives.items import Pairs


def dpo(pairs: Pairs, *, beta: Positive = 0.1, label_smoothing: FlipRate = 0.0) -> Tensor:
    r"""Logistic loss on the difference of implicit rewards.

    .. math:: -(1-\epsilon) \log\sigma(\beta (D_w - D_l)) - \epsilon \log\sigma(-\beta (D_w - D_l)),
              \quad D = \log\pi(y|x) - \log\pi_\mathrm{ref}(y|x)

    Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; the smoothed form (conservative DPO, for labels that are wrong
    with probability epsilon) is from Mitchell's note on it.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.
        label_smoothing: probability epsilon that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P]; ln 2 where the policy equals the reference.

    >>> import torch
    >>> p = Pairs(*map(torch.tensor, ([-10.0], [-12.0], [-11.0], [-11.0])))
    >>> round(float(dpo(p, beta=0.5)), 6)  # -log sigmoid(0.5 * (1 - -1)) = log(1 + e^-1)
    0.313262
    """
    chosen, rejected = log_ratios(pairs)
    logits = beta * (chosen - rejected)
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)
