"""The likelihood of whole orders: by enumeration, and by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from halign.objectives import ValueLists, plackett_luce, reward
from tests.objectives.samples import random_values


def test_the_probabilities_of_all_orders_sum_to_one() -> None:
    values = torch.tensor([0.4, -1.0, 2.0, 0.1])
    orders = torch.stack([values[list(order)] for order in permutations(range(4))])
    assert float((-plackett_luce(ValueLists(orders))).exp().sum()) == pytest.approx(1.0)


def test_by_hand() -> None:
    values = torch.tensor([[1.0, 0.0, -1.0]])
    e = values[0].exp()
    expected = -(torch.log(e[0] / e.sum()) + torch.log(e[1] / (e[1] + e[2])))
    assert float(plackett_luce(ValueLists(values))) == pytest.approx(float(expected))


def test_pairs_are_bradley_terrys_soft_ones_too() -> None:
    pairs = ValueLists(torch.randn(4, 2), preference=torch.tensor([1.0, 0.7, 0.5, 0.0]))
    assert torch.allclose(plackett_luce(pairs), reward(pairs))


def test_ties_are_not_compared_with_each_other() -> None:
    tied = ValueLists(torch.tensor([[1.0, 0.5, 0.0]]), ranks=torch.tensor([[1.0, 1.0, 3.0]]))
    expected = torch.nn.functional.softplus(torch.tensor([-1.0, -0.5])).sum()
    assert float(plackett_luce(tied)) == pytest.approx(float(expected))


def test_gradients_are_those_of_finite_differences() -> None:
    start = random_values("lists", torch.float64)
    values = start.values.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: plackett_luce(replace(start, values=v)), (values,))
    (own,) = torch.autograd.grad(plackett_luce(replace(start, values=values)).sum(), values)
    assert (own[~start.mask] == 0).all()
