"""The hinge on implicit rewards: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import pytest
import torch

from halign.objectives import Pairs, hinge
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs


def test_values_by_hand() -> None:
    """Gaps of 5, -3 and 30 nats."""
    given = pairs([-1, -4, -1], [-5, -2, -30], [-3, -1, -11], [-2, -2, -10])
    assert hinge(given).tolist() == pytest.approx([1 - 0.25, 1 + 0.15, 0.0])
    assert hinge(given, beta=0.3).tolist() == pytest.approx([0.0, 1.9, 0.0])


def test_one_at_the_reference_and_finite_far_away() -> None:
    assert hinge(pairs([-7], [-9], [-7], [-9])).tolist() == [1.0]
    assert hinge(FAR).tolist() == pytest.approx([0.0, 101.0])


def test_gradients() -> None:
    assert_gradients(hinge)
    chosen, zero = torch.tensor([3.0, 30.0], requires_grad=True), torch.zeros(2)
    hinge(Pairs(chosen, zero, zero, zero)).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.tolist() == pytest.approx([-0.05, 0.0])  # a pair beyond 1 / beta is left alone


def test_a_missing_reference_is_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_chosen_logps"):
        hinge(Pairs(one, one))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta in (0.05, 0.7):
        assert torch.allclose(hinge(given, beta=beta).mean(), peers.dpo_trainer_loss(given, "hinge", beta))
