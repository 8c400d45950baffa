"""Items to try objectives on, and their gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from halign.objectives import Lists, Pairs, Singles, ValueLists, ValuePairs, ValueSingles


def pairs(
    chosen: Sequence[float],
    rejected: Sequence[float],
    ref_chosen: Sequence[float],
    ref_rejected: Sequence[float],
    **more: Any,
) -> Pairs:
    """Pairs from plain numbers, float32."""
    columns = (torch.tensor(c, dtype=torch.float32) for c in (chosen, rejected, ref_chosen, ref_rejected))
    return Pairs(*columns, **more)


FAR = Pairs(
    torch.tensor([-10.0, -2010.0]),
    torch.tensor([-2010.0, -10.0]),
    torch.tensor([-1010.0, -1010.0]),
    torch.tensor([-1010.0, -1010.0]),
    chosen_lengths=torch.tensor([10.0, 10.0]),
    rejected_lengths=torch.tensor([10.0, 10.0]),
)
"""Log-ratios of +1000 and -1000 nats: gaps of 2000 the right way and the wrong way round."""


LOGPS = ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")


def random_pairs(count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Pairs:
    """Pairs near their reference, with lengths."""
    rng = torch.Generator().manual_seed(seed)

    def near(base: Tensor) -> Tensor:
        return base + 3 * torch.randn(count, generator=rng, dtype=dtype)

    chosen_lengths, rejected_lengths = (torch.randint(1, 20, (2, count), generator=rng)).to(dtype)
    ref_chosen, ref_rejected = near(-2 * chosen_lengths), near(-2 * rejected_lengths)
    return Pairs(
        near(ref_chosen),
        near(ref_rejected),
        ref_chosen,
        ref_rejected,
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
        preference=torch.linspace(0.55, 0.95, count, dtype=dtype),
        chosen_win_rate=torch.linspace(0.6, 0.9, count, dtype=dtype),
        rejected_win_rate=torch.linspace(0.4, 0.1, count, dtype=dtype),
        target_kl=torch.linspace(0.5, 2.5, count, dtype=dtype),
    )


def random_lists(count: int, width: int = 4, dtype: torch.dtype = torch.float32, seed: int = 0) -> Lists:
    """Lists near their reference, best first, every field given. The second list has a tie for the best, the last is one
    response shorter than the others (what stands in its place is 0, as in training). Rewards lie in [0, 1], so that they may be
    win rates."""
    rng = torch.Generator().manual_seed(seed)

    def near(base: Tensor) -> Tensor:
        return base + 3 * torch.randn(count, width, generator=rng, dtype=dtype)

    lengths = torch.randint(1, 20, (count, width), generator=rng).to(dtype)
    ref = near(-2 * lengths)
    ranks = torch.arange(1, width + 1, dtype=dtype).repeat(count, 1)
    ranks[1, 1] = 1
    rewards = (torch.rand(count, width, generator=rng, dtype=dtype).cumsum(1).flip(1) + 0.1) / (width + 0.1)
    rewards[1, 1] = rewards[1, 0]
    mask = torch.ones(count, width, dtype=torch.bool)
    mask[-1, -1] = False
    columns = {
        "logps": near(ref),
        "ref_logps": ref,
        "rewards": rewards,
        "ranks": ranks,
        "behaviour_logps": near(ref),
        "prior_logps": near(ref),
        "attribute_logps": -torch.rand(count, width, generator=rng, dtype=dtype),
    }
    return Lists(
        **{k: torch.where(mask, v, torch.zeros((), dtype=dtype)) for k, v in columns.items()},
        lengths=torch.where(mask, lengths, torch.ones((), dtype=dtype)),
        mask=mask,
    )


def assert_list_gradients(objective: Callable[..., Tensor], **settings: Any) -> None:
    """As ``assert_gradients``, for lists. Nothing flows to responses that are not there."""
    start = random_lists(4, dtype=torch.float64)

    def losses(logps: Tensor, ref_logps: Tensor) -> Tensor:
        return objective(replace(start, logps=logps, ref_logps=ref_logps), **settings)

    assert start.ref_logps is not None
    assert start.mask is not None
    inputs = (start.logps.clone().requires_grad_(), start.ref_logps.clone().requires_grad_())
    out = losses(*inputs)
    assert out.shape == (4,)
    assert torch.autograd.gradcheck(losses, inputs)
    (own,) = torch.autograd.grad(out.sum(), inputs[0])
    assert (own[~start.mask] == 0).all()
    assert (own[start.mask] != 0).any()


def lists(logps: Sequence[Sequence[float]], **tables: Any) -> Lists:
    """Lists from plain numbers, float32; ``mask`` from booleans."""
    return Lists(torch.tensor(logps), **{k: torch.tensor(v) for k, v in tables.items()})


FAR_LISTS = lists(
    [[-10.0, -1010.0, -2010.0], [-2010.0, -1010.0, -10.0]],
    ref_logps=[[-1010.0] * 3] * 2,
    lengths=[[10.0] * 3] * 2,
    rewards=[[1.0, 0.5, 0.0]] * 2,
    prior_logps=[[-1010.0, -10.0, -2010.0]] * 2,
    attribute_logps=[[-1.0, -2.0, -3.0]] * 2,
)
"""Log-ratios of 1000, 0 and -1000 nats: in the right order and the wrong way round."""


def random_singles(count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Singles:
    """Singles near their reference, every other one bad, with mismatched completions."""
    rng = torch.Generator().manual_seed(seed)

    def near(base: Tensor | float) -> Tensor:
        return base + 3 * torch.randn(count, generator=rng, dtype=dtype)

    ref, ref_mismatch = near(-20.0), near(-40.0)
    return Singles(
        near(ref),
        ref,
        desirable=torch.arange(count) % 2 == 0,
        mismatch_logps=near(ref_mismatch + 2),
        ref_mismatch_logps=ref_mismatch,
    )


def random_values(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """Items of a reward model: five lists of up to four as ``random_lists`` has, five pairs, six singles of two attributes."""
    rng = torch.Generator().manual_seed(seed)
    if kind == "lists":
        given = random_lists(5, dtype=dtype, seed=seed)
        values = torch.randn(5, 4, generator=rng, dtype=dtype)
        return ValueLists(
            values, mask=given.mask, ranks=given.ranks, rewards=given.rewards, lengths=given.lengths
        )
    if kind == "pairs":
        chosen, rejected = torch.randn(2, 5, generator=rng, dtype=dtype)
        return ValuePairs(chosen, rejected, torch.linspace(0.3, 1, 5, dtype=dtype))
    attributes = torch.randint(0, 5, (6, 2), generator=rng).to(dtype)
    attributes[1, 0] = torch.nan
    return ValueSingles(torch.randn(6, 2, generator=rng, dtype=dtype), attributes)


CORNERS = ((1000.0, -1000.0), (-1000.0, 1000.0), (1000.0, 1000.0), (-1000.0, -1000.0), (0.0, 0.0))
"""Log-ratios (chosen, rejected), nats."""


def assert_stable(
    objective: Callable[..., Tensor],
    statistics: Callable[[Pairs], dict[str, Tensor]] | None = None,
    **settings: Any,
) -> None:
    """In float32, losses and gradients of a pair objective are finite with log-ratios of +-1000 nats and of nothing, and so is
    the sum of squares of the gradients, which clipping needs."""
    ratios = torch.tensor(CORNERS)
    ref = torch.full((len(CORNERS),), -1010.0)
    lengths = torch.full((len(CORNERS),), 10.0)
    chosen, rejected = (ref + r for r in ratios.unbind(1))
    given = Pairs(
        chosen.requires_grad_(),
        rejected.requires_grad_(),
        ref,
        ref,
        chosen_lengths=lengths,
        rejected_lengths=lengths,
    )
    losses = objective(replace(given, step=statistics(given) if statistics else None), **settings)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all(), losses
    for gradient in torch.autograd.grad(losses.sum(), (chosen, rejected), allow_unused=True):
        assert gradient is None or torch.isfinite(gradient.square().sum()), gradient


def assert_gradients(
    objective: Callable[..., Tensor], statistics: dict[str, Tensor] | None = None, **settings: Any
) -> None:
    """Analytic gradients of a pair objective with respect to all four log-probabilities are those of finite differences, in
    float64. The losses must depend on their own pair only."""
    start = random_pairs(5, torch.float64)

    def losses(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
        own = dict(zip(LOGPS, (chosen, rejected, ref_chosen, ref_rejected), strict=True))
        return objective(replace(start, **own, **(statistics or {})), **settings)

    inputs = tuple(
        t.clone().requires_grad_()
        for t in (start.chosen_logps, start.rejected_logps, start.ref_chosen_logps, start.ref_rejected_logps)
        if t is not None
    )
    out = losses(*inputs)
    assert out.shape == (5,)
    assert torch.autograd.gradcheck(losses, inputs)
    (own,) = torch.autograd.grad(out[2], inputs[0], retain_graph=True)
    assert own[2] != 0
    assert (torch.cat([own[:2], own[3:]]) == 0).all()
