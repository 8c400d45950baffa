"""SimPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import Pairs, simpo
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, random_pairs


def lengthy(chosen: float, rejected: float, chosen_length: float, rejected_length: float) -> Pairs:
    columns = (torch.tensor([v]) for v in (chosen, rejected))
    return Pairs(
        *columns,
        chosen_lengths=torch.tensor([chosen_length]),
        rejected_lengths=torch.tensor([rejected_length]),
    )


def test_values_by_hand() -> None:
    """Means -8 / 4 = -2 and -9 / 3 = -3."""
    given = lengthy(-8, -9, 4, 3)
    assert simpo(given).item() == pytest.approx(math.log(1 + math.exp(-(2 * 1 - 0.5))))
    assert simpo(given, beta=3.0, gamma=1.2).item() == pytest.approx(math.log(1 + math.exp(-(3 * 1 - 1.2))))
    right, flipped = math.log(1 + math.exp(-1.5)), math.log(1 + math.exp(1.5))
    assert simpo(given, label_smoothing=0.2).item() == pytest.approx(0.8 * right + 0.2 * flipped)


def test_length_alone_is_no_advantage() -> None:
    assert simpo(lengthy(-8, -40, 4, 20), gamma=0.0).item() == pytest.approx(math.log(2))


def test_gradients_and_edges() -> None:
    assert_gradients(simpo)
    assert_gradients(simpo, label_smoothing=0.1)
    assert_stable(simpo)
    assert_stable(simpo, beta=10.0, gamma=3.0, label_smoothing=0.3)


def test_missing_lengths_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="chosen_lengths"):
        simpo(Pairs(one, one))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for settings in ({"beta": 2.0, "label_smoothing": 0.0}, {"beta": 0.7, "label_smoothing": 0.2}):
        theirs = peers.cpo_trainer_loss(given, "simpo", simpo_gamma=0.5, cpo_alpha=0.0, **settings)
        assert torch.allclose(simpo(given, gamma=0.5, **settings).mean(), theirs)
