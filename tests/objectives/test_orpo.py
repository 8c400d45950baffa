"""ORPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, orpo
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, random_pairs


def means(chosen: float, rejected: float) -> Pairs:
    """One-token responses."""
    one = torch.ones(1)
    return Pairs(torch.tensor([chosen]), torch.tensor([rejected]), chosen_lengths=one, rejected_lengths=one)


def by_hand(chosen: float, rejected: float, beta: float) -> float:
    def odds(mean: float) -> float:
        return math.exp(mean) / (1 - math.exp(mean))

    ratio = odds(chosen) / odds(rejected)
    return -chosen - beta * math.log(ratio / (1 + ratio))


def test_values_by_hand() -> None:
    """Probabilities a half and a quarter have odds 1 and 1/3, so a ratio of 3."""
    given = means(math.log(0.5), math.log(0.25))
    assert orpo(given, beta=0.1).item() == pytest.approx(math.log(2) - 0.1 * math.log(3 / 4))
    for chosen, rejected in ((-0.01, -2.0), (-0.7, -0.69), (-5.0, -0.1)):
        assert orpo(means(chosen, rejected), beta=0.4).item() == pytest.approx(
            by_hand(chosen, rejected, 0.4), rel=1e-5
        )


def test_sums_are_divided_by_lengths() -> None:
    long = Pairs(
        torch.tensor([-6.0]),
        torch.tensor([-8.0]),
        chosen_lengths=torch.tensor([3.0]),
        rejected_lengths=torch.tensor([2.0]),
    )
    assert orpo(long).item() == pytest.approx(by_hand(-2, -4, 0.1))


def test_no_weight_leaves_the_likelihood() -> None:
    assert orpo(means(-3.0, -1.0), beta=0.0).item() == 3.0


def test_gradients_and_edges() -> None:
    assert_gradients(orpo)
    assert_gradients(orpo, beta=3.0)
    assert_stable(orpo)


@pytest.mark.parametrize("chosen", [0.0, -1e-9, -1e-6, -1e-3, -300.0])
@pytest.mark.parametrize("rejected", [0.0, -1e-9, -1e-6, -1e-3, -300.0])
def test_finite_from_certain_to_impossible(chosen: float, rejected: float) -> None:
    given = means(chosen, rejected)
    inputs = (given.chosen_logps.requires_grad_(), given.rejected_logps.requires_grad_())
    losses = orpo(given)
    assert torch.isfinite(losses).all()
    for gradient in torch.autograd.grad(losses.sum(), inputs):
        assert torch.isfinite(gradient.square()).all()


def test_trl_computes_the_same() -> None:
    """Its likelihood is a mean over all tokens, so that equal lengths are needed."""
    start = random_pairs(6)
    same = torch.full((6,), 7.0)
    given = replace(start, chosen_lengths=same, rejected_lengths=torch.arange(1.0, 7.0))
    given = replace(given, chosen_logps=-given.chosen_logps.abs(), rejected_logps=-given.rejected_logps.abs())
    for beta in (0.1, 2.0):
        assert torch.allclose(orpo(given, beta=beta).mean(), peers.orpo_trainer_loss(given, beta), rtol=1e-4)
