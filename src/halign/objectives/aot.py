"""Alignment by optimal transport: compare distributions of rewards, not pairs."""

import torch
from torch import Tensor

from halign.objectives.contract import (
    FlipRate,
    Positive,
    log_ratios,
    logistic_loss,
    of_step,
    required,
    with_statistics,
)
from halign.objectives.items import Pairs


def statistics(pairs: Pairs) -> dict[str, Tensor]:
    """Sorted over the N pairs of the global step, detached, nats [N]: the gaps chosen - rejected under policy and reference, and
    the log-ratios Dw and Dl."""
    chosen, rejected = log_ratios(pairs)
    ref_chosen, ref_rejected = required(pairs, "ref_chosen_logps", "ref_rejected_logps")
    columns = {
        "policy_gaps": pairs.chosen_logps - pairs.rejected_logps,
        "reference_gaps": ref_chosen - ref_rejected,
        "chosen_log_ratios": chosen,
        "rejected_log_ratios": rejected,
    }
    return {name: values.detach().sort().values for name, values in columns.items()}


@with_statistics(statistics)
def aot(
    pairs: Pairs, *, beta: Positive = 0.1, paired: bool = True, label_smoothing: FlipRate = 0.0
) -> Tensor:
    r"""Logistic loss between quantiles: what should be higher is so at every rank (first-order stochastic dominance).

    .. math:: -\log\sigma(\beta (u_{(k)} - v_{(k)})), \quad
              u = s_w - s_l,\ v = s^\mathrm{ref}_w - s^\mathrm{ref}_l \text{ (paired)}, \quad
              u = D_w,\ v = D_l \text{ (unpaired)}

    with u and v each sorted over the *global step* and k the rank. Each value is held against the detached one of its rank among
    the other kind, so that pairs need not be in one pack; equal values share the mean over their ranks. Where both sides
    learn (unpaired), a pair bears one term for each of its two responses, at half value and full gradient. So values
    and gradients add up to those of sorting the whole step at once.

    Source: Melnyk et al. 2024, arXiv 2406.05882; TRL's ``aot`` and ``aot_unpaired`` sort each device's batch instead. Smoothing
    as in ``dpo``.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats) and ``step`` (see ``statistics``).
        beta: strength of the pull to the reference, per nat.
        paired: compare the gaps of pairs under policy and reference (the paper's AOT paired), or all chosen with all rejected.
        label_smoothing: probability that a label is flipped, in [0, 0.5).

    Returns:
        float32 [P], nats; ln 2 where the policy equals the reference.

    Raises:
        ValueError: if a needed field is missing.

    >>> from dataclasses import replace
    >>> p = Pairs(*map(torch.tensor, ([-1.0, -9.0], [-2.0, -8.0], [-1.0, -9.0], [-1.0, -7.0])))
    >>> losses = aot(replace(p, step=statistics(p)), beta=0.5)  # gaps 1, -1 against 0, -2: both one higher at their rank
    >>> [round(v, 6) for v in losses.tolist()]
    [0.474077, 0.474077]
    """
    chosen, rejected = log_ratios(pairs)

    def loss(high: Tensor, low: Tensor) -> Tensor:
        return logistic_loss(beta * (high - low), label_smoothing)

    if paired:
        gaps = pairs.chosen_logps - pairs.rejected_logps
        all_gaps, all_ref_gaps = of_step(pairs, "policy_gaps", "reference_gaps")
        return _at_own_rank(gaps, all_gaps, loss(gaps[:, None], all_ref_gaps))
    all_chosen, all_rejected = of_step(pairs, "chosen_log_ratios", "rejected_log_ratios")
    lifted = _at_own_rank(chosen, all_chosen, loss(chosen[:, None], all_rejected))
    lowered = _at_own_rank(rejected, all_rejected, loss(all_chosen, rejected[:, None]))
    both = lifted + lowered
    return both - both.detach() / 2


def _at_own_rank(values: Tensor, ordered: Tensor, by_rank: Tensor) -> Tensor:
    """From losses of each value at every rank [P, N] that at its own [P]: where ``ordered`` [N] comes nearest to it, since the
    same forward may round differently; the mean, where that is at several ranks."""
    distance = (ordered - values.detach()[:, None]).abs()
    own = distance == distance.amin(1, keepdim=True)
    return torch.where(own, by_rank, 0.0).sum(1) / own.sum(1)
