"""DPO on log-ratios per token."""

from torch import Tensor

from halign.objectives.contract import FlipRate, Positive, log_ratios, logistic_loss, per_token
from halign.objectives.items import Pairs


def sigmoid_norm(pairs: Pairs, *, beta: Positive = 0.1, label_smoothing: FlipRate = 0.0) -> Tensor:
    r"""DPO with each log-ratio divided by its response's length, so that long responses are not favoured.

    .. math:: -\log\sigma\left(\beta \left(\frac{D_w}{|y_w|} - \frac{D_l}{|y_l|}\right)\right)

    Source: Lambert et al. 2024 (Tulu 3), arXiv 2411.15124, length-normalised DPO; smoothing as in ``dpo``.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats) and the two ``*_lengths`` (tokens).
        beta: tokens per nat. TRL's default is ``dpo``'s 0.1, which pulls a mean over many tokens hardly at all; the paper trained
            with 5.
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P], nats; ln 2 where the policy equals the reference.

    >>> import torch
    >>> two = torch.tensor([2.0])
    >>> p = Pairs(*map(torch.tensor, ([-10.0], [-12.0], [-11.0], [-11.0])), chosen_lengths=two, rejected_lengths=two)
    >>> round(float(sigmoid_norm(p, beta=1.0)), 6)  # -log sigmoid(0.5 - -0.5)
    0.313262
    """
    chosen, rejected = per_token(pairs, *log_ratios(pairs))
    return logistic_loss(beta * (chosen - rejected), label_smoothing)
