"""Kahneman-Tversky optimisation, from unpaired good and bad responses."""

import torch
from torch import Tensor

from halign.objectives.contract import NonNegative, Positive, mismatched, required, with_statistics
from halign.objectives.items import Singles


def statistics(singles: Singles) -> dict[str, Tensor]:
    r"""The reference point of the global step.

    .. math:: z_0 = \max\left(0, \operatorname{mean}_i \log\frac{\pi(y_j|x_i)}{\pi_\mathrm{ref}(y_j|x_i)}\right)

    with y_j drawn from another conversation than x_i. Detached: no gradient flows through it.
    """
    policy, reference = required(singles, "mismatch_logps", "ref_mismatch_logps")
    return {"kl": (policy - reference).mean().clamp_min(0).detach()}


@mismatched
@with_statistics(statistics)
def kto(
    singles: Singles,
    *,
    beta: Positive = 0.1,
    desirable_weight: NonNegative = 1.0,
    undesirable_weight: NonNegative = 1.0,
) -> Tensor:
    r"""A good response should beat the reference point, a bad one fall below it, with diminishing returns either way.

    .. math:: \lambda_D (1 - \sigma(\beta (D - z_0))) \text{ if desirable}, \quad
              \lambda_U (1 - \sigma(\beta (z_0 - D))) \text{ if not}

    Source: Ethayarajh et al. 2024, arXiv 2402.01306, equations 7 and 8. z0 is taken over the *global step* (see
    ``statistics``), not over a device's batch as in the authors' code, so that a batch of one works.

    Args:
        singles: R responses; uses ``logps``, ``ref_logps`` (sums, nats), ``desirable`` and ``kl``.
        beta: risk aversion, per nat.
        desirable_weight, undesirable_weight: the paper's lambdas. It advises values for which
            (desirable_weight * good) / (undesirable_weight * bad) lies in [1, 4/3].

    Returns:
        float32 [R], in [0, max(weights)].

    Raises:
        ValueError: if a needed field is missing.

    >>> import torch
    >>> s = Singles(torch.tensor([-8.0, -8.0]), torch.tensor([-10.0, -10.0]), desirable=torch.tensor([True, False]),
    ...             kl=torch.tensor(2.0))
    >>> kto(s, beta=0.3).tolist()  # D = z0, so one half each
    [0.5, 0.5]
    """
    ref_logps, desirable, kl = required(singles, "ref_logps", "desirable", "kl")
    advantage = singles.logps - ref_logps - kl.detach()
    sign = torch.where(desirable.bool(), 1.0, -1.0)
    weight = torch.where(desirable.bool(), desirable_weight, undesirable_weight)
    return weight * (1 - torch.sigmoid(sign * beta * advantage))


def balanced_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """(desirable_weight, undesirable_weight) with (weight * count) good over bad in [1, 4/3], the larger class kept at 1.

    Source: arXiv 2402.01306, section 4.2.

    >>> balanced_weights(30, 10), balanced_weights(10, 30), balanced_weights(12, 10)
    ((1.0, 2.25), (3.0, 1.0), (1.0, 1.0))

    Raises:
        ValueError: if a class is empty.
    """
    if not desirable or not undesirable:
        raise ValueError("balance needs good and bad responses; one class is empty")
    ratio = desirable / undesirable
    if ratio < 1:
        return 1 / ratio, 1.0
    return (1.0, ratio * 3 / 4) if ratio > 4 / 3 else (1.0, 1.0)
