"""DPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from halign.objectives import Pairs, dpo
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, assert_stable, pairs, random_pairs


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


DIVERGENCES = {
    "reverse_kl": lambda d: d,
    "forward_kl": lambda d: 1 - math.exp(-d),
    "js": lambda d: math.log(2 * math.exp(d) / (1 + math.exp(d))),
    "alpha": lambda d: (1 - math.exp(-0.3 * d)) / 0.3,
}


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergences_by_hand(divergence: Any) -> None:
    """Dw = 2, Dl = -3 in the first pair, -3 and 0 in the second."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2])
    g = DIVERGENCES[divergence]
    want = [math.log(1 + math.exp(-0.1 * (g(dw) - g(dl)))) for dw, dl in ((2, -3), (-3, 0))]
    assert dpo(given, divergence=divergence, alpha=0.3).tolist() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergences_have_right_gradients_and_stay_finite(divergence: Any) -> None:
    assert_gradients(dpo, divergence=divergence)
    assert_gradients(dpo, divergence=divergence, alpha=0.8, beta=0.02, label_smoothing=0.2)
    for alpha in (0.01, 0.5, 0.99):
        for beta in (0.1, 10.0):
            assert_stable(dpo, divergence=divergence, alpha=alpha, beta=beta, label_smoothing=0.1)
    at = dpo(pairs([-7], [-9], [-7], [-9]), divergence=divergence)
    assert at.item() == pytest.approx(math.log(2))


def test_where_the_exponential_ends_its_slope_goes_on() -> None:
    """From D = -30 on the forward KL's reward falls by e^30 per nat."""
    given = pairs([-29.9, -31, -500], [0, 0, 0], [0, 0, 0], [0, 0, 0])
    given.chosen_logps.requires_grad_()
    losses = dpo(given, divergence="forward_kl", beta=1.0)
    steep = math.exp(30)
    assert losses.tolist() == pytest.approx([math.exp(29.9), steep * 2, steep * 471], rel=1e-5)
    (gradient,) = torch.autograd.grad(losses.sum(), given.chosen_logps)
    assert gradient.tolist() == pytest.approx([-math.exp(29.9), -steep, -steep], rel=1e-5)


def test_alpha_lies_between_the_two_kls() -> None:
    given = random_pairs(6, torch.float64)
    near = dpo(given, divergence="alpha", alpha=1e-6)
    assert torch.allclose(near, dpo(given), atol=1e-4)
    far = dpo(given, divergence="alpha", alpha=1 - 1e-9)
    assert torch.allclose(far, dpo(given, divergence="forward_kl"))


def test_trl_computes_the_same_divergences() -> None:
    """Its coefficient is one minus the paper's alpha."""
    given = random_pairs(6)
    for ours, theirs, alpha in (
        ("forward_kl", "forward_kl", 0.5),
        ("js", "js_divergence", 0.5),
        ("alpha", "alpha_divergence", 0.5),
        ("alpha", "alpha_divergence", 0.2),
    ):
        loss = peers.dpo_trainer_loss(given, "sigmoid", 0.1, divergence=theirs, alpha=1 - alpha)
        assert torch.allclose(dpo(given, divergence=ours, alpha=alpha).mean(), loss, rtol=1e-4)  # type: ignore[arg-type]
