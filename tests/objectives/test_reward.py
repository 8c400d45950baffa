"""Bradley-Terry and K-wise losses by hand, and by finite differences."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch

from halign.objectives import ValueLists, reward
from halign.objectives.reward import KINK, value_function
from tests.objectives.samples import random_values


def lists(values: Any, **tables: Any) -> ValueLists:
    return ValueLists(torch.tensor(values), **{k: torch.tensor(v) for k, v in tables.items()})


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def test_a_pair_by_hand() -> None:
    assert float(reward(lists([[1.5, -0.5]]))) == pytest.approx(math.log(1 + math.exp(-2)))
    assert float(reward(lists([[1.5, -0.5]]), margin=0.75)) == pytest.approx(-log_sigmoid(1.25))
    # centring punishes the sum, 1, not the difference
    with_centring = reward(lists([[1.5, -0.5]]), centring=0.1)
    assert float(with_centring) == pytest.approx(-log_sigmoid(2) + 0.1)


def test_k_wise_by_hand() -> None:
    """All comparisons of one prompt, each with the weight 1 / C(K, 2)."""
    values = [0.3, 1.1, -0.7, 0.2]
    expected = -sum(log_sigmoid(values[i] - values[j]) for i, j in combinations(range(4), 2)) / 6
    assert float(reward(lists([values]))) == pytest.approx(expected)


def test_ties_are_not_compared_and_what_is_not_there_does_not_count() -> None:
    given = lists([[2.0, 1.0, 0.5, math.nan]], ranks=[[1.0, 1.0, 3.0, 0.0]], mask=[[True, True, True, False]])
    expected = -(log_sigmoid(1.5) + log_sigmoid(0.5)) / 2
    assert float(reward(given)) == pytest.approx(expected)
    all_tied = lists([[2.0, 1.0]], ranks=[[1.0, 1.0]])
    assert float(reward(all_tied)) == 0.0


def test_margins_of_scores() -> None:
    given = lists([[2.0, 1.0, 0.0]], rewards=[[5.0, 4.0, 1.0]])
    expected = -(log_sigmoid(1 - 0.2) + log_sigmoid(2 - 0.8) + log_sigmoid(1 - 0.6)) / 3
    assert float(reward(given, score_margin=0.2)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="rewards"):
        reward(lists([[2.0, 1.0]]), score_margin=0.2)


def test_soft_labels_and_smoothing_by_hand() -> None:
    for p in (0.0, 0.3, 0.5, 1.0):
        expected = -p * log_sigmoid(0.8) - (1 - p) * log_sigmoid(-0.8)
        assert float(reward(lists([[0.9, 0.1]], preference=[p]))) == pytest.approx(expected)
        q = 0.9 * p + 0.1 * (1 - p)
        smoothed = -q * log_sigmoid(0.8) - (1 - q) * log_sigmoid(-0.8)
        found = reward(lists([[0.9, 0.1]], preference=[p]), label_smoothing=0.1)
        assert float(found) == pytest.approx(smoothed)


def test_a_soft_label_is_fitted_at_its_log_odds() -> None:
    value = torch.tensor([[math.log(0.7 / 0.3), 0.0]], requires_grad=True)
    reward(ValueLists(value, preference=torch.tensor([0.7]))).sum().backward()
    assert value.grad.abs().max() < 1e-6


def test_the_value_function_has_the_shape_of_prospect_theory() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    v = value_function(x, 0.88, 2.25)
    (slope,) = torch.autograd.grad(v.sum(), x)
    assert (v.diff() > 0).all()
    assert (slope[41:].diff() < 0).all()  # concave in gains
    assert (slope[:40].diff() > 0).all()  # convex in losses
    assert torch.allclose(slope[:40].flip(0) / slope[41:], torch.tensor(2.25, dtype=torch.float64))
    assert float(value_function(torch.tensor(0.0), 0.5, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(value_function(torch.tensor(3.0), 0.5, 2.0)) == pytest.approx(3**0.5, abs=2 * KINK**0.5)


def test_the_kahneman_tversky_link_by_hand() -> None:
    def v(h: float) -> float:
        size = (abs(h) + KINK) ** 0.7 - KINK**0.7
        return size if h >= 0 else -3.0 * size

    settings: dict[str, Any] = {"link": "kahneman_tversky", "curvature": 0.7, "loss_aversion": 3.0}
    for gap in (1.2, 0.1, -0.8):
        found = reward(lists([[gap, 0.0]]), reference_point=0.25, margin=0.05, **settings)
        assert float(found) == pytest.approx(-log_sigmoid(v(gap - 0.3)), rel=1e-5)
    at_the_point = torch.tensor([[0.25, 0.0]], requires_grad=True)
    reward(ValueLists(at_the_point), reference_point=0.25, **settings).sum().backward()
    # a tie is learnt from: -sigma(-0) v'(0), and v'(0) = 0.7 KINK^-0.3
    assert float(at_the_point.grad[0, 0]) == pytest.approx(-0.5 * 0.7 * KINK**-0.3, rel=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"margin": 0.3, "score_margin": 0.5, "label_smoothing": 0.1, "centring": 0.05},
        {"link": "kahneman_tversky", "reference_point": 0.37},
    ],
)
def test_gradients_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    start = random_values("lists", torch.float64)
    values = start.values.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: reward(replace(start, values=v), **settings), (values,))
    (own,) = torch.autograd.grad(reward(replace(start, values=values), **settings).sum(), values)
    assert (own[~start.mask] == 0).all()


def test_far_values_stay_finite() -> None:
    value = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0], [0.0, 0.0]], requires_grad=True)
    for link in ("identity", "kahneman_tversky"):
        losses = reward(ValueLists(value), link=link)
        (slope,) = torch.autograd.grad(losses.sum(), value)
        assert losses.isfinite().all()
        assert slope.isfinite().all()
        assert (slope[1:, 0] < 0).all()  # still says which way is up where it is not settled
