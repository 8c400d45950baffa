"""Robust DPO: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import dpo, robust_dpo
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, pairs, random_pairs


def test_values_by_hand() -> None:
    """Dw - Dl = (-1 + 3) - (-5 + 2) = 5."""
    given = pairs([-1], [-5], [-3], [-2])
    right, flipped = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.5))
    assert robust_dpo(given, label_smoothing=0.2).item() == pytest.approx(
        (0.8 * right - 0.2 * flipped) / 0.6, rel=1e-6
    )


def test_its_mean_over_flips_is_the_loss_on_clean_labels() -> None:
    clean = random_pairs(6)
    flipped = replace(
        clean,
        chosen_logps=clean.rejected_logps,
        rejected_logps=clean.chosen_logps,
        ref_chosen_logps=clean.ref_rejected_logps,
        ref_rejected_logps=clean.ref_chosen_logps,
    )
    mean = 0.7 * robust_dpo(clean, label_smoothing=0.3) + 0.3 * robust_dpo(flipped, label_smoothing=0.3)
    assert torch.allclose(mean, dpo(clean), atol=1e-6)


def test_gradients_and_edges() -> None:
    assert_gradients(robust_dpo)
    assert_gradients(robust_dpo, beta=0.7, label_smoothing=0.4)
    assert_stable(robust_dpo)
    assert_stable(robust_dpo, beta=5.0, label_smoothing=0.49)
    assert robust_dpo(pairs([-7], [-9], [-7], [-9])).item() == pytest.approx(math.log(2))


def test_trl_computes_the_same() -> None:
    given = random_pairs(6)
    for beta, e in ((0.1, 0.0), (1.3, 0.25)):
        theirs = peers.dpo_trainer_loss(given, "robust", beta, e)
        assert torch.allclose(robust_dpo(given, beta=beta, label_smoothing=e).mean(), theirs)
