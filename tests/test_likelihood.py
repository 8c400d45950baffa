"""hl.logps against plain passes, one path at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import halign as hl
from halign.likelihood import path_logps
from halign.models import Policy
from tests.conftest import TEXTS, make_llama


def questions() -> list[tuple[Any, Any]]:
    """Prompts that share a trunk or not, in mixed order, with a duplicate."""
    talk = [{"role": "user", "content": TEXTS[1]}]
    longer = [*talk, {"role": "assistant", "content": TEXTS[2]}, {"role": "user", "content": "12"}]
    return [
        (longer, TEXTS[3]),
        ("Hello", " there"),
        (talk, TEXTS[2]),
        (longer, "No"),
        (talk, TEXTS[4]),
        ([{"role": "user", "content": "Yes?"}], "refund"),
        (talk, TEXTS[2]),
    ]


def by_hand(policy: Policy, prompt: Any, response: Any) -> float:
    """Render, encode, one pass, sum over the response's tokens and the end of the turn."""
    tokenizer = policy.tokenizer
    if isinstance(prompt, str):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        end = [tokenizer.eos_token_id]
    else:
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        start = tokenizer(text, add_special_tokens=False)["input_ids"]
        end = [tokenizer.eos_token_id]
    own = (
        tokenizer(response, add_special_tokens=False)["input_ids"] + end
        if isinstance(response, str)
        else list(response)
    )
    ids = torch.tensor([start + own])
    with torch.no_grad():
        logps = policy.model(input_ids=ids).logits[0].log_softmax(-1)
    return float(sum(logps[t - 1, ids[0, t]] for t in range(len(start), len(start) + len(own))))


def test_sums_in_the_order_given(policy: Policy) -> None:
    asked = questions()
    found = hl.logps(policy, asked)
    assert (found.dtype, found.shape) == (torch.float32, (len(asked),))
    assert found.tolist() == pytest.approx([by_hand(policy, p, r) for p, r in asked], abs=2e-3)
    assert found[2] == found[6]
    backwards = hl.logps(policy, asked[::-1])
    assert torch.allclose(backwards.flip(0), found, atol=1e-3)
    assert len({round(v, 2) for v in found.tolist()}) == len(asked) - 1


def test_separate_paths_and_small_packs_give_the_same(policy: Policy) -> None:
    together = hl.logps(policy, questions())
    for how in (
        {"separate": True},
        {"max_tokens": 1},
        {"max_tokens": 70},
        {"separate": True, "max_tokens": 90},
    ):
        assert torch.allclose(hl.logps(policy, questions(), **how), together, atol=1e-3), how
    bf16 = hl.logps(policy, questions(), dtype="bf16")
    assert bf16.dtype == torch.float32
    assert 0 < (bf16 - together).abs().max() < 0.02 * together.abs().max()


def test_sampled_ids_are_scored_as_they_are(policy: Policy) -> None:
    """Ids that no text encodes to, without an end of turn."""
    talk = [{"role": "user", "content": TEXTS[1]}]
    asked = [(talk, [5, 9, 200]), (talk, np.array([5, 9])), (talk, []), (talk, (7,))]
    found = hl.logps(policy, asked)
    assert found.tolist() == pytest.approx([by_hand(policy, p, r) for p, r in asked], abs=1e-3)
    assert found[2] == 0


def test_nothing_asked_nothing_answered(policy: Policy) -> None:
    assert hl.logps(policy, []).shape == (0,)


def test_the_model_is_left_as_it_was(tokenizer: Any) -> None:
    """In training mode with dropout it is scored without, and stays in training mode."""
    policy = Policy(make_llama(tokenizer, attention_dropout=0.5).train(), tokenizer)
    one, two = (hl.logps(policy, questions()) for _ in range(2))
    assert torch.equal(one, two)
    assert policy.model.training
    assert all(p.grad is None for p in policy.model.parameters())


def test_token_logps_add_up(policy: Policy) -> None:
    from halign.items import Path

    ids = np.arange(3, 20, dtype=np.int32)
    mask = np.array([True, False, True])
    paths = [Path(ids[:9], ids[9:12]), Path(ids[:5], ids[5:8]), Path(ids[:9], ids[9:12], loss_mask=mask)]
    whole, other, masked = path_logps(policy, paths)
    assert [len(t) for t in (whole, other, masked)] == [3, 3, 2]
    assert torch.allclose(masked, whole[torch.tensor(mask)], atol=1e-5)
    with torch.no_grad():
        logps = policy.model(input_ids=torch.tensor(ids[:12])[None].long()).logits[0].log_softmax(-1)
    assert whole.tolist() == pytest.approx([float(logps[t - 1, int(ids[t])]) for t in (9, 10, 11)], abs=1e-4)


def test_text_without_a_prompt_starts_at_its_second_token(policy: Policy) -> None:
    """Nothing stands before the first token that could predict it (a model with a BOS token has that before it)."""
    first, *rest = policy.tokenizer("Thank you", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[first, *rest, policy.tokenizer.eos_token_id]])
    with torch.no_grad():
        logps = policy.model(input_ids=ids).logits[0].log_softmax(-1)
    want = sum(float(logps[t - 1, ids[0, t]]) for t in range(1, ids.shape[1]))
    assert float(hl.logps(policy, [("", "Thank you")])[0]) == pytest.approx(want, abs=1e-3)
