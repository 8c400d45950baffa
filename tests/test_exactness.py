"""The trie's numbers are those of separate, unpadded passes: forward and gradient, in float32, over many architectures.

The separate side is the plain Hugging Face model on one path at a time, its own mask, its own head, autograd throughout.
`pytest tests/test_exactness.py -s` prints the matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from halign.items import Path
from halign.last_layer import read_last_layer
from halign.lean import lean_layers
from halign.probe import Capability, probe
from halign.scoring import Scorer
from halign.trie import tree_batch
from tests.conftest import enlarge

VOCABULARY = 96
BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = BASE | {"num_key_value_heads": 2}
HEADS = GROUPED | {"head_dim": 8}
WINDOW = {"sliding_window": 9}
FALLBACK = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# name: (model type, configuration, does the trie work)
MODELS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "llama": ("llama", GROUPED, True),
    "mistral, window 9": ("mistral", GROUPED | WINDOW, True),
    "qwen2": ("qwen2", GROUPED, True),
    "qwen3": ("qwen3", HEADS, True),
    "gemma2, alternating windows, soft-capping": (
        "gemma2",
        HEADS
        | WINDOW
        | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
        True,
    ),
    "gemma3, alternating windows": ("gemma3_text", HEADS | WINDOW | {"query_pre_attn_scalar": 8}, True),
    "phi": ("phi", BASE, True),
    "gpt2": (
        "gpt2",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
        True,
    ),
    "gpt_neox": ("gpt_neox", BASE, True),
    "olmo": ("olmo", BASE, True),
    "olmo3, alternating windows": ("olmo3", BASE | WINDOW, True),
    "mixtral": ("mixtral", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}, True),
    "qwen2_moe": (
        "qwen2_moe",
        GROUPED
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
        True,
    ),
    "cohere2, scaled logits": ("cohere2", GROUPED | WINDOW | {"logit_scale": 0.3}, True),
    "granite, scaled logits": ("granite", GROUPED | {"logits_scaling": 3.0}, True),
    "gpt_oss, sinks": ("gpt_oss", HEADS | WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2}, True),
    "mamba": ("mamba", FALLBACK, False),
    "mpt": (
        "mpt",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128},
        False,
    ),
    "gpt_neo": (
        "gpt_neo",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 9,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        False,
    ),
}


def make(name: str, **changes: Any) -> Any:
    """The model, small, from its configuration, with weights that make differences show."""
    kind, settings, _ = MODELS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **settings), **changes
    )
    enlarge(model)
    return model.eval()


def some_paths(seed: int = 0, length: int = 30) -> list[list[Path]]:
    """Two tries, longer than any window: late and early branches, shared first response tokens, a path that is the prefix of
    another, a duplicate."""
    rng = np.random.default_rng(seed)

    def ids(n: int) -> np.ndarray:
        return rng.integers(3, VOCABULARY, n).astype(np.int32)

    trunk, reply = ids(length), ids(7)
    first = [
        Path(trunk[:8], ids(5)),
        Path(trunk, reply),
        Path(trunk, np.concatenate([reply[:3], ids(12)])),
        Path(trunk, reply[:4]),
        Path(trunk, reply),
        Path(np.concatenate([trunk, reply, ids(3)]), ids(4)),
    ]
    other = ids(12)
    return [
        first,
        [Path(other, ids(3)), Path(other, ids(6), loss_mask=np.array([1, 0, 1, 1, 0, 1], dtype=bool))],
    ]


def separately(model: Any, paths: list[Path]) -> list[torch.Tensor]:
    """Token log-probabilities, one plain pass a path."""
    found = []
    for path in paths:
        ids = torch.as_tensor(path.ids).long()[None]
        logps = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), -1)
        start = len(path.prompt)
        own = torch.stack([logps[t - 1, ids[0, t]] for t in range(start, len(path))])
        found.append(own if path.loss_mask is None else own[torch.as_tensor(path.loss_mask)])
    return found


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def compare(model: Any, capability: Capability, rows: list[list[Path]], flat: bool) -> tuple[float, float]:
    """(largest difference of a token's log-probability, largest relative difference of a gradient)."""
    paths = [p for row in rows for p in row]
    apart = separately(model, paths)
    weights = torch.linspace(-1, 2, len(paths))  # each response pulls differently, as in a preference loss
    expected = gradients(model, sum(w * a.sum() for w, a in zip(weights, apart, strict=True)))
    shares = capability.scheme.shares
    batch = tree_batch(rows if shares else [[p] for p in paths], flat=flat and shares)
    scorer = Scorer(model, capability.scheme, capability.transform)
    undo = lean_layers(model), read_last_layer(scorer)  # as in training
    scores = scorer(batch)
    found = gradients(model, (weights * scores.logps).sum())
    for put_back in undo:
        put_back()
    assert found.keys() == expected.keys()
    value = float((scores.token_logps - torch.cat(apart)).detach().abs().max())
    assert torch.allclose(scores.logps, torch.stack([a.sum() for a in apart]), atol=1e-4)
    gradient = max(
        float((found[n] - expected[n]).abs().max() / (expected[n].abs().max() + 1e-3)) for n in expected
    )
    return value, gradient


@pytest.mark.parametrize("name", MODELS)
def test_trie_and_separate_passes_agree(name: str) -> None:
    model = make(name)
    capability = probe(model)
    assert capability.scheme.shares == MODELS[name][2], capability
    value, gradient = compare(model, capability, some_paths(), flat=capability.scheme.kernel == "trie")
    print(
        f"\n{name:45s} {capability.scheme.describe():40s} logp {value:.1e}  gradient {gradient:.1e}", end=""
    )
    assert value < 2e-4
    assert gradient < 2e-4


DENSE = [
    (name, attention) for name in ("llama", "mistral, window 9", "gpt2") for attention in ("sdpa", "eager")
]
DENSE += [("gemma3, alternating windows", "sdpa"), ("gemma2, alternating windows, soft-capping", "eager")]


@pytest.mark.parametrize(("name", "attention"), DENSE)
def test_dense_masks_over_padded_rows_agree_too(name: str, attention: str) -> None:
    model = make(name, attn_implementation=attention)
    found = probe(model)
    capability = replace(found, scheme=replace(found.scheme, kernel="dense"))
    model.set_attn_implementation(attention)
    value, gradient = compare(model, capability, some_paths(), flat=False)
    assert value < 2e-4
    assert gradient < 2e-4


@pytest.mark.parametrize("seed", range(5))
def test_random_tries_agree(seed: int) -> None:
    """Random paths over few symbols, so that they share, nest and repeat in every way; windows included."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(3):
        trunk = rng.integers(3, 6, 20).astype(np.int32)
        row = []
        for _ in range(rng.integers(1, 6)):
            prompt = trunk[: rng.integers(1, 20)]
            response = rng.integers(3, 6, rng.integers(0, 12)).astype(np.int32)
            row.append(Path(prompt, response))
        rows.append([*row, row[0]])
    for name in ("llama", "mistral, window 9"):
        model = make(name)
        paths = [p for row in rows for p in row if len(p.response)]
        model.eval()
        capability = probe(model)
        kept = [[p for p in row if len(p.response)] for row in rows]
        value, gradient = compare(model, capability, [r for r in kept if r], flat=True)
        assert value < 2e-4
        assert gradient < 2e-4
        assert paths


def test_an_empty_response_scores_zero() -> None:
    model = make("llama")
    capability = probe(model)
    path = Path(np.array([3, 4, 5], dtype=np.int32), np.array([], dtype=np.int32))
    other = Path(np.array([3, 4, 5], dtype=np.int32), np.array([7], dtype=np.int32))
    scores = Scorer(model, capability.scheme, capability.transform)(tree_batch([[path, other]], flat=True))
    assert scores.logps[0] == 0
    assert scores.lengths.tolist() == [0, 1]


def test_branching_batches_are_refused_where_they_would_be_wrong() -> None:
    model = make("mpt")
    capability = probe(model)
    with pytest.raises(ValueError, match="separate paths only"):
        Scorer(model, capability.scheme, capability.transform)(tree_batch(some_paths()))


def test_the_probe_leaves_weights_mode_and_random_state_alone() -> None:
    model = make("llama").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    probe(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_bf16_is_as_near_to_fp32_as_plain_passes_in_bf16() -> None:
    """Trie attention rounds no worse than the model's own attention does."""
    model = make("llama")
    capability = probe(model)
    rows = some_paths(length=60)
    exact = torch.cat(separately(model, [p for row in rows for p in row]))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        plain = torch.cat(separately(model, [p for row in rows for p in row]))
        ours = Scorer(model, capability.scheme, capability.transform)(tree_batch(rows, flat=True)).token_logps
    assert (ours - exact).abs().mean() < 1.5 * (plain - exact).abs().mean()
    assert (ours - exact).abs().mean() < 0.03
