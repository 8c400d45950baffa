"""What the papers say of their losses, on bandits small enough to be followed to the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from halign.objectives import Pairs, Singles, dpo, ipo, kto, preferred_ft
from halign.objectives.kto import balanced_weights, statistics


def descend(parameters: Tensor, loss: Callable[[Tensor], Tensor], steps: int, rate: float) -> Tensor:
    """Plain gradient descent."""
    for _ in range(steps):
        parameters = parameters.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(parameters), parameters)
        parameters = parameters.detach() - rate * slope
    return parameters


REFERENCE = torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.0, 0.0]])
"""Logits of two prompts and three responses; the first response is always preferred to the second."""


def certain(logits: Tensor) -> Pairs:
    logps, ref = logits.log_softmax(1), REFERENCE.log_softmax(1)
    return Pairs(logps[:, 0], logps[:, 1], ref[:, 0], ref[:, 1])


def gaps(logits: Tensor) -> list[float]:
    """Dw - Dl of each prompt."""
    p = certain(logits)
    assert p.ref_chosen_logps is not None
    assert p.ref_rejected_logps is not None
    found = p.chosen_logps - p.ref_chosen_logps - p.rejected_logps + p.ref_rejected_logps
    return [float(x) for x in found]


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_ipo_stops_where_a_certain_preference_is_worth_its_kl(beta: float) -> None:
    """arXiv 2310.12036: the gap goes to 1 / (2 beta), and stays there."""
    logits = descend(REFERENCE, lambda x: ipo(certain(x), beta=beta).sum(), 60, 0.1)
    assert gaps(logits) == pytest.approx([1 / (2 * beta)] * 2, rel=1e-3)
    logits = descend(logits, lambda x: ipo(certain(x), beta=beta).sum(), 600, 0.1)
    assert gaps(logits) == pytest.approx([1 / (2 * beta)] * 2, rel=1e-4)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_dpo_never_stops_on_a_certain_preference(beta: float) -> None:
    """Same paper: whatever beta is, the gap grows without bound. On logits it follows
    d gap / d t = 2 beta sigma(-beta gap), so that ten times the steps add ln(10) / beta, every time."""
    gap = []
    logits, done = REFERENCE, 0
    for steps in (300, 3000):
        logits = descend(logits, lambda x: dpo(certain(x), beta=beta).sum(), steps - done, 1 / beta)
        done = steps
        gap.append(gaps(logits))
    assert [b - a for a, b in zip(*gap, strict=True)] == pytest.approx([math.log(10) / beta] * 2, rel=0.02)
    assert min(gap[1]) > 5 / beta


QUALITY = torch.tensor([0.9, 0.7, 0.3, 0.1])
"""How often each of four responses is found good."""


def judgements(keep_good: float, keep_bad: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unpaired judgements of responses to three prompts, of which a share of each class is kept: prompt, response, good."""
    rng = torch.Generator().manual_seed(0)
    prompt = torch.randint(3, (6000,), generator=rng)
    response = torch.randint(4, (6000,), generator=rng)
    good = torch.rand(6000, generator=rng) < QUALITY[response]
    kept = torch.rand(6000, generator=rng) < torch.where(good, keep_good, keep_bad)
    return prompt[kept], response[kept], good[kept]


def kto_policy(keep_good: float, keep_bad: float, balanced: bool) -> Tensor:
    """Probabilities [3, 4] after descent from a uniform reference."""
    prompt, response, good = judgements(keep_good, keep_bad)
    weights = balanced_weights(int(good.sum()), int((~good).sum())) if balanced else (1.0, 1.0)

    def loss(logits: Tensor) -> Tensor:
        logps, ref = logits.log_softmax(1), torch.full((3, 4), math.log(1 / 4))
        singles = Singles(
            logps[prompt, response],
            ref[prompt, response],
            desirable=good,
            mismatch_logps=logps[prompt.roll(1), response].detach(),
            ref_mismatch_logps=ref[prompt, response],
        )
        singles = replace(singles, kl=statistics(singles)["kl"])
        return kto(singles, beta=0.5, desirable_weight=weights[0], undesirable_weight=weights[1]).mean()

    return descend(torch.zeros(3, 4), loss, 300, 2.0).softmax(1)


@pytest.mark.parametrize(("keep_good", "keep_bad"), [(1.0, 1.0), (0.1, 1.0), (1.0, 0.1)])
def test_kto_orders_responses_from_unpaired_data_with_most_of_a_class_gone(
    keep_good: float, keep_bad: float
) -> None:
    """arXiv 2402.01306: up to nine tenths of a class can go if the weights make up for it."""
    policy = kto_policy(keep_good, keep_bad, balanced=True)
    assert policy.argsort(1, descending=True).tolist() == [[0, 1, 2, 3]] * 3
    assert (policy[:, :2].sum(1) > 0.95).all()
    assert (policy[:, 1] > 0.15).all()


def test_kto_without_the_weights_takes_what_is_rarely_seen_good_for_bad() -> None:
    """With the good mostly gone, a response that is good 7 times in 10 is mostly seen bad, and is given up; with the bad mostly
    gone, one that is bad 7 times in 10 is mostly seen good, and stays."""
    assert (kto_policy(0.1, 1.0, balanced=False)[:, 1] < 0.01).all()
    assert (kto_policy(1.0, 0.1, balanced=False)[:, 2] > 5 * kto_policy(1.0, 0.1, balanced=True)[:, 2]).all()


# Five responses; the second feature is what tells chosen from rejected, and the others have much more of it.
FEATURES = torch.tensor(
    [[1.0, 0.1, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.8, -1.0]]
)


def shared(theta: Tensor) -> Pairs:
    """Chosen and rejected are responses 0 and 1 of a policy whose logits are linear in the features; reference: theta = 0."""
    logps = (FEATURES @ theta).log_softmax(0)
    ref = torch.tensor([-math.log(5)])
    return Pairs(logps[:1], logps[1:2], ref, ref)


def test_dpo_lowers_the_chosen_of_near_identical_pairs_and_an_sft_term_prevents_it() -> None:
    """arXiv 2402.13228 (and 2305.18290's own remark that only the difference counts): the loss falls, and both fall with it."""
    start = math.log(1 / 5)
    theta = descend(torch.zeros(3), lambda t: dpo(shared(t), beta=1.0).sum(), 300, 0.3)
    alone = shared(theta)
    assert dpo(alone, beta=1.0).item() < 0.6 < math.log(2)
    assert alone.chosen_logps.item() < start - 1
    assert alone.rejected_logps.item() < alone.chosen_logps.item()

    def both(t: Tensor) -> Tensor:
        return (dpo(shared(t), beta=1.0) + preferred_ft(shared(t))).sum()

    kept = shared(descend(torch.zeros(3), both, 300, 0.3))
    assert kept.chosen_logps.item() > start
    assert kept.chosen_logps.item() > kept.rejected_logps.item()
