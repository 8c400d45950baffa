"""SPIN: numbers by hand, and the losses that it equals as a formula."""

from __future__ import annotations

import math

import pytest
import torch

from halign.objectives import Pairs, dpo, hinge, spin
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs


def test_values_by_hand() -> None:
    """Gaps of 5 and -3 nats."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2])
    assert spin(given).tolist() == pytest.approx([math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(0.3))])
    assert spin(given, beta=0.4, loss="hinge").tolist() == pytest.approx([0.0, 2.2])


def test_it_is_dpo_and_the_hinge_with_other_data() -> None:
    given = random_pairs(6)
    for beta in (0.1, 2.0):
        assert torch.allclose(spin(given, beta=beta), dpo(given, beta=beta), atol=1e-6)
        assert torch.equal(spin(given, beta=beta, loss="hinge"), hinge(given, beta=beta))


def test_at_the_previous_iterate_and_far_away() -> None:
    at = pairs([-7], [-9], [-7], [-9])
    assert spin(at).item() == pytest.approx(math.log(2))
    assert spin(at, loss="hinge").item() == 1.0
    assert spin(FAR, beta=1.0).tolist() == pytest.approx([0.0, 2000.0])
    assert spin(FAR, beta=1.0, loss="hinge").tolist() == pytest.approx([0.0, 2001.0])


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_gradients(loss: str) -> None:
    assert_gradients(spin, beta=0.2, loss=loss)


def test_a_missing_reference_is_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_chosen_logps"):
        spin(Pairs(one, one))
