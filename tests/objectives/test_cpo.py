"""CPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, cpo
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, random_pairs


def test_values_by_hand() -> None:
    """s = -4 and -7: ln(1 + e^(-3 beta)) and 4 nats of likelihood, 2 per token."""
    given = Pairs(torch.tensor([-4.0]), torch.tensor([-7.0]), chosen_lengths=torch.tensor([2.0]))
    assert cpo(given).item() == pytest.approx(math.log(1 + math.exp(-0.3)) + 4)
    assert cpo(given, beta=1.0, sft_weight=0.5).item() == pytest.approx(math.log(1 + math.exp(-3)) + 2)
    assert cpo(given, average=True).item() == pytest.approx(math.log(1 + math.exp(-0.3)) + 2)
    smooth = 0.9 * math.log(1 + math.exp(-0.3)) + 0.1 * math.log(1 + math.exp(0.3))
    assert cpo(given, sft_weight=0.0, label_smoothing=0.1).item() == pytest.approx(smooth)


def test_gradients_and_edges() -> None:
    assert_gradients(cpo)
    assert_gradients(cpo, beta=0.7, sft_weight=0.3, average=True, label_smoothing=0.2)
    assert_stable(cpo)
    assert_stable(cpo, beta=5.0, average=True, label_smoothing=0.2)


def test_missing_lengths_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="chosen_lengths"):
        cpo(Pairs(one, one), average=True)


def test_trl_computes_the_same() -> None:
    """Its likelihood is a mean over all tokens, so that equal lengths are needed."""
    given = replace(random_pairs(6), chosen_lengths=torch.full((6,), 7.0))
    for beta, weight, smoothing in ((0.1, 1.0, 0.0), (0.8, 0.3, 0.2)):
        theirs = peers.cpo_trainer_loss(given, beta=beta, cpo_alpha=weight, label_smoothing=smoothing)
        ours = cpo(given, beta=beta, sft_weight=weight, average=True, label_smoothing=smoothing)
        assert torch.allclose(ours.mean(), theirs)
