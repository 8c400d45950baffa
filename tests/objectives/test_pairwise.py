"""The pairwise preference model's loss: by hand, in both orders."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import ValuePairs, pairwise
from tests.objectives.samples import random_values


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def pair(forward: float, backward: float, p: float | None = None) -> ValuePairs:
    soft = None if p is None else torch.tensor([p])
    return ValuePairs(torch.tensor([forward]), torch.tensor([backward]), soft)


def test_by_hand() -> None:
    assert float(pairwise(pair(1.5, 0.25))) == pytest.approx((softplus(-1.5) + softplus(0.25)) / 2)
    smoothed = 0.9 * (softplus(-1.5) + softplus(0.25)) / 2 + 0.1 * (softplus(1.5) + softplus(-0.25)) / 2
    assert float(pairwise(pair(1.5, 0.25), label_smoothing=0.1)) == pytest.approx(smoothed)


def test_naming_the_other_one_chosen_is_the_same_as_turning_the_label() -> None:
    for p in (0.0, 0.2, 0.5, 1.0):
        assert float(pairwise(pair(1.5, 0.25, p))) == pytest.approx(float(pairwise(pair(0.25, 1.5, 1 - p))))


def test_gradients_are_those_of_finite_differences() -> None:
    start = random_values("pairs", torch.float64)
    values = tuple(v.clone().requires_grad_() for v in (start.chosen_values, start.rejected_values))

    def losses(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return pairwise(replace(start, chosen_values=a, rejected_values=b), label_smoothing=0.05)

    assert torch.autograd.gradcheck(losses, values)
