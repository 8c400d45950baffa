"""Attribute heads: masked squared errors and cross-entropies by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from halign.objectives import ValueSingles, attributes
from tests.objectives.samples import random_values

NAN = float("nan")


def test_the_masked_squared_error_by_hand() -> None:
    values = torch.tensor([[3.0, 1.0, 0.5], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]], requires_grad=True)
    wanted = torch.tensor([[4.0, NAN, 0.0], [NAN, 0.0, NAN], [NAN, NAN, NAN]])
    losses = attributes(ValueSingles(values, wanted))
    assert losses.tolist() == [(1 + 0.25) / 2, 4.0, 0.0]
    losses.sum().backward()
    assert values.grad.tolist() == [[-1.0, 0.0, 0.5], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]


def test_categories_by_hand() -> None:
    values = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([[4.0, 0.0], [NAN, 2.0]])
    probabilities = values.reshape(2, 2, 5).softmax(-1)
    assert torch.allclose(probabilities.sum(-1), torch.ones(2, 2))
    losses = attributes(ValueSingles(values, wanted), head="categorical")
    expected = -torch.log(probabilities[0, 0, 4] * probabilities[0, 1, 0]) / 2
    assert float(losses[0]) == pytest.approx(float(expected))
    assert float(losses[1]) == pytest.approx(-float(probabilities[1, 1, 2].log()))


def test_values_that_are_no_category_are_refused() -> None:
    for wrong in (2.5, 5.0, -1.0):
        with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
            attributes(ValueSingles(torch.zeros(1, 5), torch.tensor([[wrong]])), head="categorical")
    with pytest.raises(ValueError, match="need 5 outputs, the model has 3"):
        attributes(ValueSingles(torch.zeros(1, 3), torch.tensor([[1.0]])), head="categorical")


@pytest.mark.parametrize("head", ["regression", "categorical"])
def test_gradients_are_those_of_finite_differences(head: str) -> None:
    start = random_values("singles", torch.float64)
    outputs = start.values if head == "regression" else start.values.repeat(1, 5)
    values = outputs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: attributes(replace(start, values=v), head=head), (values,))
