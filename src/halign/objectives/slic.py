"""Sequence likelihood calibration."""

from typing import Literal

import torch
from torch import Tensor

from halign.objectives.contract import NonNegative, needs, reference_free, required
from halign.objectives.items import Pairs


@needs(lambda settings: ("target_kl",) if settings["regulariser"] == "kl" else ())
@reference_free
def slic(
    pairs: Pairs,
    *,
    delta: NonNegative = 1.0,
    regulariser: Literal["ce", "kl", "none"] = "ce",
    sft_weight: NonNegative = 0.1,
    kl_weight: NonNegative = 0.1,
) -> Tensor:
    r"""The chosen response's log-probability should be above the rejected's by a margin; a regulariser keeps the policy near.

    .. math:: \max(0, \delta - s_w + s_l) + R, \quad
              R = -w_\mathrm{sft}\, s_\mathrm{target}
              \text{ (ce)} \quad\text{or}\quad
              w_\mathrm{kl} \sum_t \mathrm{KL}\big(\pi_\mathrm{ref}(\cdot|y_{<t}) \,\|\, \pi(\cdot|y_{<t})\big) \text{ (kl)}

    Source: Zhao et al. 2022, arXiv 2210.00045 (rank calibration with either regulariser), and 2023, arXiv 2305.10425 (SLiC-HF:
    from human feedback, with cross-entropy). The reference's log-probabilities of the pair play no part; with ``kl`` the
    trainer gives ``target_kl``, for which it does read the reference, over the whole vocabulary.

    Args:
        pairs: P pairs; uses ``chosen_logps`` and ``rejected_logps`` (sums, nats), with ``ce`` also ``target_logps`` (of the
            response that supervised fine-tuning aimed at; the chosen where None), with ``kl`` also ``target_kl`` (nats).
        delta: the margin, nats.
        regulariser: ce (imitate the target), kl (stay near the reference on the target's tokens), or none.
        sft_weight: of the cross-entropy; used with ``ce`` alone.
        kl_weight: of the divergence; used with ``kl`` alone.

    Returns:
        float32 [P], nats.

    >>> pairs = Pairs(torch.tensor([-10.0]), torch.tensor([-9.5]))
    >>> slic(pairs, sft_weight=0.5).tolist(), slic(pairs, regulariser="none").tolist()  # 1 + 10 - 9.5, and 0.5 * 10
    ([6.5], [1.5])
    """
    calibration = torch.relu(delta - pairs.chosen_logps + pairs.rejected_logps)
    if regulariser == "ce":
        target = pairs.chosen_logps if pairs.target_logps is None else pairs.target_logps
        return calibration - sft_weight * target
    if regulariser == "kl":
        return calibration + kl_weight * required(pairs, "target_kl")[0]
    return calibration
