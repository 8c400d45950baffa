"""Psi preference optimisation: the family that has IPO and DPO as members."""

import functools
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn.functional import logsigmoid

from halign.errors import HalignError
from halign.objectives.contract import Positive, log_ratios, probabilities, reads_preference
from halign.objectives.items import Pairs
from halign.objectives.registry import outsider

PSI: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda p: p,
    "logit": torch.logit,
    "sqrt": torch.sqrt,
    "cube": lambda p: p**3,
    "majority": lambda p: ((p - 0.5).sign() + 1) / 2,
}
"""Psi by name. A square is missing because it is the identity: p^2 - (1-p)^2 = 2p - 1."""


@functools.cache
def find_psi(name: str) -> Callable[[Tensor], Tensor]:
    """The Psi of that name, or a user's ``package.module:function`` of a float tensor of probabilities.

    Raises:
        ValueError: if there is none, or a user's one decreases somewhere or is not finite on [0, 1].
    """
    if name in PSI:
        return PSI[name]
    if ":" not in name:
        raise ValueError(f"no psi {name!r} (known: {', '.join(PSI)}; or package.module:function)")
    try:
        psi = outsider(name, "psi")
    except HalignError as error:
        raise ValueError(str(error)) from error
    values = psi(torch.linspace(0, 1, 101))
    if not (values.isfinite().all() and (values.diff() >= 0).all()):
        raise ValueError(f"psi {name!r} has to be finite and non-decreasing on [0, 1]")
    return psi


def _known(name: str) -> str:
    find_psi(name)
    return name


Psi = Annotated[str, AfterValidator(_known)]


@reads_preference
def psi_po(pairs: Pairs, *, psi: Psi = "identity", tau: Positive = 0.1) -> Tensor:
    r"""The log-ratio gap is drawn to where the optimum of E[Psi(p)] - tau KL has it, p being P(chosen beats rejected).

    .. math:: \left(h - \frac{\Psi(p) - \Psi(1-p)}{2\tau}\right)^2, \quad h = D_w - D_l

    ``logit`` has its optimum at h = logit(p) / tau, which a certain preference moves to infinity; so it is reached by
    cross-entropy instead, whose minimum is the same:

    .. math:: -p \log\sigma(\tau h) - (1-p) \log\sigma(-\tau h)

    At p = 1, ``identity`` is ``ipo`` and ``logit`` is ``dpo``, both with beta = tau. For p strictly between, ``logit`` is RLHF's
    objective under Bradley-Terry, and DPO with soft labels.

    Source: Azar et al. 2023, arXiv 2310.12036, equation 6 (the objective) and section 5 (the squared loss, for the identity).
    For other Psi the target is the optimum where each response of the pair meets itself and the other equally often.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats) and ``preference`` (None: 1).
        psi: identity, logit, sqrt, cube, majority (a step at one half), or ``package.module:function``, any other that is finite
            and does not decrease.
        tau: strength of the pull to the reference, per nat.

    Returns:
        float32 [P]; nats squared, with ``logit`` nats.

    Raises:
        ValueError: if a preference is outside [0, 1], or there is no such psi.

    >>> zero = torch.zeros(1)
    >>> pairs = Pairs(torch.tensor([2.0]), zero, zero, zero, preference=torch.tensor([0.9]))
    >>> round(float(psi_po(pairs)), 5)  # (2 - (2 * 0.9 - 1) / 0.2)^2
    4.0
    >>> round(float(psi_po(pairs, psi="cube")), 5)  # (2 - (0.729 - 0.001) / 0.2)^2
    2.6896
    """
    chosen, rejected = log_ratios(pairs)
    gap = chosen - rejected
    p = (
        torch.ones_like(gap)
        if pairs.preference is None
        else probabilities("Pairs.preference", pairs.preference)
    )
    if psi == "logit":
        return -p * logsigmoid(tau * gap) - (1 - p) * logsigmoid(-tau * gap)
    shape = find_psi(psi)
    return (gap - (shape(p) - shape(1 - p)) / (2 * tau)).square()
