"""DPO that is unbiased under labels flipped at a known rate."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import FlipRate, Positive, log_ratios
from halign.objectives.items import Pairs


def robust_dpo(pairs: Pairs, *, beta: Positive = 0.1, label_smoothing: FlipRate = 0.1) -> Tensor:
    r"""DPO's loss less what flipped labels add to it, so that over the flips its mean is the loss on clean labels.

    .. math:: \frac{-(1-\epsilon) \log\sigma(h) + \epsilon \log\sigma(-h)}{1 - 2\epsilon}, \quad h = \beta (D_w - D_l)

    Source: Chowdhury et al. 2024, arXiv 2403.00409. Unlike ``dpo`` with smoothing it never stops pushing: its
    gradient falls to -epsilon / (1 - 2 epsilon) as h grows, and the loss has no lower bound.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats).
        beta: strength of the pull to the reference, per nat.
        label_smoothing: rate epsilon of flipped labels, in [0, 0.5). The paper's typical value; TRL's default is 0, plain DPO.

    Returns:
        float32 [P], nats, possibly negative; ln 2 where the policy equals the reference.

    >>> import torch
    >>> p = Pairs(*map(torch.tensor, ([-10.0], [-12.0], [-11.0], [-11.0])))
    >>> round(float(robust_dpo(p, beta=0.5, label_smoothing=0.25)), 6)  # (0.75 * 0.313262 - 0.25 * 1.313262) / 0.5
    -0.186738
    """
    chosen, rejected = log_ratios(pairs)
    logits = beta * (chosen - rejected)
    right, flipped = -logsigmoid(logits), -logsigmoid(-logits)
    return ((1 - label_smoothing) * right - label_smoothing * flipped) / (1 - 2 * label_smoothing)
