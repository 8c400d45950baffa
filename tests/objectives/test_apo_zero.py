"""APO zero: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import apo_zero
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, assert_stable, pairs, random_pairs


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_values_by_hand() -> None:
    """Dw = -1 + 3 = 2, Dl = -5 + 2 = -3."""
    given = pairs([-1], [-5], [-3], [-2])
    for beta in (0.1, 0.8):
        want = 1 - sigma(2 * beta) + sigma(-3 * beta)
        assert apo_zero(given, beta=beta).item() == pytest.approx(want, rel=1e-6)


def test_gradients_and_edges() -> None:
    assert_gradients(apo_zero)
    assert_gradients(apo_zero, beta=0.7)
    assert_stable(apo_zero)
    assert_stable(apo_zero, beta=5.0)
    assert apo_zero(FAR, beta=1.0).tolist() == pytest.approx([0.0, 2.0])
    assert apo_zero(pairs([-7], [-9], [-7], [-9])).item() == 1.0


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta in (0.1, 1.3):
        assert torch.allclose(
            apo_zero(given, beta=beta).mean(), peers.dpo_trainer_loss(given, "apo_zero", beta)
        )
