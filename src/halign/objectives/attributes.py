"""Reward models that say how much of each attribute a response has."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from halign.objectives.contract import only_with
from halign.objectives.items import ValueSingles

Levels = Annotated[int, Field(ge=2)]


@only_with("levels", head="categorical")
def attributes(
    singles: ValueSingles, *, head: Literal["regression", "categorical"] = "regression", levels: Levels = 5
) -> Tensor:
    r"""Predict what people said of a response: its helpfulness, correctness, coherence, complexity, verbosity, say.

    .. math:: \frac{1}{|A|} \sum_{a \in A} (v_a - z_a)^2 \quad\text{or}\quad
              \frac{1}{|A|} \sum_{a \in A} -\log \operatorname{softmax}(v_a)_{z_a}

    A are the attributes that are known of this response, z their values. ``categorical`` gives each attribute a distribution over
    0 ... levels-1, which SteerLM 2 needs (a squared error gives no probability).

    Source: Wang et al. 2024, arXiv 2406.08673 (HelpSteer2), where the regression reward model is; arXiv 2310.05344 (SteerLM).

    Args:
        singles: R responses; uses ``values``, float32 [R, k] or with ``categorical`` [R, k * levels], and ``attributes`` [R, k].
        head: one number per attribute, or a distribution.
        levels: how many values a categorical attribute may have, from 0.

    Returns:
        float32 [R]; squared units, or nats with ``categorical``. 0 where nothing is known.

    Raises:
        ValueError: if a categorical attribute is no whole number below ``levels``, or the outputs do not fit the attributes.

    >>> singles = ValueSingles(torch.tensor([[3.0, 1.0]]), torch.tensor([[4.0, float("nan")]]))
    >>> attributes(singles).tolist()
    [1.0]
    """
    wanted = singles.attributes
    known = wanted.isfinite()
    wanted = torch.where(known, wanted, 0.0)
    outputs = wanted.shape[1] * (levels if head == "categorical" else 1)
    if singles.values.shape[1] != outputs:
        raise ValueError(
            f"{wanted.shape[1]} attributes need {outputs} outputs, the model has {singles.values.shape[1]}"
        )
    if head == "regression":
        errors = (singles.values - wanted).square()
    else:
        if (wanted != wanted.round()).any() or (wanted < 0).any() or (wanted >= levels).any():
            raise ValueError(f"head=categorical: attributes have to be whole numbers from 0 to {levels - 1}")
        logps = singles.values.unflatten(1, (-1, levels)).log_softmax(-1)
        errors = -logps.gather(2, wanted.long()[:, :, None]).squeeze(2)
    return torch.where(known, errors, 0.0).sum(1) / known.sum(1).clamp_min(1)
