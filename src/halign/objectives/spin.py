"""Self-play fine-tuning, from demonstrations alone."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from halign.objectives.contract import Positive, log_ratios
from halign.objectives.items import Pairs


def spin(pairs: Pairs, *, beta: Positive = 0.1, loss: Literal["logistic", "hinge"] = "logistic") -> Tensor:
    r"""Tell the demonstrated response from one that the previous iterate of the policy wrote itself.

    .. math:: \ell(\beta (D_\mathrm{real} - D_\mathrm{own})), \quad
              \ell(t) = \log(1 + e^{-t}) \text{ or } \max(0, 1 - t)

    Source: Chen et al. 2024, arXiv 2401.01335 (beta is its lambda); the hinge is among the losses that it allows
    and its code offers. As a formula this is DPO; what makes it SPIN is the data, see ``pairs``.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats). Chosen is the real response, rejected the policy's own sample;
            both the sample and the reference come from the previous iterate, not from the model that the first one began with.
        beta: strength of the pull to the previous iterate, per nat.
        loss: logistic or hinge.

    Returns:
        float32 [P]; ln 2 (hinge: 1) where the policy equals the previous iterate.

    >>> pairs = Pairs(*map(torch.tensor, ([-6.0], [-12.0], [-10.0], [-10.0])))
    >>> round(float(spin(pairs, loss="hinge")), 6)  # 1 - 0.1 * (4 - -2)
    0.4
    """
    real, own = log_ratios(pairs)
    margin = beta * (real - own)
    return torch.relu(1 - margin) if loss == "hinge" else softplus(-margin)
