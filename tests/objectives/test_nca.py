"""NCA: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import nca
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, pairs, random_pairs


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_values_by_hand() -> None:
    """Dw = -1 + 3 = 2, Dl = -5 + 2 = -3."""
    given = pairs([-1], [-5], [-3], [-2])
    for beta in (0.1, 0.8):
        want = softplus(-2 * beta) + softplus(2 * beta) / 2 + softplus(-3 * beta) / 2
        assert nca(given, beta=beta).item() == pytest.approx(want, rel=1e-6)


def test_the_best_reward_of_the_chosen_is_finite() -> None:
    """d/dr [softplus(-r) + softplus(r) / 2] = 0 where sigma(r) = 2/3."""
    best = pairs([math.log(2)], [0], [0], [0])
    best.chosen_logps.requires_grad_()
    nca(best, beta=1.0).sum().backward()
    assert best.chosen_logps.grad is not None
    assert best.chosen_logps.grad.item() == pytest.approx(0, abs=1e-6)


def test_gradients_and_edges() -> None:
    assert_gradients(nca)
    assert_gradients(nca, beta=0.7)
    assert_stable(nca)
    assert_stable(nca, beta=5.0)
    assert nca(pairs([-7], [-9], [-7], [-9])).item() == pytest.approx(2 * math.log(2))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta in (0.1, 1.3):
        assert torch.allclose(nca(given, beta=beta).mean(), peers.dpo_trainer_loss(given, "nca_pair", beta))
