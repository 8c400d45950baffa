"""Random masking of the past: what may be hidden, how much is, and that runs repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from halign.attention import SEPARATE, hide_past
from halign.errors import HalignError
from halign.items import Path
from halign.models import Policy, load
from halign.readers import read
from halign.scoring import Scorer
from halign.training import Trainer, train
from halign.trie import tree_batch, visible
from tests.conftest import conversation_rows, enlarge, make_llama, power_cut
from tests.test_training import SETTINGS, trainer_for


def batch_of(*rows: list[list[int]]) -> Any:
    """A trie per row, of paths whose last two tokens are the response."""
    paths = [
        [Path(np.array(p[:-2], dtype=np.int32), np.array(p[-2:], dtype=np.int32)) for p in row]
        for row in rows
    ]
    return tree_batch(paths)


def seen(batch: Any) -> torch.Tensor:
    return visible(batch.subtree_end, batch.position_ids)[:, 0]


def test_about_the_asked_share_is_hidden_of_what_may_be() -> None:
    long = list(range(1, 201))
    batch = batch_of([long], [long[::-1]], [[*long[:100], *([7] * 100)], [*long[:100], *([8] * 100)]])
    masked = hide_past(batch, (0.3, 0.3), (0, 1))
    may = seen(batch) & ~torch.eye(batch.input_ids.shape[1], dtype=torch.bool)
    may &= (batch.position_ids != 0)[:, None, :]
    for row in range(3):
        share = (masked.hidden[row] & may[row]).sum() / may[row].sum()
        assert abs(float(share) - 0.3) < 0.01
    drawn = hide_past(batch, (0.1, 0.6), (0, 1)).hidden & may
    shares = drawn.sum((1, 2)) / may.sum((1, 2))
    assert (shares > 0.08).all()
    assert (shares < 0.62).all()
    assert shares.max() - shares.min() > 0.05  # a row's share is its own


def test_the_same_seed_hides_the_same_and_another_does_not() -> None:
    batch = batch_of([list(range(1, 60))])
    first, again, other = (hide_past(batch, (0.2, 0.4), (3, s)).hidden for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_beginning_of_every_path_and_oneself_are_kept() -> None:
    """Two paths of one trie that begin differently each have a root."""
    batch = batch_of([[1, 2, 3, 4], [9, 2, 3, 4, 5], [9, 2, 7, 8]])
    hidden = hide_past(batch, (0.99, 0.99), (0,)).hidden[0]
    may_see = seen(batch)[0] & ~hidden
    roots = torch.nonzero(batch.position_ids[0, : batch.distinct_tokens] == 0)[:, 0].tolist()
    assert len(roots) == 2
    for query in range(batch.distinct_tokens):
        root = max(r for r in roots if r <= query)
        assert may_see[query, root]
    assert may_see.diagonal().all()
    assert int(may_see[: batch.distinct_tokens].sum()) < int(seen(batch)[0, : batch.distinct_tokens].sum())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_hidden_pairs_are_what_the_model_does_not_see(tokenizer: Any, attention: str) -> None:
    """Against a plain pass with a mask made by hand; nothing hidden is the pass without a mask."""
    policy = Policy(make_llama(tokenizer, attn_implementation=attention), tokenizer, "memory")
    scheme = replace(policy.capability.scheme, kernel="dense")
    scorer = Scorer(policy.model, scheme, policy.capability.transform).eval()
    path = list(range(10, 31))
    batch = batch_of([path])
    masked = hide_past(batch, (0.4, 0.4), (5,))
    n = len(path)
    allowed = torch.tril(torch.ones(n, n, dtype=torch.bool)) & ~masked.hidden[0, :n, :n]
    additive = torch.zeros(n, n).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        logits = (
            policy.model(input_ids=torch.tensor([path]), attention_mask=additive).logits[0].log_softmax(-1)
        )
        expected = torch.stack([logits[n - 3, path[-2]], logits[n - 2, path[-1]]])
        assert torch.allclose(scorer(masked).token_logps, expected, atol=1e-5)
        plain = scorer(batch).token_logps
        assert torch.allclose(scorer(hide_past(batch, (0.0, 0.0), (5,))).token_logps, plain, atol=1e-5)
        assert (expected - plain).abs().max() > 1e-3


def test_a_window_leaves_no_token_without_anything_to_see(tokenizer: Any) -> None:
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
    )
    model = transformers.MistralForCausalLM(config)
    enlarge(model)
    policy = Policy(model, tokenizer, "memory")
    scheme = replace(policy.capability.scheme, kernel="dense")
    assert scheme.shares
    batch = batch_of([list(range(10, 40)), [*range(10, 30), 5, 6, 7]], [[3, 4, 5, 6]])
    scores = Scorer(model, scheme, policy.capability.transform).eval()(hide_past(batch, (0.95, 0.95), (1,)))
    assert torch.isfinite(scores.token_logps).all()


def test_no_share_is_no_masking(tokenizer: Any, tmp_path: File) -> None:
    runs = [
        train(
            Policy(make_llama(tokenizer), tokenizer, "memory"),
            read(conversation_rows(2)),
            "sft",
            output=tmp_path / f"r{i}",
            quiet=True,
            max_steps=2,
            **SETTINGS,
            **more,
        )
        for i, more in enumerate(({}, {"past_masking": [0.0, 0.0]}, {"past_masking": [0.2, 0.4]}))
    ]
    weights = [load_file(r.path / "model" / "model.safetensors") for r in runs]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert runs[0].metrics[0]["loss"] == runs[1].metrics[0]["loss"] != runs[2].metrics[0]["loss"]


def test_evaluation_and_preflight_see_everything(tokenizer: Any, tmp_path: File) -> None:
    def trainer(**more: Any) -> Trainer:
        policy = Policy(make_llama(tokenizer), tokenizer, "memory")
        return trainer_for(policy, "sft", tmp_path, eval_share=0.5, **more)

    masked, plain = trainer(past_masking=(0.5, 0.5)), trainer()
    assert masked._evaluate(0)["loss"] == pytest.approx(plain._evaluate(0)["loss"], abs=1e-5)
    first = masked._step(masked.plan.step(0))["loss"]
    assert abs(first - plain._step(plain.plan.step(0))["loss"]) > 1e-3


def test_a_stopped_run_resumes_to_the_same_bits(tokenizer: Any, tmp_path: File) -> None:
    settings = SETTINGS | {
        "epochs": 2,
        "batch_items": 4,
        "quiet": True,
        "save_every": 2,
        "past_masking": [0.1, 0.3],
    }
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    examples = read(conversation_rows(4))
    train(load(start), examples, "hindsight", output=tmp_path / "whole", **settings)
    with power_cut(3):
        train(load(start), examples, "hindsight", output=tmp_path / "cut", **settings)
    torch.manual_seed(99)
    train(load(start), examples, "hindsight", output=tmp_path / "cut", **settings)
    a, b = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_model_that_takes_no_mask_cannot_do_it(tokenizer: Any, tmp_path: File) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    policy.__dict__["capability"] = replace(policy.capability, scheme=SEPARATE)
    with pytest.raises(HalignError, match="past_masking: paths of this model are not masked"):
        trainer_for(policy, "sft", tmp_path, past_masking=(0.1, 0.2))
