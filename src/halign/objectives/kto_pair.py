"""KTO's loss on pairs, with the other half of the batch as the reference point."""

import torch
from torch import Tensor

from halign.objectives.contract import Positive, log_ratios, required, with_statistics
from halign.objectives.items import Pairs


def statistics(pairs: Pairs) -> dict[str, Tensor]:
    """``chosen_kl`` = max(0, mean Dw) and ``rejected_kl`` = max(0, mean Dl) over the global step, detached."""
    chosen, rejected = log_ratios(pairs)
    return {
        "chosen_kl": chosen.mean().clamp_min(0).detach(),
        "rejected_kl": rejected.mean().clamp_min(0).detach(),
    }


@with_statistics(statistics)
def kto_pair(pairs: Pairs, *, beta: Positive = 0.1) -> Tensor:
    r"""The chosen response should beat the mean of the rejected, the rejected fall below the mean of the chosen.

    .. math:: \tfrac12\left[1 - \sigma(\beta (D_w - \mathrm{KL}_l)) + 1 - \sigma(\beta (\mathrm{KL}_w - D_l))\right],
              \quad \mathrm{KL}_{w,l} = \max(0, \operatorname{mean} D_{w,l})

    Source: the ``kto_pair`` loss of early TRL, which the paper behind Flow 1 (arXiv 2406.18954) trained with. There each half
    is an item of its own; here a pair's loss is the mean of its halves, so that the mean over items is the same.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats), ``chosen_kl`` and ``rejected_kl`` (scalars over the step).
        beta: as in ``kto``, per nat.

    Returns:
        float32 [P], in [0, 1].

    >>> p = Pairs(*map(torch.tensor, ([-9.0], [-9.0], [-10.0], [-10.0])), chosen_kl=torch.tensor(1.0),
    ...           rejected_kl=torch.tensor(1.0))
    >>> kto_pair(p).tolist()
    [0.5]
    """
    chosen, rejected = log_ratios(pairs)
    chosen_kl, rejected_kl = required(pairs, "chosen_kl", "rejected_kl")
    lift = 1 - torch.sigmoid(beta * (chosen - rejected_kl.detach()))
    drop = 1 - torch.sigmoid(beta * (chosen_kl.detach() - rejected))
    return (lift + drop) / 2
