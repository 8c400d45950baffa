"""Preferred fine-tuning: imitate what was chosen, ignore what was not."""

from torch import Tensor

from halign.objectives.contract import reference_free, required
from halign.objectives.items import Pairs


@reference_free
def preferred_ft(pairs: Pairs, *, average: bool = False) -> Tensor:
    r"""Negative log-likelihood of the chosen response.

    .. math:: -\log\pi(y_w \mid x)

    Source: the Preferred-FT baseline of Rafailov et al. 2023, arXiv 2305.18290, section 6.

    Args:
        pairs: P pairs; uses ``chosen_logps`` (sums, nats) and, with ``average``, ``chosen_lengths``.
        average: the mean per token instead of the sum, so that every pair weighs the same. (``sft`` on the same data weighs
            every token the same.)

    Returns:
        float32 [P], nats.

    >>> import torch
    >>> preferred_ft(Pairs(torch.tensor([-6.0]), torch.tensor([-1.0]))).tolist()
    [6.0]
    """
    if average:
        return -pairs.chosen_logps / required(pairs, "chosen_lengths")[0]
    return -pairs.chosen_logps
