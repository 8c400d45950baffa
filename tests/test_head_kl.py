"""KL of whole distributions against torch's own, through the head alone and through a model's tries."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import kl_div

from halign import head as head_module
from halign import head_kl as kl_module
from halign.errors import HalignError
from halign.head import LogitTransform
from halign.head_kl import Distributions, head_kl
from halign.items import Path
from halign.models import Policy
from halign.scoring import Scorer
from halign.trie import tree_batch
from tests.conftest import make_llama
from tests.test_head import TRANSFORMS


def logits(head: Any, hidden: torch.Tensor, t: LogitTransform) -> torch.Tensor:
    found: torch.Tensor = head(hidden * t.input_scale) * t.scale
    return found if t.cap is None else t.cap * torch.tanh(found / t.cap)


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_values_and_gradients_are_torchs(
    transform: LogitTransform, bias: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (head_module, kl_module):
        monkeypatch.setattr(module, "chunk_rows", lambda *a: rows)
    torch.manual_seed(0)
    head, ref_head = nn.Linear(12, 23, bias=bias), nn.Linear(9, 23, bias=bias)
    hidden, ref_hidden = (2 * torch.randn(20, 12)).requires_grad_(), 2 * torch.randn(20, 9)
    ref_transform = TRANSFORMS[3]
    reference = Distributions.of(ref_head, ref_hidden, ref_transform)
    found = head_kl(head, hidden, reference, transform)
    wanted = kl_div(
        logits(head, hidden, transform).log_softmax(-1),
        logits(ref_head, ref_hidden, ref_transform).log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert (found > 0).all()
    pull, inputs = torch.randn(20), (hidden, *head.parameters())
    for a, b in zip(
        torch.autograd.grad((pull * found).sum(), inputs),
        torch.autograd.grad((pull * wanted).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_zero_where_the_policy_is_the_reference() -> None:
    torch.manual_seed(0)
    head, hidden = nn.Linear(12, 23), torch.randn(20, 12, requires_grad=True)
    found = head_kl(head, hidden, Distributions.of(head, hidden, LogitTransform()), LogitTransform())
    assert found.abs().max() < 1e-6
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    assert gradient.abs().max() < 1e-6


def test_a_head_that_is_no_plain_layer_is_refused() -> None:
    head = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 9))
    with pytest.raises(HalignError, match=r"plain linear LM heads only.*Sequential"):
        Distributions.of(head, torch.randn(3, 4), LogitTransform())


def test_every_token_of_a_trie_gets_the_kl_of_the_place_it_was_drawn_at(tokenizer: Any) -> None:
    """Against logits of plain passes over each path, policy and reference apart."""
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    reference = copy.deepcopy(policy.model)
    with torch.no_grad():
        for p in policy.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    rng = torch.Generator().manual_seed(1)
    prompt, *responses = (torch.randint(5, 90, (n,), generator=rng).numpy() for n in (7, 4, 1, 6))
    paths = [Path(prompt, r) for r in responses]
    batch = tree_batch([paths])
    capability = policy.capability
    scorer, frozen = (Scorer(m, capability.scheme, capability.transform) for m in (policy.model, reference))
    scores = scorer(batch, frozen.distributions(batch))
    wanted = []
    for path in paths:
        ids = torch.tensor(path.ids)[None].long()
        ours, theirs = (m(ids).logits[0].log_softmax(-1) for m in (policy.model, reference))
        kl = (theirs.exp() * (theirs - ours)).sum(-1)
        wanted.append(kl[len(path.prompt) - 1 : -1])
    assert scores.token_kl is not None
    assert torch.allclose(scores.token_kl, torch.cat(wanted), atol=1e-4)
    assert scores.token_kl.min() > 1e-4
