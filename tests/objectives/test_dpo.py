"""DPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs

from halign.objectives import Pairs, dpo


def test_values_by_hand() -> None:
    """Dw - Dl = (-1 + 3) - (-5 + 2) = 5 in the first pair, (-4 + 1) - (-2 + 2) = -3 in the second."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2])
    want = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.3))]
    assert dpo(given).tolist() == pytest.approx(want, rel=1e-6)
    want = [math.log(1 + math.exp(-2.0 * 5)), math.log(1 + math.exp(2.0 * 3))]
    assert dpo(given, beta=2.0).tolist() == pytest.approx(want, rel=1e-6)


def test_label_smoothing_weighs_the_flipped_pair() -> None:
    given = pairs([-1], [-5], [-3], [-2])
    right, flipped = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))
    assert dpo(given, label_smoothing=0.2).item() == pytest.approx(0.8 * right + 0.2 * flipped, rel=1e-6)


def test_ln_2_where_policy_is_reference_and_finite_far_away() -> None:
    assert dpo(pairs([-7], [-9], [-7], [-9])).item() == pytest.approx(math.log(2))
    losses = dpo(FAR, beta=1.0)
    assert losses.tolist() == pytest.approx([0.0, 2000.0])
    smoothed = dpo(FAR, beta=1.0, label_smoothing=0.1)
    assert smoothed.tolist() == pytest.approx([200.0, 1800.0])


def test_gradients() -> None:
    assert_gradients(dpo)
    assert_gradients(dpo, beta=0.7, label_smoothing=0.3)
    chosen, rejected = torch.tensor([-7.0], requires_grad=True), torch.tensor([-9.0], requires_grad=True)
    dpo(Pairs(chosen, rejected, chosen.detach(), rejected.detach()), beta=0.3).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx(
        (-0.15, 0.15)
    )  # -+ beta / 2 at the reference


def test_a_missing_reference_is_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_chosen_logps"):
        dpo(Pairs(one, one))
    with pytest.raises(ValueError, match="ref_rejected_logps"):
        dpo(Pairs(one, one, one))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta in (0.1, 1.3):
        assert torch.allclose(dpo(given, beta=beta).mean(), peers.dpo_trainer_loss(given, "sigmoid", beta))
    e = 0.2  # TRL has the smoothed loss only in the robust form, which divides by 1 - 2e and subtracts
    robust = peers.dpo_trainer_loss(given, "robust", 0.1, e) * (1 - 2 * e)
    flipped = dpo(given, beta=0.1, label_smoothing=1.0)
    assert torch.allclose(dpo(given, beta=0.1, label_smoothing=e).mean(), robust + 2 * e * flipped.mean())
