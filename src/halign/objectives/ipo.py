"""Identity preference optimisation."""

from torch import Tensor

from halign.objectives.contract import Positive, log_ratios, per_token
from halign.objectives.items import Pairs


def ipo(pairs: Pairs, *, beta: Positive = 0.1, average: bool = False) -> Tensor:
    r"""Squared distance of the log-ratio gap from a finite target, so that certain preferences do not push it to infinity.

    .. math:: \left(D_w - D_l - \frac{1}{2\beta}\right)^2

    Source: Azar et al. 2023, arXiv 2310.12036, equation 17 (beta is the paper's tau).

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats) and, with ``average``, the two ``*_lengths``.
        beta: with sums, the gap of whole responses is drawn to 1 / (2 beta) nats (5 nats at 0.1). With ``average`` it is the gap
            *per token* that is drawn there, so the same beta asks for a gap of whole responses that is longer by about
            their length: useful values of beta are then larger (0.1 to 1).
        average: divide each log-ratio by its response's length in tokens. The paper's text and the first DPO code use sums
            (False); the IPO authors later confirmed means, which TRL and HALOs use (True).

    Returns:
        float32 [P], nats squared.

    >>> import torch
    >>> p = Pairs(*map(torch.tensor, ([-10.0], [-12.0], [-11.0], [-11.0])))
    >>> ipo(p, beta=0.1).tolist()  # (1 - -1 - 5)^2
    [9.0]
    """
    chosen, rejected = log_ratios(pairs)
    if average:
        chosen, rejected = per_token(pairs, chosen, rejected)
    return (chosen - rejected - 1 / (2 * beta)).square()
