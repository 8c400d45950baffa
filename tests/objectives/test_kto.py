"""KTO and its reference point: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Singles, kto
from halign.objectives.kto import balanced_weights, statistics
from tests.objectives import peers
from tests.objectives.samples import random_singles


def singles(logps: list[float], ref: list[float], desirable: list[bool], kl: float) -> Singles:
    return Singles(
        torch.tensor(logps), torch.tensor(ref), desirable=torch.tensor(desirable), kl=torch.tensor(kl)
    )


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_values_by_hand() -> None:
    """D = 3, z0 = 1: a good one loses 1 - sigma(2 beta), a bad one 1 - sigma(-2 beta)."""
    given = singles([-7.0, -7.0], [-10.0, -10.0], [True, False], 1.0)
    assert kto(given, beta=0.5).tolist() == pytest.approx([1 - sigma(1.0), 1 - sigma(-1.0)])
    weighted = kto(given, beta=0.5, desirable_weight=2.0, undesirable_weight=3.0)
    assert weighted.tolist() == pytest.approx([2 * (1 - sigma(1.0)), 3 * (1 - sigma(-1.0))])


def test_the_reference_point_is_the_mean_over_mismatched_completions_and_never_negative() -> None:
    """(-10 + 14) and (-20 + 18): 4 and -2, mean 1. The items' own log-ratios (100) are not asked."""
    given = Singles(
        torch.tensor([0.0, 0.0]),
        torch.tensor([-100.0, -100.0]),
        mismatch_logps=torch.tensor([-10.0, -20.0], requires_grad=True),
        ref_mismatch_logps=torch.tensor([-14.0, -18.0]),
    )
    found = statistics(given)
    assert found["kl"].item() == pytest.approx(1.0)
    assert not found["kl"].requires_grad
    swapped = replace(given, mismatch_logps=given.ref_mismatch_logps, ref_mismatch_logps=given.mismatch_logps)
    assert statistics(swapped)["kl"].item() == 0.0


def test_one_half_at_the_reference_and_finite_far_away() -> None:
    at = singles([-9.0, -9.0], [-9.0, -9.0], [True, False], 0.0)
    assert kto(at).tolist() == [0.5, 0.5]
    far = singles([-10.0, -1010.0] * 2, [-1010.0, -10.0] * 2, [True, True, False, False], 0.0)
    assert kto(far, beta=1.0).tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])


def test_gradients() -> None:
    start = random_singles(6, torch.float64)
    kl = torch.tensor(0.4, dtype=torch.float64)

    def losses(logps: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        given = Singles(logps, ref, desirable=start.desirable, kl=kl)
        return kto(given, beta=0.3, desirable_weight=1.5, undesirable_weight=0.7)

    assert start.ref_logps is not None
    inputs = (start.logps.clone().requires_grad_(), start.ref_logps.clone().requires_grad_())
    assert torch.autograd.gradcheck(losses, inputs)
    losses(*inputs).sum().backward()
    assert inputs[0].grad is not None
    signs = inputs[0].grad.sign().tolist()
    assert signs == [-1, 1, -1, 1, -1, 1]  # descent lifts the good and lowers the bad


def test_no_gradient_flows_through_the_reference_point() -> None:
    kl = torch.tensor(0.4, requires_grad=True)
    logps = torch.tensor([-3.0], requires_grad=True)
    kto(Singles(logps, torch.tensor([-4.0]), desirable=torch.tensor([True]), kl=kl)).sum().backward()
    assert kl.grad is None
    assert logps.grad is not None


def test_missing_fields_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_logps"):
        kto(Singles(one))
    with pytest.raises(ValueError, match="desirable"):
        kto(Singles(one, one, kl=one))
    with pytest.raises(ValueError, match=r"Singles\.kl"):
        kto(Singles(one, one, desirable=torch.tensor([True])))
    with pytest.raises(ValueError, match="mismatch_logps"):
        statistics(Singles(one, one))


def test_trl_computes_the_same() -> None:
    given = random_singles(7)
    lengths = torch.arange(1, 8)
    for settings in (
        {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
        {"beta": 0.4, "desirable_weight": 1.3, "undesirable_weight": 0.6},
    ):
        theirs = peers.kto_trainer_loss(given, lengths, **settings)
        ours = kto(replace(given, kl=statistics(given)["kl"]), **settings)
        assert statistics(given)["kl"] > 0
        assert torch.allclose(ours.mean(), theirs, rtol=1e-5)


@pytest.mark.parametrize(("good", "bad"), [(1, 1), (3, 97), (97, 3), (40, 31), (1, 1000)])
def test_balanced_weights_bring_the_ratio_of_totals_into_the_papers_range(good: int, bad: int) -> None:
    desirable, undesirable = balanced_weights(good, bad)
    assert 1 <= desirable * good / (undesirable * bad) * (1 + 1e-12) <= 4 / 3 * (1 + 1e-9)
    assert 1.0 in (desirable, undesirable)
