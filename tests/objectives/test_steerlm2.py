"""SteerLM 2: weights, gradient and monitor by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Lists, find, steerlm2
from tests.objectives.samples import FAR_LISTS, lists, random_lists

GIVEN = lists(
    [[-3.0, -4.0, -2.0], [-1.0, -2.0, 9.0]],
    ref_logps=[[-50.0] * 3] * 2,
    behaviour_logps=[[-2.0, -4.0, -3.0], [-1.0, -1.5, 9.0]],
    prior_logps=[[-5.0, -3.0, -6.0], [-2.0, -2.5, 9.0]],
    attribute_logps=[[-0.1, -2.0, -1.0], [-0.7, -0.3, 9.0]],
    mask=[[True, True, True], [True, True, False]],
)


def softmax(x: list[float]) -> list[float]:
    return [math.exp(v) / sum(map(math.exp, x)) for v in x]


def weights(given: Lists, row: int) -> tuple[list[float], list[float]]:
    """(w', b') of one list."""
    tables = (given.logps, given.behaviour_logps, given.prior_logps, given.attribute_logps)
    n = given.logps.shape[1] if given.mask is None else int(given.mask[row].sum())
    assert all(t is not None for t in tables)
    q, behaviour, prior, attribute = (t[row, :n].tolist() for t in tables if t is not None)
    wanted = softmax([a + p - b for a, p, b in zip(attribute, prior, behaviour, strict=True)])
    return wanted, softmax([s - b for s, b in zip(q, behaviour, strict=True)])


def kl(given: Lists, row: int) -> float:
    return sum(w * math.log(w / b) for w, b in zip(*weights(given, row), strict=True))


def test_values_and_gradients_by_hand() -> None:
    logps = GIVEN.logps.clone().requires_grad_()
    losses = steerlm2(replace(GIVEN, logps=logps))
    losses.sum().backward()
    assert logps.grad is not None
    for row in range(2):
        wanted, current = weights(GIVEN, row)
        differences = [w - b for w, b in zip(wanted, current, strict=True)]
        value = -sum(d * s for d, s in zip(differences, GIVEN.logps[row].tolist(), strict=False))
        assert losses[row].item() == pytest.approx(value, rel=1e-5)
        assert logps.grad[row, : len(wanted)].tolist() == pytest.approx([-d for d in differences], rel=1e-5)
    assert logps.grad[1, 2] == 0


def test_the_gradient_is_that_of_the_divergence_it_logs() -> None:
    """Checked by finite differences of KL(w' || b'), in plain Python: the weights are detached, so the loss's own differences
    would be others."""
    given = random_lists(4, dtype=torch.float64)
    logps = given.logps.clone().requires_grad_()
    steerlm2(replace(given, logps=logps)).sum().backward()
    assert logps.grad is not None
    assert given.mask is not None
    step = 1e-5
    for row, column in given.mask.nonzero().tolist():
        up, down = given.logps.clone(), given.logps.clone()
        up[row, column] += step
        down[row, column] -= step
        slope = (kl(replace(given, logps=up), row) - kl(replace(given, logps=down), row)) / (2 * step)
        assert logps.grad[row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_the_monitor_by_hand() -> None:
    monitor = find("steerlm2").monitor
    assert monitor
    found = monitor(GIVEN)["steerlm2_kl"]
    assert found.tolist() == pytest.approx([kl(GIVEN, 0), kl(GIVEN, 1)], rel=1e-5)
    assert (found > 0).all()
    far = monitor(FAR_LISTS)["steerlm2_kl"]
    assert far.isfinite().all()


def test_nothing_to_do_where_the_policy_is_the_target() -> None:
    """Q proportional to P(a|x, y) P(y|x): the weights agree, and so the loss, its gradient and the divergence are 0."""
    start = random_lists(3)
    assert start.prior_logps is not None
    assert start.attribute_logps is not None
    logps = (start.prior_logps + start.attribute_logps - 3).requires_grad_()
    at = replace(start, logps=logps)
    losses = steerlm2(at)
    (grad,) = torch.autograd.grad(losses.sum(), logps)
    assert grad.abs().max() < 1e-6
    monitor = find("steerlm2").monitor
    assert monitor
    assert monitor(at)["steerlm2_kl"].abs().max() < 1e-6


def test_the_reference_stands_in_for_the_model_sampled_from() -> None:
    given = random_lists(3)
    absent = replace(given, behaviour_logps=None, ref_logps=given.behaviour_logps)
    assert torch.equal(steerlm2(given), steerlm2(absent))
    assert torch.equal(steerlm2(given), steerlm2(replace(given, ref_logps=None)))
    with pytest.raises(ValueError, match="ref_logps"):
        steerlm2(replace(given, behaviour_logps=None, ref_logps=None))


def test_far_away() -> None:
    """D = 1000, 0, -1000: b' is all on the first. w' = softmax of attribute + prior + 1010: all on the second."""
    logps = FAR_LISTS.logps.clone().requires_grad_()
    steerlm2(replace(FAR_LISTS, logps=logps)).sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]


def test_what_it_needs() -> None:
    assert find("steerlm2").needs({}) == ("prior_logps", "attribute_logps")
    with pytest.raises(ValueError, match="prior_logps"):
        steerlm2(replace(GIVEN, prior_logps=None))
    with pytest.raises(ValueError, match="attribute_logps"):
        steerlm2(replace(GIVEN, attribute_logps=None))
