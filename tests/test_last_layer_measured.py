"""Which last layers are computed at the positions read, and how much of them: measured, and undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from halign.last_layer import read_last_layer
from halign.models import checkpoint_gradients
from halign.probe import probe
from halign.scoring import Scorer
from halign.trie import TreeBatch
from halign.trie_attention import _TrieAttention
from tests.conftest import enlarge
from tests.test_exactness import GROUPED, MODELS, make
from tests.test_last_layer import a_batch, a_scorer, agree, last_layer

ABLE = {
    "llama", "mistral, window 9", "qwen2", "qwen3", "gemma2, alternating windows, soft-capping",
    "gemma3, alternating windows", "olmo", "olmo3, alternating windows", "mixtral", "qwen2_moe", "granite, scaled logits",
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_which_models_are_able_is_measured(name: str) -> None:
    model = make(name)
    scorer = a_scorer(model)
    undo = read_last_layer(scorer)
    changed = [m for m in model.modules() if "forward" in vars(m)]
    assert bool(changed) == (name in ABLE)
    undo()
    assert not [m for m in model.modules() if "forward" in vars(m)]


def attended_rows(scorer: Scorer, batch: TreeBatch, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each layer's attention multiplies with keys."""
    seen: list[int] = []
    plain = _TrieAttention.apply

    def counted(q: torch.Tensor, *rest: Any) -> Any:
        seen.append(q.shape[1])
        return plain(q, *rest)

    monkeypatch.setattr(_TrieAttention, "apply", counted)
    scorer(batch)
    monkeypatch.undo()
    return seen


def test_attention_of_the_last_layer_asks_for_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, batch = a_scorer(make("llama")), a_batch()
    width, read = batch.input_ids.shape[1], -(-len(batch.read_at) // 64) * 64
    assert attended_rows(scorer, batch, monkeypatch) == [width] * 3
    undo = read_last_layer(scorer)
    assert attended_rows(scorer, batch, monkeypatch) == [width, width, read]
    assert read < width / 2
    undo()
    assert attended_rows(scorer, batch, monkeypatch) == [width] * 3


def test_without_a_projection_of_queries_all_after_attention_is_restricted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Phi-3 makes queries, keys and values in one product."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model("phi3", **GROUPED)
    )
    enlarge(model)
    scorer, batch = a_scorer(model), a_batch()
    agree(scorer, batch)
    read_last_layer(scorer)
    assert attended_rows(scorer, batch, monkeypatch) == [batch.input_ids.shape[1]] * 3


def test_an_attention_that_mixes_its_queries_is_not_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what comes after it."""
    model = make("llama")
    projection = last_layer(model).self_attn.o_proj
    mixed = {"forward": lambda self, x: nn.Linear.forward(self, x + x.roll(1, 1))}
    projection.__class__ = type("Mixed", (nn.Linear,), mixed)
    capability = probe(make("llama"))
    scorer, batch = Scorer(model, capability.scheme, capability.transform), a_batch()
    agree(scorer, batch)
    read_last_layer(scorer)
    assert attended_rows(scorer, batch, monkeypatch) == [batch.input_ids.shape[1]] * 3


def test_a_layer_that_is_recomputed_from_outside_is_left_alone() -> None:
    """Nobody would say the positions to it the second time."""
    model = make("llama").train()
    kind = type(last_layer(model))
    last_layer(model).__class__ = type(
        "Outer", (kind,), {"__call__": lambda self, *a, **k: kind.__call__(self, *a, **k)}
    )
    undo = checkpoint_gradients(model)
    read_last_layer(a_scorer(model))
    assert "forward" not in vars(last_layer(model))
    undo()


def with_more_of_its_input(model: Any) -> None:
    """A little of it: a part of the computation that no module shows."""
    layer = last_layer(model)
    kind = type(layer)
    changed = {"forward": lambda self, x, **k: kind.forward(self, x, **k) + 1e-3 * x}
    layer.__class__ = type("Changed", (kind,), changed)


def with_a_weight_of_its_own(model: Any) -> None:
    """Which is one, and changes nothing, as long as it is not trained."""
    last_layer(model).scale = nn.Parameter(torch.ones(()))


def with_another_child(model: Any) -> None:
    last_layer(model).adapter = nn.Linear(32, 32)


def with_neighbours(model: Any) -> None:
    """A feed-forward layer that looks at the token before."""
    mlp = last_layer(model).mlp
    kind = type(mlp)
    mlp.__class__ = type(
        "Shifted", (kind,), {"forward": lambda self, x: kind.forward(self, x + x.roll(1, 1))}
    )


def with_dropout(model: Any) -> None:
    last_layer(model).dropout = nn.Dropout(0.1)


def in_half_precision(model: Any) -> None:
    """A small mistake could not be told from rounding."""
    model.bfloat16()


def replaced(model: Any) -> None:
    layer = last_layer(model)
    layer.forward = layer.forward


@pytest.mark.parametrize(
    "change",
    [
        with_more_of_its_input,
        with_a_weight_of_its_own,
        with_another_child,
        with_neighbours,
        with_dropout,
        in_half_precision,
        replaced,
    ],
)
def test_what_only_looks_alike_is_left_alone(change: Callable[[Any], None]) -> None:
    model = make("llama")
    change(model)
    before = vars(last_layer(model)).get("forward")
    capability = probe(make("llama"))
    undo = read_last_layer(Scorer(model, capability.scheme, capability.transform))
    assert vars(last_layer(model)).get("forward") is before
    undo()
    assert vars(last_layer(model)).get("forward") is before


def test_a_multiplied_residual_is_left_alone() -> None:
    model = make("granite, scaled logits")
    last_layer(model).residual_multiplier = 0.22
    read_last_layer(a_scorer(model))
    assert "forward" not in vars(last_layer(model))
