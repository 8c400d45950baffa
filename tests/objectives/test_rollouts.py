"""What loops that sample learn by: clipped losses by hand and by finite differences, KL estimators over every outcome."""

from __future__ import annotations

import math

import pytest
import torch

from halign.errors import HalignError
from halign.objectives import Rollouts, clipped_policy, clipped_value, find, kl_penalty
from halign.objectives.clipped_policy import update_figures
from halign.objectives.clipped_value import value_figures
from halign.objectives.kl_penalty import kl_estimates


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


RATIOS = (0.5, 0.9, 1.0, 1.1, 1.5)


def rollouts(ratio: float, advantage: float, **more) -> Rollouts:
    return Rollouts(t(math.log(ratio) - 1), old_logps=t(-1), advantages=t(advantage), **more)


@pytest.mark.parametrize(
    ("advantage", "expected"),
    # of a good token the gain is cut above 1.2; of a bad one below .8
    [(2.0, (-1.0, -1.8, -2.0, -2.2, -2.4)), (-2.0, (1.6, 1.8, 2.0, 2.2, 3.0))],
)
def test_clipped_policy_by_hand(advantage: float, expected: tuple[float, ...]) -> None:
    found = [float(clipped_policy(rollouts(r, advantage), clip=0.2)) for r in RATIOS]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_clipped_policy_gradient(ratio: float, advantage: float) -> None:
    """-A rho d log pi inside, 0 where a step further would no longer count; and finite differences."""
    logps = (t(math.log(ratio) - 1)).requires_grad_()
    clipped_policy(Rollouts(logps, old_logps=t(-1), advantages=t(advantage))).sum().backward()
    cut = ratio > 1.2 if advantage > 0 else ratio < 0.8
    assert logps.grad is not None
    assert float(logps.grad) == pytest.approx(0.0 if cut else -advantage * ratio)
    step = 1e-6
    above, below = (
        clipped_policy(Rollouts(logps.detach() + d, old_logps=t(-1), advantages=t(advantage)))
        for d in (step, -step)
    )
    assert float(above - below) / (2 * step) == pytest.approx(float(logps.grad), abs=1e-6)


def test_update_figures_by_hand() -> None:
    r = Rollouts(t(math.log(0.5), 0.0), old_logps=t(0.0, 0.0), advantages=t(1.0, 1.0))
    found = update_figures(r, clip=0.2)
    assert found["clip_fraction"].tolist() == [1.0, 0.0]
    assert found["update_kl"].tolist() == pytest.approx([0.5 - 1 + math.log(2), 0.0])
    assert float(found["ratio_max"].max()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    # old 0, return 1, clip .2: (v, clipped) -> half the larger squared error
    [(0.1, 0.405), (0.5, 0.32), (1.0, 0.32), (-0.5, 1.125), (3.0, 2.0)],
)
def test_clipped_value_by_hand(value: float, expected: float) -> None:
    r = Rollouts(t(-1), values=t(value), old_values=t(0), returns=t(1))
    assert float(clipped_value(r, clip=0.2)) == pytest.approx(expected)
    assert float(clipped_value(r, clip=None)) == pytest.approx(0.5 * (value - 1) ** 2)
    assert value_figures(r, clip=0.2)["value_clip_fraction"].tolist() == [float(abs(value) > 0.2)]


def test_clipped_value_gradient_is_none_where_it_is_clipped() -> None:
    values = t(0.5, 0.1).requires_grad_()
    clipped_value(Rollouts(t(-1, -1), values=values, old_values=t(0, 0), returns=t(1, 1))).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, -0.9])


LOGITS, REFERENCE = t(0.4, -0.3, 0.8, 0.0), t(0.0, 0.5, -0.5, 0.2).log_softmax(0)


def test_k1_and_k3_mean_the_kl_and_k2_does_not() -> None:
    """Means over every token with its probability, against KL written out."""
    logps = LOGITS.log_softmax(0)
    kl = float((logps.exp() * (logps - REFERENCE)).sum())
    means = {name: float(logps.exp() @ e) for name, e in kl_estimates(logps, REFERENCE).items()}
    assert means["k1"] == pytest.approx(kl)
    assert means["k3"] == pytest.approx(kl)
    assert abs(means["k2"] - kl) > 1e-3
    assert (kl_estimates(logps, REFERENCE)["k3"] >= 0).all()


def gradient(of) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_()
    of(logits.log_softmax(0)).backward()
    assert logits.grad is not None
    return logits.grad


def expected_penalty(logps: torch.Tensor, estimator: str) -> torch.Tensor:
    """Mean of the penalty over what is drawn, the draws' probabilities held still, as in a loop."""
    return logps.detach().exp() @ kl_penalty(Rollouts(logps, ref_logps=REFERENCE), estimator=estimator)


def test_gradients_of_the_penalties_are_those_that_the_docstring_names() -> None:
    reverse = gradient(lambda logps: (logps.exp() * (logps - REFERENCE)).sum())
    forward = gradient(lambda logps: (REFERENCE.exp() * (REFERENCE - logps)).sum())
    torch.testing.assert_close(gradient(lambda logps: expected_penalty(logps, "k2")), reverse)
    torch.testing.assert_close(gradient(lambda logps: expected_penalty(logps, "k3")), forward)
    nothing = gradient(lambda logps: logps.detach().exp() @ kl_estimates(logps, REFERENCE)["k1"])
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("name", ["ppo", "reinforce", "rloo", "grpo"])
def test_methods_that_sample_are_not_trained_on_data(name: str) -> None:
    with pytest.raises(HalignError, match=f"halign run {name}"):
        find(name)


def test_an_outsiders_loss_of_rollouts_is_no_objective_of_data() -> None:
    with pytest.raises(HalignError, match="halign run"):
        find("halign.objectives.clipped_policy:clipped_policy")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"Rollouts\.old_logps"):
        clipped_policy(Rollouts(t(-1)))
    with pytest.raises(ValueError, match=r"Rollouts\.ref_logps"):
        kl_penalty(Rollouts(t(-1)))
