"""KTO on pairs: numbers by hand, and what happens at the edges. (TRL 1.16 has it no longer.)"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, kto_pair
from halign.objectives.kto_pair import statistics
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_statistics_by_hand() -> None:
    """Dw = 2, 4 (mean 3); Dl = -3, 1 (mean -1, so 0)."""
    given = pairs([-1, -4], [-5, -2], [-3, -8], [-2, -3])
    assert {k: v.item() for k, v in statistics(given).items()} == {"chosen_kl": 3.0, "rejected_kl": 0.0}
    turned = pairs([-5, -2], [-1, -4], [-2, -3], [-3, -8])
    assert {k: v.item() for k, v in statistics(turned).items()} == {"chosen_kl": 0.0, "rejected_kl": 3.0}


def test_values_by_hand() -> None:
    """Dw = 2, Dl = -3 with KL terms 3 (chosen) and 0.5 (rejected): the chosen is held against the rejected's, and vice versa."""
    given = pairs([-1], [-5], [-3], [-2], chosen_kl=torch.tensor(3.0), rejected_kl=torch.tensor(0.5))
    want = ((1 - sigma(0.2 * (2 - 0.5))) + (1 - sigma(0.2 * (3 + 3)))) / 2
    assert kto_pair(given, beta=0.2).tolist() == pytest.approx([want])


def test_against_the_code_of_early_trl() -> None:
    """Its ``kto_pair`` branch, written out: 2P losses, whose mean is the mean of ours."""
    given = random_pairs(6, seed=3)
    assert given.ref_chosen_logps is not None
    assert given.ref_rejected_logps is not None
    chosen_kl = (given.chosen_logps - given.ref_chosen_logps).mean().clamp(min=0)
    rejected_kl = (given.rejected_logps - given.ref_rejected_logps).mean().clamp(min=0)
    chosen_logratios = given.chosen_logps - given.ref_chosen_logps
    rejected_logratios = given.rejected_logps - given.ref_rejected_logps
    theirs = torch.cat(
        (
            1 - torch.sigmoid(0.3 * (chosen_logratios - rejected_kl)),
            1 - torch.sigmoid(0.3 * (chosen_kl - rejected_logratios)),
        ),
        0,
    )
    ours = kto_pair(replace(given, **statistics(given)), beta=0.3)
    assert torch.allclose(ours.mean(), theirs.mean())


def test_one_half_at_the_reference_and_finite_far_away() -> None:
    at = pairs([-7], [-9], [-7], [-9])
    assert kto_pair(replace(at, **statistics(at))).tolist() == [0.5]
    zero = {"chosen_kl": torch.tensor(0.0), "rejected_kl": torch.tensor(0.0)}
    assert kto_pair(replace(FAR, **zero), beta=1.0).tolist() == pytest.approx([0.0, 1.0])


def test_gradients() -> None:
    terms = {"chosen_kl": torch.tensor(0.7).double(), "rejected_kl": torch.tensor(0.2).double()}
    assert_gradients(kto_pair, terms, beta=0.3)


def test_no_gradient_flows_through_the_kl_terms() -> None:
    terms = {k: torch.tensor(0.4, requires_grad=True) for k in ("chosen_kl", "rejected_kl")}
    given = replace(random_pairs(3), **terms)
    given.chosen_logps.requires_grad_()
    kto_pair(given).sum().backward()
    assert all(t.grad is None for t in terms.values())
    assert all(not v.requires_grad for v in statistics(given).values())


def test_missing_fields_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_chosen_logps"):
        kto_pair(Pairs(one, one))
    with pytest.raises(ValueError, match="chosen_kl"):
        kto_pair(Pairs(one, one, one, one))
