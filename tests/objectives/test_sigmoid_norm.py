"""Length-normalised DPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, dpo, sigmoid_norm
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, pairs, random_pairs


def test_values_by_hand() -> None:
    """Dw / 4 = 2 / 4, Dl / 2 = -3 / 2: a gap of 2."""
    given = pairs(
        [-1], [-5], [-3], [-2], chosen_lengths=torch.tensor([4.0]), rejected_lengths=torch.tensor([2.0])
    )
    assert sigmoid_norm(given).item() == pytest.approx(math.log(1 + math.exp(-0.2)))
    want = 0.7 * math.log(1 + math.exp(-10)) + 0.3 * math.log(1 + math.exp(10))
    assert sigmoid_norm(given, beta=5.0, label_smoothing=0.3).item() == pytest.approx(want)


def test_it_is_dpo_for_single_tokens() -> None:
    one = torch.ones(6)
    given = replace(random_pairs(6), chosen_lengths=one, rejected_lengths=one)
    assert torch.equal(sigmoid_norm(given, beta=0.3), dpo(given, beta=0.3))


def test_gradients_and_edges() -> None:
    assert_gradients(sigmoid_norm)
    assert_gradients(sigmoid_norm, beta=5.0, label_smoothing=0.3)
    assert_stable(sigmoid_norm)
    assert_stable(sigmoid_norm, beta=50.0)


def test_missing_lengths_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="chosen_lengths"):
        sigmoid_norm(Pairs(one, one, one, one))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta in (0.1, 5.0):
        assert torch.allclose(
            sigmoid_norm(given, beta=beta).mean(), peers.dpo_trainer_loss(given, "sigmoid_norm", beta)
        )
