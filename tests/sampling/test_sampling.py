"""The sampler against transformers' generate, against exact distributions, and against itself in other
batches.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from halign.errors import HalignError
from halign.sampling import TransformersSampler
from halign.sampling.choose import RowNoise, draw, restrict
from halign.sampling.local import Settings, sample_ids

VOCABULARY = 48
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def sharpened(model):
    """Larger weights, so that the next token depends clearly on the context."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(4.0)
    return model.eval()


def llama():
    torch.manual_seed(0)
    return sharpened(LlamaForCausalLM(LlamaConfig(**SMALL)))


def prompts(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, size=n).astype(np.int32) for n in lengths]


class FakeRenderer:
    """Prompts are already ids; the stop token is 2."""

    stop_ids = (2,)

    def prompt(self, dialogue):
        return dialogue

    def decode_response(self, ids):
        return " ".join(str(i) for i in ids if i != 2)


def sampler(model):
    return TransformersSampler(SimpleNamespace(model=model, tokenizer=None), renderer=FakeRenderer())


def test_a_sample_does_not_depend_on_its_batch():
    model = llama()
    asked = prompts([4, 9, 2, 15, 6, 11])
    alone = sampler(model).sample(asked, n=3, max_new_tokens=20, seed=5, batch_size=3)
    together = sampler(model).sample(asked, n=3, max_new_tokens=20, seed=5, batch_size=18)
    assert [[s.ids.tolist() for s in row] for row in alone] == [
        [s.ids.tolist() for s in row] for row in together
    ]
    texts = {s.text for row in together for s in row}
    assert len(texts) > 12  # and the samples of one prompt differ from each other
    rest = sampler(model).sample(asked[2:], n=3, max_new_tokens=20, seed=5, first=2)
    assert [[s.ids.tolist() for s in row] for row in rest] == [
        [s.ids.tolist() for s in row] for row in alone[2:]
    ]
    other_seed = sampler(model).sample(asked, n=3, max_new_tokens=20, seed=6)
    assert other_seed[0][0].text != together[0][0].text


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7}, {"temperature": 1.3, "top_k": 5}, {"top_p": 0.6}]
)
def test_two_sampled_tokens_follow_the_models_joint_distribution(settings):
    """Chi-square on (first, second) token over 4,000 samples against the product of restricted
    conditionals.
    """
    torch.manual_seed(3)
    model = sharpened(LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": 8})))
    prompt = np.array([3, 5, 4], dtype=np.int32)
    n = 4000
    rows = sample_ids(model, [prompt], [], Settings(n=n, max_new_tokens=2, seed=1, batch_size=n, **settings))
    with torch.no_grad():
        paths = torch.tensor([[3, 5, 4, t] for t in range(8)])
        logits = model(paths).logits
        first = restrict(logits[:1, 2], **settings).exp()[0]
        second = restrict(logits[:, 3], **settings).exp()
    expected = (first[:, None] * second).flatten().double().numpy()
    counts = np.zeros(64)
    for row in rows:
        counts[row.ids[0] * 8 + row.ids[1]] += 1
    assert counts[expected == 0].sum() == 0
    likely = expected * n >= 5
    observed = np.append(counts[likely], counts[~likely].sum())
    wanted = np.append(expected[likely], expected[~likely].sum()) * n
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep] * observed.sum() / wanted[keep].sum()).pvalue > 1e-3


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"top_p": 0.8}])
def test_the_first_token_follows_the_models_distribution(settings):
    """Chi-square over 20,000 draws at one position, against softmax, power and truncation written out here."""
    torch.manual_seed(3)
    model = sharpened(LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": 12})))
    prompt = np.array([3, 5, 4], dtype=np.int32)
    n = 20_000
    rows = sample_ids(model, [prompt], [], Settings(n=n, max_new_tokens=1, seed=2, **settings))
    with torch.no_grad():
        p = model(torch.tensor([[3, 5, 4]])).logits[0, -1].double().softmax(-1).numpy()
    p = p ** (1 / settings.get("temperature", 1.0))
    p /= p.sum()
    order = np.argsort(-p)
    size = int(np.searchsorted(np.cumsum(p[order]), settings.get("top_p", 1.0) - 1e-12)) + 1
    p[order[size:]] = 0
    p /= p.sum()
    counts = np.bincount([row.ids[0] for row in rows], minlength=12)
    assert counts[p == 0].sum() == 0
    likely = p * n >= 5
    observed = np.append(counts[likely], counts[~likely].sum())
    wanted = np.append(p[likely], p[~likely].sum()) * n
    keep = wanted > 0
    assert likely.sum() > 2
    assert stats.chisquare(observed[keep], wanted[keep] * n / wanted[keep].sum()).pvalue > 1e-3


def test_logps_are_those_of_the_restricted_distribution():
    model = llama()
    asked = prompts([6])
    (sample,) = sampler(model).sample(asked, temperature=0.8, top_k=6, max_new_tokens=8, logps=True)[0]
    ids = torch.from_numpy(np.concatenate([asked[0], sample.ids]).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(ids).logits[0, len(asked[0]) - 1 : -1]
    expected = restrict(logits, temperature=0.8, top_k=6).gather(1, ids[0, len(asked[0]) :, None])[:, 0]
    assert np.allclose(sample.logps, expected.numpy(), atol=1e-4)


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    p = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    assert (restrict(p.log(), top_p=0.7).exp() > 0).tolist() == [[False, True, False, True]]  # .4 + .3 = .7
    assert (restrict(p.log(), top_p=0.71).exp() > 0).tolist() == [[False, True, True, True]]
    assert (restrict(p.log(), top_p=0.01).exp() > 0).tolist() == [[False, True, False, False]]
    assert torch.allclose(restrict(p.log(), top_k=2).exp(), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    hot = restrict(p.log(), temperature=2.0).exp()
    assert torch.allclose(hot, p.sqrt() / p.sqrt().sum())


def test_noise_of_a_row_is_its_own():
    one, again, other = RowNoise((0, 2), 10_000), RowNoise((0, 2), 10_000), RowNoise((0, 1), 10_000)
    for _ in range(5):  # more steps than are drawn at once
        noise = one.next()
        assert np.array_equal(noise, again.next())
        assert not np.array_equal(noise, other.next())
        assert abs(noise.mean() - 1) < 0.06
    p = torch.tensor([0.2, 0.5, 0.3]).log().expand(20000, 3)
    noise = torch.from_numpy(np.random.default_rng(0).standard_exponential((20000, 3), dtype=np.float32))
    share = torch.bincount(draw(p, noise), minlength=3) / 20000
    assert torch.allclose(share, torch.tensor([0.2, 0.5, 0.3]), atol=0.015)


def test_fast_prompts_stay_close_and_training_mode_is_kept():
    model = llama().train()
    asked = prompts([30, 12])
    exact = sampler(model).sample(asked, max_new_tokens=1, logps=True, seed=2)
    fast = sampler(model).sample(asked, max_new_tokens=1, logps=True, seed=2, fast_prompts=True)
    assert model.training
    assert all(
        a[0].ids[0] != b[0].ids[0] or abs(a[0].logps[0] - b[0].logps[0]) < 0.15
        for a, b in zip(exact, fast, strict=True)
    )


def test_progress_reaches_the_end_and_bad_settings_are_errors():
    seen = []
    sampler(llama()).sample(
        prompts([3] * 5), n=2, max_new_tokens=2, batch_size=4, progress=lambda *p: seen.append(p)
    )
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (10, 10)
    with pytest.raises(HalignError, match="top_p"):
        sampler(llama()).sample(prompts([3]), top_p=0.0)


@pytest.mark.parametrize("way", ["seats", "padded", "cached", "whole"])
def test_a_reply_ends_where_the_models_positions_do(way, monkeypatch):
    """A GPT-2 has no position past its last: a reply is cut off there, beside one that goes on, and a prompt that fills the
    window is refused by name. Greedy, against plain passes."""
    monkeypatch.setattr("halign.sampling.local.way_for", lambda model: way)
    torch.manual_seed(0)
    size = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
    model = sharpened(GPT2LMHeadModel(GPT2Config(**size))).eval()
    rng = np.random.default_rng(0)
    asked = [rng.integers(0, 40, n).astype(np.int32) for n in (20, 4, 21, 5)]
    rows = sample_ids(model, asked, [], Settings(temperature=0, max_new_tokens=10))
    assert [len(row.ids) for row in rows] == [4, 10, 3, 10]
    assert not any(row.finished for row in rows)
    for prompt, row in zip(asked, rows, strict=True):
        ids = prompt.tolist()
        for token in row.ids:
            with torch.no_grad():
                assert token == int(model(torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)
    with pytest.raises(HalignError, match="prompt 1 has 24 tokens, and the model has positions for 24"):
        sample_ids(model, [asked[0], np.arange(24, dtype=np.int32)], [], Settings())
