"""IPO, on sums and on means: numbers by hand, TRL's, and what happens at the edges."""

from __future__ import annotations

import pytest
import torch

from halign.objectives import Pairs, ipo
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs

LENGTHS = {"chosen_lengths": torch.tensor([4.0, 2.0]), "rejected_lengths": torch.tensor([2.0, 3.0])}


def test_sums_by_hand() -> None:
    """Dw = 2, -3 and Dl = -3, 0, so gaps of 5 and -3; the target is 1 / (2 * 0.1) = 5, then 1 / (2 * 0.25) = 2."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2], **LENGTHS)
    assert ipo(given).tolist() == pytest.approx([0.0, 64.0], abs=1e-6)
    assert ipo(given, beta=0.25).tolist() == pytest.approx([9.0, 25.0])


def test_means_by_hand() -> None:
    """Each log-ratio over its own length: 2/4 + 3/2 = 2 and -3/2 - 0/3 = -1.5, against 5."""
    given = pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2], **LENGTHS)
    assert ipo(given, average=True).tolist() == pytest.approx([9.0, 42.25])


def test_the_reference_itself_and_far_away() -> None:
    assert ipo(pairs([-7], [-9], [-7], [-9])).item() == pytest.approx(25.0)
    assert ipo(FAR).tolist() == pytest.approx([1995.0**2, 2005.0**2])
    assert ipo(FAR, average=True).tolist() == pytest.approx([195.0**2, 205.0**2])


@pytest.mark.parametrize("average", [False, True])
def test_gradients(average: bool) -> None:
    assert_gradients(ipo, beta=0.2, average=average)


def test_a_gap_beyond_the_target_is_pulled_back() -> None:
    chosen = torch.tensor([3.0, 9.0], requires_grad=True)
    zero = torch.zeros(2)
    ipo(Pairs(chosen, zero, zero, zero)).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.tolist() == pytest.approx([-4.0, 8.0])


def test_missing_fields_are_named() -> None:
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_chosen_logps"):
        ipo(Pairs(one, one))
    with pytest.raises(ValueError, match="chosen_lengths"):
        ipo(Pairs(one, one, one, one), average=True)


def test_trl_computes_the_same_with_means() -> None:
    given = random_pairs(6)
    for beta in (0.1, 0.7):
        ours = ipo(given, beta=beta, average=True).mean()
        assert torch.allclose(ours, peers.dpo_trainer_loss(given, "ipo", beta), rtol=1e-5)
        assert not torch.allclose(ipo(given, beta=beta).mean(), ours)
