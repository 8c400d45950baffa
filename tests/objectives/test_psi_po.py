"""Psi-PO: targets by hand, its members IPO and DPO, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from halign.config import resolve
from halign.errors import HalignError
from halign.objectives import Pairs, dpo, ipo, psi_po
from tests.objectives.samples import FAR, assert_gradients, pairs, random_pairs

P = (0.2, 0.5, 0.9)


def given() -> Pairs:
    """Gaps of 5, -3 and 0 nats."""
    return pairs([-1, -4, -2], [-5, -2, -2], [-3, -1, -1], [-2, -2, -1], preference=torch.tensor(P))


@pytest.mark.parametrize(
    ("psi", "shape"),
    [
        ("identity", lambda p: p),
        ("sqrt", math.sqrt),
        ("cube", lambda p: p**3),
        ("majority", lambda p: 0.0 if p < 0.5 else 0.5 if p == 0.5 else 1.0),
    ],
)
def test_squared_distance_by_hand(psi: str, shape: object) -> None:
    gaps = (5, -3, 0)
    want = [(h - (shape(p) - shape(1 - p)) / (2 * 0.3)) ** 2 for h, p in zip(gaps, P, strict=True)]  # type: ignore[operator]
    assert psi_po(given(), psi=psi, tau=0.3).tolist() == pytest.approx(want, rel=1e-5)


def test_identity_by_its_own_formula() -> None:
    """(5 - (0.4 - 1) / 0.2)^2 = 64, (-3 - 0)^2, (0 - 0.8 / 0.2)^2."""
    assert psi_po(given()).tolist() == pytest.approx([64.0, 9.0, 16.0], rel=1e-5)


def test_logit_by_hand() -> None:
    def loss(t: float, p: float) -> float:
        return p * math.log(1 + math.exp(-t)) + (1 - p) * math.log(1 + math.exp(t))

    want = [loss(0.3 * h, p) for h, p in zip((5, -3, 0), P, strict=True)]
    assert psi_po(given(), psi="logit", tau=0.3).tolist() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("preference", [None, torch.ones(6)])
def test_certain_preferences_are_ipo_and_dpo(preference: Tensor | None) -> None:
    given = replace(random_pairs(6), preference=preference)
    for tau in (0.1, 0.8):
        assert torch.allclose(psi_po(given, tau=tau), ipo(given, beta=tau))
        assert torch.allclose(psi_po(given, psi="logit", tau=tau), dpo(given, beta=tau))


def test_the_minimum_of_either_form_is_the_closed_form_optimum() -> None:
    """Gap (Psi(p) - Psi(1-p)) / (2 tau); for the logit that is log(p / (1-p)) / tau. There the gradient vanishes."""
    zero = torch.zeros(1)
    for psi, optimum in (("identity", (0.8 - 0.2) / 0.6), ("logit", math.log(0.8 / 0.2) / 0.3)):
        chosen = torch.tensor([optimum], requires_grad=True)
        at = Pairs(chosen, zero, zero, zero, preference=torch.tensor([0.8]))
        psi_po(at, psi=psi, tau=0.3).sum().backward()
        assert chosen.grad is not None
        assert chosen.grad.item() == pytest.approx(0, abs=1e-5), psi


def test_a_turned_pair_with_the_opposite_preference_loses_the_same() -> None:
    one = random_pairs(5)
    assert one.preference is not None
    turned = Pairs(
        one.rejected_logps,
        one.chosen_logps,
        one.ref_rejected_logps,
        one.ref_chosen_logps,
        preference=1 - one.preference,
    )
    for psi in ("identity", "logit", "sqrt", "cube", "majority"):
        assert torch.allclose(psi_po(one, psi=psi), psi_po(turned, psi=psi), rtol=1e-4), psi


@pytest.mark.parametrize("psi", ["identity", "logit", "cube"])
def test_gradients(psi: str) -> None:
    assert_gradients(psi_po, psi=psi, tau=0.3)


def test_far_away_and_at_the_reference() -> None:
    far = replace(FAR, preference=torch.tensor([1.0, 0.0]))
    assert psi_po(far, psi="logit", tau=1.0).tolist() == pytest.approx([0.0, 0.0])
    assert psi_po(replace(far, preference=None), psi="logit", tau=1.0).tolist() == pytest.approx(
        [0.0, 2000.0]
    )
    assert psi_po(far).tolist() == pytest.approx([1995.0**2, 1995.0**2])
    at = pairs([-7], [-9], [-7], [-9], preference=torch.tensor([0.5]))
    assert psi_po(at).tolist() == [0.0]
    assert psi_po(at, psi="logit").item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("psi", ["identity", "logit"])
def test_a_preference_that_is_no_probability_is_refused(wrong: float, psi: str) -> None:
    with pytest.raises(ValueError, match=r"Pairs.preference has to lie in \[0, 1\]"):
        psi_po(pairs([-1] * 2, [-1] * 2, [-1] * 2, [-1] * 2, preference=torch.tensor([0.5, wrong])), psi=psi)


def fifth(p: Tensor) -> Tensor:
    """Somebody's Psi."""
    return p**5


def falling(p: Tensor) -> Tensor:
    """It decreases."""
    return 1 - p


def test_a_users_psi_is_found_and_tried() -> None:
    want = [(h - (p**5 - (1 - p) ** 5) / 0.2) ** 2 for h, p in zip((5, -3, 0), P, strict=True)]
    assert psi_po(given(), psi=f"{__name__}:fifth").tolist() == pytest.approx(want, rel=1e-5)
    assert resolve("psi_po", {"psi": f"{__name__}:fifth"}).objective_settings["psi_po"]["psi"]
    for psi, says in (
        ("logti", "no psi 'logti' .known: identity, logit"),
        (f"{__name__}:falling", "non-decreasing"),
        (f"{__name__}:nothing", "cannot be imported"),
    ):
        with pytest.raises(ValueError, match=says):
            psi_po(given(), psi=psi)
        with pytest.raises(HalignError, match=f"psi_po.psi: .*{says}"):
            resolve("psi_po", {"psi": psi})
