"""EXO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import exo
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, assert_stable, pairs, random_pairs


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_values_by_hand() -> None:
    """Dw - Dl = 5: the policy chooses the chosen with q = sigma(0.5)."""
    given = pairs([-1], [-5], [-3], [-2])
    q = sigma(0.5)
    for e in (1e-3, 0.2):
        want = q * math.log(q / (1 - e)) + (1 - q) * math.log((1 - q) / e)
        assert exo(given, label_smoothing=e).item() == pytest.approx(want, rel=1e-5)
    assert exo(given).item() == exo(given, label_smoothing=1e-3).item()


def test_nothing_is_lost_where_the_policy_is_as_sure_as_the_label() -> None:
    gap = math.log(0.8 / 0.2)
    assert exo(pairs([gap], [0], [0], [0]), beta=1.0, label_smoothing=0.2).item() == pytest.approx(
        0, abs=1e-6
    )


def test_gradients_and_edges() -> None:
    assert_gradients(exo)
    assert_gradients(exo, beta=0.7, label_smoothing=0.3)
    assert_stable(exo)
    assert_stable(exo, beta=5.0)
    assert exo(FAR, beta=1.0).tolist() == pytest.approx([-math.log(0.999), -math.log(0.001)])


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta, e in ((0.1, 1e-3), (1.3, 0.25)):
        theirs = peers.dpo_trainer_loss(given, "exo_pair", beta, e)
        assert torch.allclose(exo(given, beta=beta, label_smoothing=e).mean(), theirs, rtol=1e-4)
