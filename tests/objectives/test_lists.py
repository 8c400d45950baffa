"""What every list-wise objective keeps: what is not there has no influence, the order of the columns none, ties are ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from halign.objectives import Lists, dpo_pro, pro, rrhf, sppo_all, steerlm2
from halign.objectives.lists import best, choice_loss, tidied, worse
from tests.objectives.samples import FAR_LISTS, lists, random_lists

ALL = {
    "dpo_pro": dpo_pro,
    "dpo_pro_best_of": partial(dpo_pro, best_of=True, sft_weight=0.3),
    "pro": pro,
    "pro_plain": partial(pro, temperature="none"),
    "rrhf": rrhf,
    "rrhf_sums": partial(rrhf, length_penalty=0.0),
    "sppo_all": sppo_all,
    "steerlm2": steerlm2,
}
NAMES = [k for k, v in vars(random_lists(2)).items() if isinstance(v, Tensor) and k != "mask"]

each = pytest.mark.parametrize("objective", ALL.values(), ids=ALL)


def changed(given: Lists, change: Callable[[Tensor], Tensor]) -> Lists:
    return replace(given, **{name: change(getattr(given, name)) for name in NAMES})


def one_list() -> Lists:
    """A whole list without ties."""
    return replace(changed(random_lists(3), lambda t: t[:1]), mask=None)


def gradient(objective: Callable[..., Tensor], given: Lists) -> tuple[Tensor, Tensor]:
    logps = given.logps.clone().requires_grad_()
    losses = objective(replace(given, logps=logps))
    (own,) = torch.autograd.grad(losses.sum(), logps)
    return losses.detach(), own


@each
@pytest.mark.parametrize("garbage", [0.0, -1e30, 1e30])
def test_what_stands_where_no_response_is_does_not_matter(objective: Any, garbage: float) -> None:
    given = random_lists(5)
    mask = torch.tensor([[True] * n + [False] * (4 - n) for n in (4, 4, 3, 2, 1)])
    given = replace(given, mask=mask)
    losses, grads = gradient(objective, given)
    other, other_grads = gradient(objective, changed(given, lambda t: t.masked_fill(~mask, garbage)))
    assert torch.equal(losses, other)
    assert torch.equal(grads, other_grads)
    assert losses.isfinite().all()
    assert (grads[~mask] == 0).all()


@each
def test_a_list_cut_short_by_the_mask_is_the_shorter_list(objective: Any) -> None:
    given = replace(random_lists(3), mask=torch.tensor([[True, True, False, False]] * 3))
    assert torch.allclose(objective(given), objective(replace(changed(given, lambda t: t[:, :2]), mask=None)))


@each
def test_the_columns_may_stand_in_any_order(objective: Any) -> None:
    given = one_list()  # with ties for the best, the first of them is imitated
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(objective(given), objective(changed(given, lambda t: t[:, order])), rtol=1e-5)


@each
def test_finite_far_away_and_at_the_reference(objective: Any) -> None:
    assert FAR_LISTS.ref_logps is not None
    for given in (FAR_LISTS, replace(FAR_LISTS, logps=FAR_LISTS.ref_logps)):
        for result in gradient(objective, given):
            assert result.isfinite().all()


@pytest.mark.parametrize("name", ["dpo_pro", "pro_plain", "rrhf"])
def test_ranks_left_out_are_1_2_3(name: str) -> None:
    given = replace(one_list(), rewards=None)
    assert torch.equal(ALL[name](given), ALL[name](replace(given, ranks=None)))
    assert not torch.equal(
        ALL[name](given), ALL[name](replace(given, ranks=torch.tensor([[1.0, 1.0, 1.0, 2.0]])))
    )


def test_the_helpers_by_hand() -> None:
    given = tidied(lists([[1.0, 2.0, 3.0]], lengths=[[4.0, 5.0, 0.0]], mask=[[True, True, False]]))
    assert given.logps.tolist() == [[1.0, 2.0, 0.0]]
    assert given.lengths is not None
    assert given.lengths.tolist() == [[4.0, 5.0, 1.0]]
    assert given.ranks is not None
    assert given.ranks.tolist() == [[1.0, 2.0, 0.0]]
    assert given.mask is not None
    merit = torch.tensor([[5.0, 5.0, 7.0], [1.0, 2.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert best(merit, mask).tolist() == [[0], [1]]
    assert worse(merit, mask).nonzero().tolist() == [[1, 0, 2], [1, 1, 0], [1, 1, 2]]
    alone = choice_loss(torch.zeros(1, 3, 3, requires_grad=True), torch.zeros(1, 3, 3, dtype=torch.bool))
    assert alone.tolist() == [[0.0, 0.0, 0.0]]
