"""Values through tries are those of the Hugging Face sequence-classification model, path by path: forward and gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from halign.errors import HalignError
from halign.items import Path as TokenPath
from halign.last_layer import read_last_layer
from halign.lean import lean_layers
from halign.likelihood import as_path, make_renderer, path_values
from halign.models import Policy, load
from halign.probe import probe
from halign.rewards.facts import Facts
from halign.rewards.loading import load_reward
from halign.rewards.starting import from_causal
from halign.scoring import ValueScorer, make_scorer
from halign.trie import tree_batch
from tests.conftest import enlarge, make_llama, make_tokenizer
from tests.test_exactness import FALLBACK, MODELS, gradients, some_paths

NAMES = [
    "llama",
    "qwen2",
    "qwen3",
    "gpt2",
    "gpt_neox",
    "mistral, window 9",
    "gemma2, alternating windows, soft-capping",
    "gemma3, alternating windows",
    "mpt",
]
SAID = "It leaves tomorrow."


def classifier(name: str, outputs: int = 3, **changes: Any) -> Any:
    """The architecture as transformers makes it for sequence classification, weights large enough to show a wrong mask."""
    kind, settings, _ = MODELS[name]
    more = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "num_labels": outputs, **changes}
    config = transformers.AutoConfig.for_model(kind, **{**settings, **more})
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    enlarge(model)
    return model


def alone(model: Any, paths: list[TokenPath]) -> torch.Tensor:
    """[R, k]: one plain unpadded pass a path."""
    passes = [model(input_ids=torch.as_tensor(p.ids).long()[None], use_cache=False).logits[0] for p in paths]
    return torch.stack(passes)


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_separate_passes(name: str) -> None:
    model = classifier(name)
    capability = probe(model)
    assert capability.scheme.shares == MODELS[name][2], capability
    rows = some_paths()
    paths = [p for row in rows for p in row]
    pull = torch.linspace(-1, 2, 3 * len(paths)).reshape(-1, 3)
    expected_values = alone(model, paths)
    expected = gradients(model, (pull * expected_values).sum())
    shares = capability.scheme.shares
    batch = tree_batch(
        rows if shares else [[p] for p in paths], flat=shares and capability.scheme.kernel == "trie"
    )
    scorer = make_scorer(model, capability.scheme, capability.transform)
    undo = lean_layers(model), read_last_layer(scorer)
    assert isinstance(scorer, ValueScorer)
    values = scorer(batch).values
    found = gradients(model, (pull * values).sum())
    for put_back in undo:
        put_back()
    assert torch.allclose(values, expected_values, atol=2e-4)
    assert found.keys() == expected.keys()
    for key in found:
        worst = (found[key] - expected[key]).abs().max() / (expected[key].abs().max() + 1e-3)
        assert worst < 2e-4, key


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_dense_masks_over_padded_rows_agree_too(attention: str) -> None:
    model = classifier("mistral, window 9", attn_implementation=attention)
    found = probe(model)
    model.set_attn_implementation(attention)
    rows = some_paths()
    paths = [p for row in rows for p in row]
    scorer = make_scorer(model, replace(found.scheme, kernel="dense"), None)
    assert torch.allclose(scorer(tree_batch(rows)).values, alone(model, paths), atol=2e-4)


def test_values_ignore_loss_masks_and_what_follows() -> None:
    """The last token of the path is read, whether or not it is learnt, and whether or not another path goes on from there."""
    model = classifier("llama")
    rows = some_paths()
    bare = [[replace(p, loss_mask=None) for p in row] for row in rows]
    scorer = make_scorer(model, probe(model).scheme, None)
    assert torch.equal(scorer(tree_batch(rows, flat=True)).values, scorer(tree_batch(bare, flat=True)).values)


def test_a_model_that_is_read_otherwise_takes_no_values() -> None:
    config = transformers.AutoConfig.for_model("mamba", **FALLBACK)
    policy = Policy(transformers.AutoModelForCausalLM.from_config(config), None)
    with pytest.raises(HalignError, match="no sequence-classification class"):
        from_causal(policy, Facts())


def some_responses(count: int = 5) -> list[tuple[Any, str]]:
    asked = [{"role": "user", "content": "Where is my parcel now?"}]
    return [(asked, f"{SAID} {k}" + " Thank you." * k) for k in range(count)]


def gpt2_policy(tokenizer: Any) -> Policy:
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    enlarge(model)
    return Policy(model, tokenizer)


@pytest.mark.parametrize("pad", ["its own", "the end of turn", "none"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_folder_reloads_in_plain_transformers_with_the_same_numbers(
    kind: str, pad: str, tmp_path: Path
) -> None:
    """Right-padded batches, its own pooling; whatever the language model's pad token was."""
    tokenizer = make_tokenizer()
    if pad == "the end of turn":
        tokenizer.pad_token = tokenizer.eos_token
    if pad == "none":
        tokenizer.pad_token = None
    policy = Policy(make_llama(tokenizer), tokenizer) if kind == "llama" else gpt2_policy(tokenizer)
    reward = from_causal(policy, Facts("attributes", ("a", "b")))
    reward.model.eval()
    with torch.no_grad():
        reward.model.score.weight.normal_(generator=torch.Generator().manual_seed(2))
    ours = reward.score(some_responses())
    reward.save(tmp_path / "reward")

    folder = str(tmp_path / "reward")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encode = transformers.AutoTokenizer.from_pretrained(folder)
    assert plain.config.id2label == {0: "a", 1: "b"}
    assert plain.config.pad_token_id == encode.pad_token_id != encode.eos_token_id
    paths = [as_path(make_renderer(reward), *r) for r in some_responses()]
    batch = encode.pad(
        {"input_ids": [p.ids.tolist() for p in paths]}, padding_side="right", return_tensors="pt"
    )
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        theirs = plain(**batch).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    again = load_reward(folder)
    assert again.facts == reward.facts
    assert torch.allclose(again.score(some_responses()), ours, atol=1e-6)
    assert torch.allclose(again.score(some_responses(), separate=True), ours, atol=1e-5)
    with pytest.raises(HalignError, match="is a reward model"):
        load(folder)


def test_a_pad_token_is_made_where_every_token_can_end_a_turn(tokenizer: Any, tmp_path: Path) -> None:
    """As in GPT-2, whose only special token ends everything: one row is added to the embeddings."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.BPE({"a": 0, "b": 1, "<|endoftext|>": 2}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lonely = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>")
    lonely.pad_token = lonely.eos_token
    policy = Policy(make_llama(lonely, pad_token_id=None), lonely)
    reward = from_causal(policy, Facts())
    assert reward.tokenizer.pad_token == "<|pad|>"
    assert policy.tokenizer.pad_token == "<|endoftext|>"
    assert reward.model.get_input_embeddings().num_embeddings == 4
    reward.model.eval()
    ours = reward.score([("ab", "ab"), ("ab", "aaabb")])
    reward.save(tmp_path / "r")
    assert torch.allclose(load_reward(tmp_path / "r").score([("ab", "ab"), ("ab", "aaabb")]), ours, atol=1e-6)


def test_a_language_model_is_no_reward_model(policy_folder: Path) -> None:
    with pytest.raises(HalignError, match=r"no reward model: it lacks score.weight.*halign train reward"):
        load_reward(policy_folder)


def test_bf16_values_are_near(tokenizer: Any) -> None:
    reward = from_causal(Policy(make_llama(tokenizer), tokenizer), Facts())
    with torch.no_grad():
        reward.model.score.weight.normal_(std=0.2, generator=torch.Generator().manual_seed(2))
    exact, coarse = (reward.score(some_responses(), dtype=d) for d in ("fp32", "bf16"))
    assert coarse.dtype == torch.float32
    assert torch.allclose(exact, coarse, atol=0.05)


def test_progress_and_order(tokenizer: Any) -> None:
    reward = from_causal(Policy(make_llama(tokenizer), tokenizer), Facts())
    seen: list[tuple[int, int]] = []
    whole = reward.score(some_responses(), max_tokens=60, progress=lambda done, n: seen.append((done, n)))
    assert seen[-1] == (5, 5)
    one_by_one = torch.cat([reward.score([r]) for r in some_responses()])
    assert torch.allclose(whole, one_by_one, atol=1e-6)
    assert reward.score([]).shape == (0,)
    assert path_values(reward, []) == []
