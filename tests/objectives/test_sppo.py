"""SPPO on pairs: numbers by hand, TRL's, and targets that no policy reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from halign.objectives import Pairs, find, sppo
from tests.objectives import peers
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs


def rated(given: Pairs, wins: list[float], losses: list[float]) -> Pairs:
    return replace(given, chosen_win_rate=torch.tensor(wins), rejected_win_rate=torch.tensor(losses))


def test_values_by_hand() -> None:
    """Dw = 2, -3 and Dl = -3, 0. With beta 0.1 the targets are 4, 1 (chosen) and -2, 0.5 (rejected)."""
    given = rated(pairs([-1, -4], [-5, -2], [-3, -1], [-2, -2]), [0.9, 0.6], [0.3, 0.55])
    want = [((2 - 4) ** 2 + (-3 + 2) ** 2) / 2, ((-3 - 1) ** 2 + (0 - 0.5) ** 2) / 2]
    assert sppo(given, beta=0.1).tolist() == pytest.approx(want, rel=1e-5)
    want = [((2 - 400) ** 2 + (-3 + 200) ** 2) / 2, ((-3 - 100) ** 2 + (0 - 50) ** 2) / 2]
    assert sppo(given).tolist() == pytest.approx(want, rel=1e-4)


def test_even_odds_keep_the_policy_where_it_is() -> None:
    at = rated(pairs([-7], [-9], [-7], [-9]), [0.5], [0.5])
    at.chosen_logps.requires_grad_()
    loss = sppo(at)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert at.chosen_logps.grad is not None
    assert at.chosen_logps.grad.tolist() == [0.0]


def test_far_away_is_finite() -> None:
    far = rated(FAR, [1.0, 1.0], [0.0, 0.0])
    assert sppo(far).tolist() == pytest.approx([500.0**2, 1500.0**2])


def test_gradients() -> None:
    assert_gradients(sppo, beta=0.05)


def test_the_share_of_targets_that_no_policy_reaches_is_logged() -> None:
    """Targets of 40 and -20, then 4 and -4 nats. The reference leaves 30 and 10, then 5 and 4 nats of room: only 40 > 30 is too
    far. A drop is always possible."""
    given = rated(pairs([-1, -1], [-1, -1], [-30, -5], [-10, -4]), [0.9, 0.54], [0.3, 0.46])
    objective = find("sppo")
    assert objective.monitor
    assert objective.monitor(given, beta=0.01)["sppo_unreachable"].tolist() == [0.5, 0.0]
    both = rated(given, [0.9, 0.5], [0.7, 0.7])
    assert objective.monitor(both, beta=0.01)["sppo_unreachable"].tolist() == [1.0, 0.5]
    assert objective.monitor(both, beta=1.0)["sppo_unreachable"].tolist() == [0.0, 0.0]


def test_missing_and_impossible_win_rates_are_named() -> None:
    assert find("sppo").needs({"beta": 0.001}) == ("chosen_win_rate", "rejected_win_rate")
    given = pairs([-1], [-1], [-1], [-1])
    with pytest.raises(ValueError, match="chosen_win_rate"):
        sppo(given)
    with pytest.raises(ValueError, match=r"chosen_win_rate has to lie in \[0, 1\]"):
        sppo(rated(given, [3.0], [0.5]))
    with pytest.raises(ValueError, match=r"rejected_win_rate has to lie in \[0, 1\]"):
        sppo(rated(given, [0.5], [-0.1]))


def test_trl_computes_the_same_with_certain_win_rates() -> None:
    """Its ``sppo_hard`` has win rates of 1 and 0, and no factor of one half."""
    given = rated(random_pairs(6), [1.0] * 6, [0.0] * 6)
    for beta in (0.001, 0.2):
        theirs = peers.dpo_trainer_loss(given, "sppo_hard", beta)
        assert torch.allclose(2 * sppo(given, beta=beta).mean(), theirs)
