"""The tokenizer, and a base model small enough to train in a test."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from halign.errors import HalignError
from halign.models import load
from halign.render import Renderer
from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails
from halign.worlds import care
from halign.worlds.care.base_model import SIZES, recipe_hash, untrained
from halign.worlds.care.corpus import spoken


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache):
    return care.base_model(size="tiny", cache=cache)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_a_second_call_trains_nothing(folder, cache):
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert care.base_model(size="tiny", cache=cache) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    leftovers = {p.name for p in folder.parent.iterdir()} - {folder.name, f"{folder.name}.lock"}
    assert not leftovers


def test_what_was_interrupted_goes_on(cache, folder, tmp_path, monkeypatch):
    """Killed before and after its first checkpoint and asked for again: the weights of a run that never stopped."""
    monkeypatch.setattr(import_module("halign.worlds.care.base_model"), "SAVE_EVERY", 50)

    def steps_until(last):
        steps = []

        def progress(done, total, note):
            steps.append(done)
            if done == last:
                raise KeyboardInterrupt

        try:
            made = care.base_model(size="tiny", cache=tmp_path, progress=progress)
        except KeyboardInterrupt:
            made = None
        return [s for s in steps if s], made

    assert steps_until(20) == ([*range(1, 21)], None)
    assert steps_until(60) == ([*range(1, 61)], None)
    steps, again = steps_until(None)
    assert steps[0] == 51
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_it_is_a_plain_folder(folder, tokenizer):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert model.generation_config.eos_token_id == end
    assert tokenizer.eos_token_id == end
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert load(folder).stop_ids == {end}


def test_it_learnt_something(folder):
    """The mean log-probability of held-out replies is far above that of an untrained model."""
    held_out = list(care.conversations(20, split="validation", seed=3))

    def mean_logp(policy):
        renderer = Renderer(policy.tokenizer, stop_ids=policy.stop_ids)
        total = tokens = 0.0
        for item in renderer.render(held_out, "tokens"):
            (path,) = item.paths
            with torch.inference_mode():
                logits = policy.model(torch.tensor(path.ids[None].astype("int64"))).logits[0].float()
            logps = logits.log_softmax(-1)[len(path.prompt) - 1 : -1]
            targets = torch.tensor(path.response.astype("int64"))
            total += logps.gather(1, targets[:, None]).sum().item()
            tokens += len(targets)
        return total / tokens

    assert mean_logp(load(folder)) > mean_logp(untrained(SIZES["tiny"])) + 1.5


def test_the_same_recipe_gives_the_same_hash_and_another_another():
    hashes = {name: recipe_hash(size) for name, size in SIZES.items()}
    assert len(set(hashes.values())) == len(hashes)
    assert hashes["tiny"] == recipe_hash(SIZES["tiny"])


def test_an_unknown_size_is_refused():
    with pytest.raises(HalignError, match="tiny"):
        care.base_model(size="huge")


def test_text_comes_back_whole(tokenizer):
    for text in ("Hello Anna, it costs $45.", "Order 4821", "naïve – ✓ Ünïcode", "  two  spaces\nand lines "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_stand_apart(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("4821 $45")["input_ids"]) == [*"4821", "Ġ$", *"45"]


def test_the_template_generates_where_the_agent_answers(tokenizer):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": "A"}], tokenize=False)
    assert prompt == "<|system|> S<|end|><|user|> U<|end|><|assistant|>"
    assert whole == prompt + " A<|end|>"


def test_a_name_is_the_same_tokens_wherever_it_stands(tokenizer):
    """From the middle of the system message it is copied to the start of a reply."""
    for content in ("Anna, good day.", "The customer is Ms Anna, yes."):
        text = tokenizer.apply_chat_template([{"role": "assistant", "content": content}], tokenize=False)
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        name = tokenizer.convert_ids_to_tokens(tokenizer(" Anna")["input_ids"])
        assert any(tokens[i : i + len(name)] == name for i in range(len(tokens)))


def test_every_word_of_the_test_split_is_made_of_pieces_that_were_trained(tokenizer):
    guardrails = Guardrails(DEFAULT_GUARDRAIL_TEMPLATE)

    def pieces(conversations):
        texts = [m.content for c in conversations for m in guardrails.apply(c.dialogue)]
        return {token for ids in tokenizer(texts)["input_ids"] for token in ids}

    test = pieces(care.conversations(300, split="test", seed=1))
    assert not test - pieces(spoken(2000))
