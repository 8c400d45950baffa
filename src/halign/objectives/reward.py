"""Bradley-Terry reward models, and their K-wise form."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from halign.objectives.contract import FlipRate, NonNegative, logistic_loss, needs, only_with, required
from halign.objectives.items import ValueLists
from halign.objectives.values import compared, tidied_values

Curvature = Annotated[float, Field(gt=0, le=1)]
LossAversion = Annotated[float, Field(ge=1)]

KINK = 1e-3
"""Width around the reference point within which the value function is nearly straight, so that its slope stays finite there."""


@needs(lambda settings: ("rewards",) if settings["score_margin"] else ())
@only_with("reference_point", link="kahneman_tversky")
@only_with("curvature", link="kahneman_tversky")
@only_with("loss_aversion", link="kahneman_tversky")
def reward(
    lists: ValueLists,
    *,
    margin: NonNegative = 0.0,
    score_margin: NonNegative = 0.0,
    label_smoothing: FlipRate = 0.0,
    centring: NonNegative = 0.0,
    link: Literal["identity", "kahneman_tversky"] = "identity",
    reference_point: float = 0.0,
    curvature: Curvature = 0.88,
    loss_aversion: LossAversion = 2.25,
) -> Tensor:
    r"""Every better response of a prompt is to get a higher reward than every worse one.

    .. math:: \frac{1}{|C|} \sum_{(w, l) \in C} -q \log\sigma(v(h)) - (1-q) \log\sigma(-v(h)) + c\,(r_w + r_l)^2,
              \quad h = r_w - r_l - m

    C are the comparisons of one prompt: one for a pair (Bradley-Terry), K(K-1)/2 for a ranking of K, all in one forward pass,
    less those that tie. A prompt counts once, however many responses it has. q is 1, or (1-e) p + e (1-p) with label smoothing
    e and soft labels p = P(w beats l). v is the identity, or with ``link="kahneman_tversky"`` the value function of prospect
    theory, for judges to whom losing matters more than winning: :math:`v(h) = (h - h_0)^a` above the reference point and
    :math:`-\lambda (h_0 - h)^a` below.

    Source: Bradley-Terry loss and the weight of a comparison: Ouyang et al. 2022 (InstructGPT), arXiv 2203.02155, equation 1; the
    margin: Touvron et al. 2023 (Llama 2), arXiv 2307.09288; centring: Eisenstein et al. 2023, arXiv 2312.09244; the value
    function: Tversky and Kahneman 1992 with their curvature and loss aversion, as arXiv 2402.01306 gives it.

    Args:
        lists: L lists; uses ``values``, ``ranks``, ``mask``, ``preference``, and ``rewards`` with ``score_margin``.
        margin: m, by how much the better response is to be ahead.
        score_margin: adds this times the difference of the data's scores to the margin.
        label_smoothing: probability that a label is flipped, in [0, 0.5).
        centring: c, which keeps rewards around zero: only their differences matter otherwise.
        link: the identity, or the value function.
        reference_point: h_0, the difference of rewards that feels like nothing.
        curvature: a; below 1, gains are concave and losses convex. Within 0.001 of the reference point v is nearly straight.
        loss_aversion: lambda, how much larger a loss feels than a gain.

    Returns:
        float32 [L], nats; 0 for a list without comparisons.

    >>> lists = ValueLists(torch.tensor([[1.0, 0.0, 0.0]]))
    >>> expected = (2 * torch.nn.functional.softplus(torch.tensor(-1.0)) + torch.tensor(2.0).log()) / 3
    >>> bool(torch.isclose(reward(lists)[0], expected))  # three comparisons: 1 and 1 ahead, and a draw
    True
    """
    lists = tidied_values(lists)
    values = lists.values
    pairs, ahead = compared(lists)
    needed = torch.full_like(ahead, margin)
    if score_margin:
        (scores,) = required(lists, "rewards")
        needed = needed + score_margin * (scores[:, :, None] - scores[:, None, :])
    logits = torch.where(pairs, ahead - needed, 0.0)
    if link == "kahneman_tversky":
        logits = value_function(logits - reference_point, curvature, loss_aversion)
    losses = logistic_loss(logits, label_smoothing)
    if lists.preference is not None:
        wrong = 1 - lists.preference[:, None, None]
        losses = (1 - wrong) * losses + wrong * logistic_loss(-logits, label_smoothing)
    losses = losses + centring * (values[:, :, None] + values[:, None, :]).square()
    return torch.where(pairs, losses, 0.0).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)


def value_function(gain: Tensor, curvature: float, loss_aversion: float) -> Tensor:
    """Prospect theory's value of a gain or a loss: concave above zero, convex and steeper below. At zero itself its slope is that
    of a gain.

    >>> value_function(torch.tensor([4.0, -4.0]), 0.5, 2.0).int().tolist()
    [1, -3]
    """

    def size(x: Tensor) -> Tensor:
        return (x + KINK) ** curvature - KINK**curvature

    # the slope of |x| is taken as 0 at 0, and a tie would never be learnt
    won, lost = torch.where(gain >= 0, gain, 0.0), torch.where(gain < 0, -gain, 0.0)
    return size(won) - loss_aversion * size(lost)
