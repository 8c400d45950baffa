"""Supervised fine-tuning."""

from torch import Tensor

from halign.objectives.contract import reference_free
from halign.objectives.items import Tokens


@reference_free
def sft(tokens: Tokens) -> Tensor:
    r"""Negative log-likelihood of each supervised token.

    .. math:: -\log \pi(y_t \mid x, y_{<t})

    The step's loss is the mean over the supervised tokens of the global step, so a long response weighs more than a short one
    and the split into packs does not matter.

    Args:
        tokens: T response tokens; uses ``logps``.

    Returns:
        float32 [T], nats.

    >>> import torch
    >>> sft(Tokens(logps=torch.tensor([-1.0, -2.0]))).tolist()
    [1.0, 2.0]
    """
    return -tokens.logps
