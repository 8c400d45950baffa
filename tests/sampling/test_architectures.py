"""Decoding is exact on many architectures: greedy replies are those of ``generate`` for each prompt alone, and the
log-probabilities of sampled replies are those that scoring finds.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from halign.items import Path
from halign.likelihood import path_logps
from halign.probe import probe
from halign.sampling import ways
from halign.sampling.local import Settings, sample_ids, written
from halign.sampling.rows import Picker, Row
from tests.test_exactness import MODELS, VOCABULARY, make

STOP = (2, 5, 11)  # several, so that some replies end early
LENGTHS = (1, 3, 21, 12, 7, 30, 12, 2)  # longer and shorter than the windows of 9


def prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, size=n).astype(np.int32) for n in lengths]


def generated(model: Any, prompt: np.ndarray, count: int) -> list[int]:
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=list(STOP),
        pad_token_id=0,
    )
    return made[0, len(prompt) :].tolist()


def is_tie(model: Any, prompt: np.ndarray, ours: list[int], theirs: list[int]) -> bool:
    """True if, where two greedy replies part, their tokens' logits are within 1e-4."""
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if same is None:
        return False
    ids = torch.from_numpy(np.concatenate([prompt, ours[:same]]).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0, -1]
    return abs(float(logits[ours[same]] - logits[theirs[same]])) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_greedy_replies_are_those_of_generate(name: str) -> None:
    model = make(name)
    asked = prompts()
    settings = Settings(n=2, temperature=0, max_new_tokens=16, batch_size=6)
    rows = sample_ids(model, asked, STOP, settings)
    for i, prompt in enumerate(asked):
        expected = generated(model, prompt, 16)
        for row in rows[2 * i : 2 * i + 2]:
            assert row.ids == expected or is_tie(model, prompt, row.ids, expected)
            assert row.finished == (row.ids[-1] in STOP)


WAYS = {
    "llama": "seats",
    "qwen3": "seats",
    "gpt2": "seats",
    "mixtral": "seats",
    "mistral, window 9": "padded",
    "gemma3, alternating windows": "padded",
    "gpt_oss, sinks": "padded",
    "mamba": "cached",
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_is_found_by_measurement(name: str) -> None:
    assert ways.way_for(make(name)) == WAYS[name]


@pytest.mark.parametrize("name", ["mistral, window 9", "mamba", "gpt_oss, sinks"])
def test_a_wrong_way_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a way is wrong for show it by far, or by an error; re-reading everything is right for all."""
    model = make(name)
    try:
        assert ways.difference(model, ways.WAYS["padded" if name == "mamba" else "seats"]) > 0.05
    except NotImplementedError as error:
        assert "without" in str(error)  # noqa: PT017
    assert ways.difference(model, ways.WAYS["whole"]) < 1e-4


def test_a_model_that_nothing_fits_reads_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_found", {})
    monkeypatch.setattr(ways, "difference", lambda model, way: 1.0)
    model = make("llama")
    assert ways.way_for(model) == "whole"
    asked = prompts((4, 4, 9))
    found = sample_ids(model, asked, STOP, Settings(temperature=0, max_new_tokens=8))
    assert [row.ids for row in found] == [generated(model, prompt, 8) for prompt in asked]


SCORED = [
    "llama",
    "mistral, window 9",
    "qwen2",
    "gemma2, alternating windows, soft-capping",
    "gemma3, alternating windows",
    "phi",
    "gpt2",
    "gpt_neox",
    "mixtral",
    "cohere2, scaled logits",
    "mamba",
    "gpt_neo",
]


@pytest.mark.parametrize("name", SCORED)
def test_logps_of_samples_are_those_of_scoring(name: str) -> None:
    model = make(name)
    asked = prompts((12, 5, 21))
    rows = sample_ids(model, asked, STOP, Settings(n=3, max_new_tokens=12, seed=4, logps=True, batch_size=3))
    paths = [Path(asked[row.index // 3], np.asarray(row.ids, dtype=np.int32)) for row in rows]
    policy: Any = SimpleNamespace(
        model=model,
        capability=probe(model),
        tokenizer=SimpleNamespace(pad_token_id=0),
        device=torch.device("cpu"),
    )
    for row, scored in zip(rows, path_logps(policy, paths), strict=True):
        assert len(row.logps) == len(row.ids)
        assert np.allclose(row.logps, scored.numpy(), atol=1e-4)
    again = sample_ids(  # a model whose attention scoring has exchanged samples the same
        model, asked, STOP, Settings(n=3, max_new_tokens=12, seed=4, batch_size=64)
    )
    assert [row.ids for row in again] == [row.ids for row in rows]


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "mistral, window 9", "mamba"])
def test_replies_do_not_depend_on_refill_or_batch(name: str) -> None:
    model = make(name)
    asked = prompts()
    found = [
        [
            row.ids
            for row in sample_ids(
                model, asked, STOP, Settings(n=3, max_new_tokens=20, seed=1, batch_size=size, refill=refill)
            )
        ]
        for size, refill in ((3, True), (9, True), (9, False), (64, True))
    ]
    assert found[0] == found[1] == found[2] == found[3]
    assert len({len(ids) for ids in found[0]}) > 3  # replies end at different times


class Counting(Picker):
    """Notes how many rows each step has."""

    def __init__(self, settings: Settings, stop_ids: Any) -> None:
        super().__init__(settings, stop_ids)
        self.widths: list[int] = []

    def pick(self, rows: Any, logits: torch.Tensor) -> list[int]:
        self.widths.append(len(rows))
        return super().pick(rows, logits)


def test_refill_keeps_more_rows_in_a_step() -> None:
    model = make("llama")
    asked = prompts(tuple(range(2, 34)))
    widths = {}
    for refill in (True, False):
        settings = Settings(n=2, max_new_tokens=40, batch_size=16, refill=refill)
        picker = Counting(settings, range(2, 12))
        done = sum(written(model, asked, [Row(i) for i in range(64)], picker, settings))
        assert done == 64
        widths[refill] = picker.widths
    assert sum(widths[True]) == sum(widths[False])
    assert len(widths[True]) < 0.8 * len(widths[False])
    assert max(widths[True]) <= 16


def test_long_replies_outgrow_their_room() -> None:
    model = make("llama")
    asked = prompts((5, 9))
    rows = sample_ids(model, asked, (), Settings(temperature=0, max_new_tokens=150))
    for row, prompt in zip(rows, asked, strict=True):
        whole = torch.from_numpy(np.concatenate([prompt, row.ids]).astype(np.int64))[None]
        with torch.no_grad():
            logits = model(whole).logits[0, len(prompt) - 1 : -1]
        picked = logits.gather(1, torch.tensor(row.ids)[:, None])[:, 0]
        assert len(row.ids) == 150
        assert float((logits.amax(-1) - picked).max()) < 1e-3


def test_the_model_is_left_as_it_was() -> None:
    model = make("llama").train()
    before = model.config._attn_implementation
    rows = [Row(0)]
    steps = written(model, prompts((4,)), rows, Picker(Settings(max_new_tokens=9), ()), Settings())
    next(steps)
    steps.close()  # a reader that stops listening
    assert len(rows[0].ids) == 1
    assert model.training
    assert model.config._attn_implementation == before


def test_adapters_and_bfloat16_decode_in_seats_too() -> None:
    import peft

    model = make("llama")
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj"])
    )
    tuned.eval()
    asked = prompts((7, 12))
    assert ways.way_for(tuned) == "seats"
    rows = sample_ids(tuned, asked, STOP, Settings(temperature=0, max_new_tokens=10))
    with tuned.disable_adapter():
        off = sample_ids(tuned, asked, STOP, Settings(temperature=0, max_new_tokens=10))
        assert [row.ids for row in off] == [generated(tuned, prompt, 10) for prompt in asked]
    assert [row.ids for row in rows] == [generated(tuned, prompt, 10) for prompt in asked]
    assert [row.ids for row in rows] != [row.ids for row in off]
    half = make("llama").to(torch.bfloat16)
    (row, *_) = sample_ids(half, asked, STOP, Settings(temperature=0, max_new_tokens=10))
    ids = torch.from_numpy(np.concatenate([asked[0], row.ids]).astype(np.int64))[None]
    with torch.no_grad():
        logits = half(ids).logits[0, len(asked[0]) - 1 : -1].float()
    picked = logits.gather(1, torch.tensor(row.ids)[:, None])[:, 0]
    assert float((logits.amax(-1) - picked).max()) < 0.1
