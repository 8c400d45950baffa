"""The last layer at the positions read: the same numbers and gradients as at all positions, and left alone where it could not be.

That both are those of plain passes path by path is tested over all architectures in tests/test_exactness.py.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch import nn

from halign.critics import HeadCritic
from halign.head_kl import Distributions
from halign.items import Path
from halign.last_layer import read_last_layer
from halign.models import Policy, checkpoint_gradients
from halign.probe import probe
from halign.reference import LiveReference
from halign.rewards.facts import Facts
from halign.rewards.starting import from_causal
from halign.scoring import Scorer, Scores, ValueScorer, make_scorer, score
from halign.trie import TreeBatch, tree_batch
from tests.conftest import make_llama, make_tokenizer
from tests.test_exactness import VOCABULARY, make, some_paths


def a_scorer(model: Any, critic: nn.Module | None = None) -> Scorer:
    capability = probe(model)
    return make_scorer(model, capability.scheme, capability.transform, critic)


def a_batch(seed: int = 0, flat: bool = True) -> TreeBatch:
    """About 330 tokens, of which some 130 are read."""
    rng = np.random.default_rng(seed)
    trunk = rng.integers(3, VOCABULARY, 200).astype(np.int32)
    said = [rng.integers(3, VOCABULARY, n).astype(np.int32) for n in (40, 25, 30)]
    long = [Path(trunk, said[0]), Path(trunk[:120], said[1]), Path(trunk[:150], said[2])]
    return tree_batch([*some_paths(seed), long], flat=flat)


def pulled(scores: Scores) -> torch.Tensor:
    """A loss in which every response pulls differently, and every value too."""
    if scores.values is not None:
        return (torch.linspace(-1, 2, scores.values.numel()) * scores.values.flatten()).sum()
    loss = (torch.linspace(-1, 2, len(scores.logps)) * scores.logps).sum()
    return loss if scores.token_values is None else loss + scores.token_values.square().sum()


def outcome(scorer: nn.Module, batch: TreeBatch, **more: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(log-probabilities or values, gradients of all that is trained)."""
    scorer.zero_grad(set_to_none=True)
    scores = score(scorer, batch, **more)
    pulled(scores).backward()
    made = {n: p.grad.clone() for n, p in scorer.named_parameters() if p.grad is not None}
    return (scores.token_logps if scores.values is None else scores.values).detach(), made


def agree(scorer: Scorer, batch: TreeBatch, close: float = 2e-6, **more: Any) -> None:
    """With the last layer at all positions and at those read: the same up to rounding, relative to the largest."""
    whole, expected = outcome(scorer, batch, **more)
    undo, seen = read_last_layer(scorer), rows_seen(scorer.model)
    found, gradients = outcome(scorer, batch, **more)
    undo()
    assert set(seen) == {-(-len(batch.read_at) // 64) * 64}
    assert (found - whole).abs().max() <= close * whole.abs().max()
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).abs().max() <= close * (expected[name].abs().max() + 1e-3), name


def rows_seen(model: Any) -> list[int]:
    """Of every call of the last feed-forward layer from now on: how many positions it was given."""
    seen: list[int] = []
    layer = last_layer(model)
    layer.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    return seen


def last_layer(model: Any) -> Any:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model.layers[-1]


@pytest.mark.parametrize(
    "name", ["llama", "mistral, window 9", "qwen2", "qwen3", "gemma3, alternating windows"]
)
@pytest.mark.parametrize("flat", [True, False])
def test_values_and_gradients_are_those_of_the_whole_layer(name: str, flat: bool) -> None:
    scorer = a_scorer(make(name))
    if not flat:
        scorer.scheme = replace(scorer.scheme, kernel="dense")
        scorer.model.set_attn_implementation("sdpa")  # type: ignore[operator]
    agree(scorer, a_batch(flat=flat))


def test_with_adapters_the_gradient_is_theirs() -> None:
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, lora_dropout=0.5)
    model = peft.get_peft_model(make("llama"), config).train()
    scorer = a_scorer(model)
    undo = read_last_layer(scorer)
    assert "forward" in vars(last_layer(model))
    assert all(m.training for m in model.modules() if isinstance(m, nn.Dropout))
    undo()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    agree(scorer, a_batch())
    assert {n for n, p in scorer.named_parameters() if p.requires_grad} == set(outcome(scorer, a_batch())[1])


def test_recomputed_in_the_backward_pass_it_is_the_same_layer() -> None:
    model = make("llama").train()
    undo = checkpoint_gradients(model)
    agree(a_scorer(model), a_batch())
    undo()


def test_a_critic_reads_the_same_states() -> None:
    agree(a_scorer(make("llama"), HeadCritic(32)), a_batch())


def test_with_a_reference_and_its_distributions() -> None:
    model = make("llama")
    scorer, batch = a_scorer(model), a_batch()
    reference = LiveReference.frozen(scorer, score)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    expected = reference.distributions(batch).hidden
    read_last_layer(scorer)
    against: Distributions = reference.distributions(batch)
    assert torch.allclose(against.hidden, expected, atol=1e-5)
    found = score(scorer, batch, against).token_kl
    undone = copy.deepcopy(scorer)
    del last_layer(undone.model).forward
    wanted = score(undone, batch, against).token_kl
    assert found is not None
    assert wanted is not None
    assert torch.allclose(found, wanted, atol=1e-5)


def test_under_autocast_too() -> None:
    scorer = a_scorer(make("llama"))
    with torch.autocast("cpu", torch.bfloat16):
        agree(scorer, a_batch(), close=2e-2)


def test_a_value_head_reads_where_it_likes() -> None:
    """In any order, and some positions more than once."""
    tokenizer = make_tokenizer()
    policy = Policy(make_llama(tokenizer), tokenizer)
    model = from_causal(policy, Facts()).model
    scorer = a_scorer(model)
    assert isinstance(scorer, ValueScorer)
    batch = a_batch()
    at = torch.tensor([300, 5, 5, 17, 0])
    whole, (expected, gradients) = scorer.at(batch, at), outcome(scorer, batch)
    read_last_layer(scorer)
    seen = rows_seen(model)
    assert torch.allclose(scorer.at(batch, at), whole, atol=1e-5)
    found, others = outcome(scorer, batch)
    assert seen == [64, 64]
    assert torch.allclose(found, expected, atol=1e-5)
    for name, gradient in others.items():
        assert torch.allclose(gradient, gradients[name], atol=1e-4, rtol=1e-5), name


def test_who_says_no_positions_gets_them_all() -> None:
    model = make("llama")
    ids = torch.randint(3, VOCABULARY, (2, 20))
    expected = model(input_ids=ids).logits
    written = model.generate(ids, max_new_tokens=5, do_sample=False)
    read_last_layer(a_scorer(model))
    model.set_attn_implementation("sdpa")
    assert torch.equal(model(input_ids=ids).logits, expected)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), written)


def test_where_nothing_is_read_the_gradient_is_nothing_everywhere() -> None:
    scorer = a_scorer(make("llama"))
    read_last_layer(scorer)
    start, nothing = np.arange(3, 10, dtype=np.int32), np.array([], dtype=np.int32)
    scores = scorer(tree_batch([[Path(start, nothing)]], flat=True))
    scores.zero.backward()
    states = scorer._hidden(a_batch(), torch.tensor([], dtype=torch.int64))
    assert states.shape == (0, 32)
    states.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in last_layer(scorer.model).parameters())


def test_threads_at_the_same_time_read_elsewhere() -> None:
    """Two threads run one module with other positions each, as often as they like."""
    scorer = a_scorer(make("llama"))
    batches = [a_batch(0), a_batch(1)]
    expected = [scorer(b).token_logps.detach() for b in batches]
    read_last_layer(scorer)
    worst, begin = [0.0, 0.0], threading.Barrier(2)

    def run(number: int) -> None:
        torch.set_num_threads(1)
        begin.wait()
        for _ in range(10):
            found = scorer(batches[number]).token_logps.detach()
            worst[number] = max(worst[number], float((found - expected[number]).abs().max()))

    threads = [threading.Thread(target=run, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) < 1e-5
