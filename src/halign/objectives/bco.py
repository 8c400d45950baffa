"""Binary classifier optimisation, from unpaired good and bad responses."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.objectives.contract import Positive, of_step, required, with_statistics
from halign.objectives.items import Singles


def statistics(singles: Singles, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many good and bad responses all steps had so far, this one included, and their mean log-ratios D (nats; 0 where there
    was none), detached scalars. The same mean as TRL's ``RunningMoments``."""
    ref_logps, desirable = required(singles, "ref_logps", "desirable")
    log_ratios = (singles.logps - ref_logps).detach()
    found: dict[str, Tensor] = {}
    for name, members in (("good", desirable.bool()), ("bad", ~desirable.bool())):
        mean = before.get(f"{name}_mean", log_ratios.new_zeros(()))
        count = before.get(f"{name}_count", log_ratios.new_zeros(())) + members.sum()
        found[f"{name}_count"] = count
        found[f"{name}_mean"] = mean + (log_ratios[members] - mean).sum() / count.clamp_min(1)
    return found


@with_statistics(statistics, remembers=True)
def bco(singles: Singles, *, beta: Positive = 0.1, pooled: bool = False) -> Tensor:
    r"""Cross-entropy of a classifier whose logit is the implicit reward above a running baseline.

    .. math:: -\log\sigma(\beta D - \delta) \text{ if desirable}, \quad -\log\sigma(\delta - \beta D) \text{ if not}, \quad
              \delta = \frac{\beta}{2} \left(\mathbb{E}_+ D + \mathbb{E}_- D\right)

    Source: Jung et al. 2024, arXiv 2404.04656 (reward shift). The means are over all responses of the steps so far. The paper's
    underlying distribution matching, which weighs bad responses by a classifier of prompts, is left to the items' weights.

    Args:
        singles: R responses; uses ``logps``, ``ref_logps`` (sums, nats), ``desirable`` and ``step`` (see ``statistics``).
        beta: strength of the pull to the reference, per nat.
        pooled: take delta as the mean over good and bad together (TRL's trainer), which leans to the larger class, instead of the
            mean of the two classes' means (the paper). While only one class has been seen, its mean is delta either way.

    Returns:
        float32 [R], nats; ln 2 where the policy equals the reference and has always done so.

    Raises:
        ValueError: if a needed field is missing.

    >>> from dataclasses import replace
    >>> s = Singles(torch.tensor([-8.0, -8.0]), torch.tensor([-10.0, -8.0]), desirable=torch.tensor([True, False]))
    >>> losses = bco(replace(s, step=statistics(s, {})), beta=1.0)  # rewards 2 and 0, delta 1
    >>> [round(v, 6) for v in losses.tolist()]
    [0.313262, 0.313262]
    """
    ref_logps, desirable = required(singles, "ref_logps", "desirable")
    good, bad, good_mean, bad_mean = of_step(singles, "good_count", "bad_count", "good_mean", "bad_mean")
    share, means = torch.stack([good, bad]), torch.stack([good_mean, bad_mean])
    if not pooled:
        share = (share > 0).to(share.dtype)
    baseline = (share * means).sum() / share.sum().clamp_min(1)
    reward = beta * (singles.logps - ref_logps - baseline.detach())
    return -logsigmoid(torch.where(desirable.bool(), reward, -reward))
