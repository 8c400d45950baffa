"""DiscoPOP: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import Pairs, discopop
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, assert_stable, pairs, random_pairs


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_values_by_hand() -> None:
    """Dw - Dl = 5 in the first pair, -3 in the second."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2])
    for beta, tau in ((0.1, 0.05), (0.02, 0.5), (0.3, 1.0)):
        want = []
        for h in (5 * beta, -3 * beta):
            m = sigma(h / tau)
            want.append((1 - m) * math.log(1 + math.exp(-h)) + m * math.exp(-h))
        assert discopop(given, beta=beta, temperature=tau).tolist() == pytest.approx(want, rel=1e-5)


def test_gradients_and_edges() -> None:
    assert_gradients(discopop)
    assert_gradients(discopop, beta=0.7, temperature=1.0)
    for temperature in (0.05, 0.5, 1.0):
        assert_stable(discopop, temperature=temperature)
        assert_stable(discopop, beta=5.0, temperature=temperature)
    assert discopop(FAR, beta=1.0).tolist() == pytest.approx([0.0, 2000.0])
    assert discopop(pairs([-7], [-9], [-7], [-9])).item() == pytest.approx((1 + math.log(2)) / 2)


def test_the_hump_and_the_valley_that_the_docstring_tells_of() -> None:
    h = torch.linspace(-0.5, 0.5, 1001)
    nothing = torch.zeros_like(h)
    slope = discopop(Pairs(h, nothing, nothing, nothing), beta=1.0).diff().sign()
    turns = [round(h[i + 1].item(), 2) for i in range(999) if slope[i] != slope[i + 1]]
    assert turns == [-0.12, 0.07]


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta, tau in ((0.1, 0.05), (0.7, 0.6)):
        theirs = peers.dpo_trainer_loss(given, "discopop", beta, temperature=tau)
        assert torch.allclose(discopop(given, beta=beta, temperature=tau).mean(), theirs, rtol=1e-4)
