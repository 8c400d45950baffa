"""One trunk for policy, reference, reward and critic: the numbers of models apart, nothing else changed, and no second trunk."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers.models.llama.modeling_llama import LlamaAttention

import halign as hl
from halign.adapters.build import add_adapters
from halign.adapters.merging import merge
from halign.adapters.sharing import copy_of, share_trunk, shared_bytes
from halign.critics import make_critic
from halign.dialogue import Dialogue
from halign.loops import run
from halign.loops.online import Online
from halign.loops.registry import find, resolve
from halign.models import Policy
from halign.readers import read
from halign.rewards.facts import Facts
from halign.rewards.model import RewardModel
from halign.rewards.protocol import LearnedReward
from halign.rewards.starting import from_causal
from halign.train_settings import TrainSettings
from halign.training import Interrupted
from tests.conftest import conversation_rows, make_llama
from tests.loops.test_online import SMALL, Vowels, assert_equal, fresh, stop_after

__all__ = ["stop_after"]

PPO: dict[str, Any] = {"critic": "separate", "lora_rank": 2, "critic_learning_rate": 2e-3, "beta": 0.3}


def shaken(model: torch.nn.Module, seed: int = 5) -> None:
    """Give adapters something to do: those that are fresh change nothing."""
    draw = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=draw) * 0.1)


def lora_reward(tokenizer: Any, base: Any = None, facts: Facts | None = None, **settings: Any) -> RewardModel:
    """A reward model with adapters on a base of its own in memory (by default, of the weights of ``fresh``)."""
    model = make_llama(tokenizer) if base is None else base
    reward = from_causal(Policy(model, tokenizer, "memory"), facts or Facts(bias=-1.5), seed=3)
    reward.model = add_adapters(reward.model, TrainSettings(**({"lora_rank": 3} | settings)))
    shaken(reward.model)
    return reward


def start(tokenizer: Any, output: Path, name: str = "ppo", policy: Any = None, **more: Any) -> Any:
    settings = {"reward": Vowels(), **SMALL, **(PPO if name == "ppo" else {"lora_rank": 2}), **more}
    return run(name, policy or fresh(tokenizer), read(conversation_rows(2)), output=output, **settings)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last run held: itself, gradients of its first update, every iteration's rewards and values."""
    seen: dict[str, Any] = {"rewards": [], "values": [], "gradients": {}}
    learn = Online._learn

    def catch(self: Online, index: int, rollouts: Any, row: Any) -> Any:
        seen["online"] = self
        seen["rewards"].append([r.score for r in rollouts])
        seen["values"].append(np.concatenate([r.values for r in rollouts]) if self.critic else None)
        update = self.stepper.update

        def noted(done: int) -> None:
            if not seen["gradients"]:
                named = self.stepper.scorer.named_parameters()
                seen["gradients"] = {n: p.grad.clone() for n, p in named if p.grad is not None}
            update(done)

        self.stepper.update = noted  # type: ignore[method-assign]
        found = learn(self, index, rollouts, row)
        self.stepper.update = update  # type: ignore[method-assign]
        return found

    monkeypatch.setattr(Online, "_learn", catch)
    return seen


def all_weights(online: Online) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in online.stepper.scorer.named_parameters()}


def storages(*models: Any) -> int:
    """Bytes of the distinct storages under the models' parameters."""
    held = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for m in models for p in m.parameters()
    }
    return sum(held.values())


CASES = {
    "reward": lambda tokenizer: LearnedReward(lora_reward(tokenizer)),
    "bf16": lambda tokenizer: LearnedReward(lora_reward(tokenizer), dtype="bf16"),
    "rules": lambda tokenizer: Vowels(),
    "in_full": lambda tokenizer: LearnedReward(lora_reward(tokenizer, modules_to_save=("embed_tokens",))),
    "dora": lambda tokenizer: LearnedReward(lora_reward(tokenizer, adapter="dora")),
}


@pytest.mark.parametrize("case", CASES)
def test_three_iterations_are_those_of_models_apart(tokenizer, tmp_path, watched, case) -> None:
    """Rewards, values, the first update's gradients and the weights after six updates, with one trunk and with three (of the
    rarer cases after two updates)."""
    found = {}
    more = {
        "dtype": "bf16" if case == "bf16" else "fp32",
        "iterations": 3 if case in ("reward", "rules") else 1,
    }
    for way in ("auto", "off"):
        watched.update(rewards=[], values=[], gradients={})
        reward = CASES[case](tokenizer)
        start(tokenizer, tmp_path / way, reward=reward, shared_trunk=way, **more)
        online = watched["online"]
        held = [m for m in (getattr(reward, "model", None),) if m]
        total = storages(online.stepper.scorer, *(m.model for m in held))
        found[way] = {**watched, "weights": all_weights(online), "bytes": total}
    one, apart = found["auto"], found["off"]
    np.testing.assert_allclose(one["rewards"], apart["rewards"], atol=1e-5)
    for a, b in zip(one["values"], apart["values"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert any(n.startswith("critic.") and "lora_B" in n and g.any() for n, g in one["gradients"].items())
    assert any(n.startswith("model.") and "lora_B" in n and g.any() for n, g in one["gradients"].items())
    assert not any("embed_tokens.weight" in n for n in one["gradients"])
    assert_equal(one["gradients"], apart["gradients"])
    for n, p in one["weights"].items():  # apart, there are the trunks' copies too
        assert torch.equal(p, apart["weights"][n]), n
    trunk = sum(p.nbytes for p in fresh(tokenizer).model.model.parameters())
    unused_head = (
        32 * 4
    )  # what peft keeps of the head that the trained one stands for; the critic's is the reward's
    freed = trunk if case == "rules" else 2 * trunk + unused_head
    assert apart["bytes"] - one["bytes"] == freed


def test_a_value_is_the_reward_models_own_and_the_head_is_beside(tokenizer, tmp_path, watched) -> None:
    """The critic begins as the reward model: by that model's plain forward on each reply's beginnings. Its rewards are those
    that it gives alone, before and after."""
    model = lora_reward(tokenizer)
    prompts = [Dialogue.of([{"role": "user", "content": text}]) for text in ("Hello", "Is there more?")]
    asked = [(p, r) for p in prompts for r in ("Yes.", "No address")]
    alone = model.rewards(asked)
    rates = {"learning_rate": 1e-12, "critic_learning_rate": 1e-12}
    start(tokenizer, tmp_path / "run", reward=LearnedReward(model), iterations=1, **rates)
    torch.testing.assert_close(model.rewards(asked), alone, rtol=0, atol=0)
    online = watched["online"]
    twin: Any = lora_reward(tokenizer).model  # of weights of its own
    inner = twin.get_base_model()
    rollouts = _rollouts(online)
    for r in rollouts:
        ids = torch.from_numpy(r.path.ids[:-1].astype(np.int64))
        with torch.no_grad():
            hidden = inner.model(ids[None]).last_hidden_state[0, len(r.path.prompt) - 1 :]
            own = hidden @ inner.score.modules_to_save["default"].weight[0]
        np.testing.assert_allclose(r.values, own.numpy() - 1.5, atol=2e-4)


def _rollouts(online: Online) -> Any:
    """One more draw, read by the policy as it is."""
    found = online.collector.draw(online.prompts[:2], 2, 5, 7)
    online.collector.read(found)
    return found


def test_policy_and_reference_are_left_alone(tokenizer, tmp_path, watched) -> None:
    """Scoring rewards and values changes neither weights nor what is trained; the reference stays the model at the start."""
    reward = LearnedReward(lora_reward(tokenizer))
    adapters = {n: p.detach().clone() for n, p in reward.model.model.named_parameters() if p.requires_grad}
    start(tokenizer, tmp_path / "run", reward=reward, learning_rate=0.02)
    online = watched["online"]
    policy, critic = online.policy.model, online.critic
    assert_equal(adapters, {n: p for n, p in reward.model.model.named_parameters() if p.requires_grad})
    base = dict(fresh(tokenizer).model.named_parameters())
    for n, p in policy.named_parameters():
        assert p.requires_grad == ("lora_" in n), n
        if "lora_" not in n:
            plain = n.removeprefix("base_model.model.").replace("base_layer.", "")
            assert torch.equal(p, base[plain]), n
    trained = {n for n, p in critic.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in critic.named_parameters() if "lora_" in n or "modules_to_save" in n}
    optimised = [p for o in online.stepper.optimizers for g in o.param_groups for p in g["params"]]
    assert (
        len(optimised)
        == len({id(p) for p in optimised})
        == sum(p.requires_grad for p in online.stepper.scorer.parameters())
    )
    start_model = fresh(tokenizer)
    for r in _rollouts(online):
        asked = [(r.prompt.dialogue, r.path.response)]
        assert float(hl.logps(start_model, asked)) == pytest.approx(float(r.ref_logps.sum()), abs=1e-3)
    assert max(abs(r.kl) for r in _rollouts(online)) > 1e-2  # the policy did move


@pytest.mark.parametrize("case", ["reward", "rules"])
def test_a_stopped_run_ends_with_the_same_weights(tokenizer, tmp_path, watched, stop_after, case) -> None:
    def go(folder: str) -> dict[str, torch.Tensor]:
        start(tokenizer, tmp_path / folder, reward=CASES[case](tokenizer))
        return all_weights(watched["online"])

    whole = go("whole")
    stop_after(1)
    with pytest.raises(Interrupted, match="after iteration 2 of 3"):
        go("cut")
    checkpoint = load_file(next((tmp_path / "cut" / "checkpoints").glob("*/halign_state.safetensors")))
    kept = [n for n in checkpoint if n.startswith("critic.")]
    assert any("lora_B" in n for n in kept)
    assert any("score" in n for n in kept)
    assert not any("base_layer" in n or "embed" in n for n in kept)
    stop_after(99)
    assert_equal(whole, go("cut"))


def test_the_result_is_the_policys_adapter_alone(tokenizer, tmp_path) -> None:
    """A plain adapter folder, which merges to the policy's own numbers."""
    folder = tmp_path / "base"
    fresh(tokenizer).save(folder)
    policy = hl.load(folder)
    reward = LearnedReward(lora_reward(tokenizer, make_llama(tokenizer)))
    done = start(tokenizer, tmp_path / "run", policy=policy, reward=reward, learning_rate=0.02)
    model = tmp_path / "run" / "model"
    assert not [p for p in model.iterdir() if p.is_dir()]
    names = load_file(model / "adapter_model.safetensors")
    assert names
    assert all("lora_" in n for n in names)
    merge(model, tmp_path / "merged")
    asked = [([{"role": "user", "content": "Hello"}], "No, thank you")]
    merged = hl.logps(hl.load(tmp_path / "merged"), asked)
    torch.testing.assert_close(merged, hl.logps(done.policy, asked), rtol=0, atol=1e-3)
    assert abs(float(merged - hl.logps(hl.load(folder), asked))) > 1e-3


def test_adapters_that_were_there_share_too(tokenizer, tmp_path, watched) -> None:
    """A policy that goes on with its adapters: the reference is its start, adapters on; the reward reads without them. Layers are
    computed again in the backward pass, each model's with its own adapters."""
    found = {}
    for way in ("auto", "off"):
        watched.update(rewards=[], values=[], gradients={})
        policy = fresh(tokenizer)
        policy.model = add_adapters(policy.model, TrainSettings(lora_rank=2))
        shaken(policy.model, 9)
        reward = LearnedReward(lora_reward(tokenizer))
        more = {"gradient_checkpointing": True, "shared_trunk": way}
        start(tokenizer, tmp_path / way, policy=policy, reward=reward, **more)
        found[way] = (
            watched["rewards"],
            watched["gradients"],
            shared_bytes(reward.model.model, policy.model)[0],
        )
    assert found["auto"][0] == found["off"][0]
    assert_equal(found["auto"][1], found["off"][1])
    assert found["auto"][2] > 100_000
    assert found["off"][2] == 0


@pytest.mark.parametrize("case", ["reward", "rules"])
def test_a_critics_layers_are_computed_again_too(tokenizer, tmp_path, watched, monkeypatch, case) -> None:
    """With gradient checkpointing each layer of policy and critic runs once more in the backward pass; gradients are the same."""
    ran: dict[bool, int] = {}
    forward = LlamaAttention.forward
    now = [False]

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        ran[now[0]] = ran.get(now[0], 0) + torch.is_grad_enabled()
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaAttention, "forward", counted)
    found = {}
    for way in (False, True):
        now[0] = way
        watched.update(gradients={})
        more = {"iterations": 1, "minibatches": 1, "gradient_checkpointing": way}
        start(tokenizer, tmp_path / str(way), reward=CASES[case](tokenizer), **more)
        found[way] = watched["gradients"]
    assert (ran[False], ran[True]) == (2 * 2, 2 * 2 * 2)  # layers, models, and again
    for n, g in found[False].items():
        torch.testing.assert_close(found[True][n], g, rtol=1e-4, atol=1e-6, msg=n)


def test_tied_embeddings_stay_tied(tokenizer) -> None:
    """One matrix serves as the policy's embeddings, its head, and the reward model's embeddings; as adapters' base too."""
    tied: Any = make_llama(tokenizer, tie_word_embeddings=True)
    policy: Any = add_adapters(tied, TrainSettings(lora_rank=2, lora_targets=("lm_head", "q_proj")))
    reward: Any = lora_reward(tokenizer, make_llama(tokenizer, tie_word_embeddings=True))
    share_trunk(reward.model, policy)
    inner = policy.get_base_model()
    embeddings = reward.model.get_base_model().model.embed_tokens.weight
    assert embeddings is inner.model.embed_tokens.weight is inner.lm_head.base_layer.weight


def test_weights_decide_not_names(tokenizer) -> None:
    """Each weight that differs by one element stays its model's own; so do other precisions and weights that are trained."""
    owner = fresh(tokenizer).model.requires_grad_(False)
    other = lora_reward(tokenizer)
    changed = other.model.get_base_model().model.layers[1].mlp.up_proj.base_layer.weight
    changed.data[3, 4] += 1e-6
    share_trunk(other.model, owner)
    shared, _ = shared_bytes(other.model, owner)
    assert shared == sum(p.nbytes for p in owner.model.parameters()) - changed.nbytes
    assert other.model.get_base_model().model.layers[1].mlp.up_proj.base_layer.weight is changed
    half = lora_reward(tokenizer, make_llama(tokenizer).bfloat16())
    trained = from_causal(fresh(tokenizer), Facts())
    for model in (half.model, trained.model):
        share_trunk(model, owner)
        assert shared_bytes(model, owner)[0] == 0
    share_trunk(
        trained.model.requires_grad_(False), fresh(tokenizer).model
    )  # of which all weights are trained
    assert trained.model.model.norm.weight is not owner.model.norm.weight


def test_a_copy_that_shares_has_adapters_of_its_own(tokenizer) -> None:
    reward = lora_reward(tokenizer)
    before = {n: p.detach().clone() for n, p in reward.model.named_parameters()}
    twin = copy_of(reward.model, share=True)
    shaken(twin)
    assert_equal(before, dict(reward.model.named_parameters()))
    shared, whole = shared_bytes(twin, reward.model)
    trained = sum(p.nbytes for p in twin.parameters() if p.requires_grad)
    assert shared == whole - trained
    assert shared_bytes(copy_of(reward.model, share=False), reward.model)[0] == 0


def test_a_new_pad_token_leaves_the_policys_embeddings_alone() -> None:
    """Where the only special token ends turns, a reward model's matrix gets a row more, in place: the critic's is its own."""
    inner = Tokenizer(models.BPE({"a": 0, "b": 1, "<|endoftext|>": 2}, []))
    lonely = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    policy = Policy(make_llama(lonely, pad_token_id=None), lonely, "memory")
    policy.model.requires_grad_(False)
    before = policy.model.model.embed_tokens.weight.detach().clone()
    with contextlib.ExitStack() as undo:
        adapters = TrainSettings(lora_rank=2)
        critic: Any = make_critic("separate", policy, None, undo, adapters=adapters, share=True)
    own, theirs = critic.scorer.model.get_base_model().model, policy.model.model
    assert len(own.embed_tokens.weight) == len(before) + 1
    assert torch.equal(theirs.embed_tokens.weight, before)
    assert own.layers[0].self_attn.q_proj.base_layer.weight is theirs.layers[0].self_attn.q_proj.weight


@pytest.mark.parametrize("name", ["rloo", "ppo"])
def test_what_is_shared_is_said(tokenizer, tmp_path, capsys, name) -> None:
    more = {"iterations": 1, "quiet": False}
    start(tokenizer, tmp_path / "a", name, reward=LearnedReward(lora_reward(tokenizer)), **more)
    said = " ".join(capsys.readouterr().err.split())
    assert "shared with the policy's trunk: reward 0.1 of 0.1 MB" in said
    assert ("critic 0.1 of" in said) == (name == "ppo")
    whole = LearnedReward(from_causal(fresh(tokenizer), Facts()))
    start(tokenizer, tmp_path / "b", name, reward=whole, **more)
    assert "reward nothing, other weights or no adapters" in " ".join(capsys.readouterr().err.split())


def test_a_policy_trained_in_full_shares_nothing(tokenizer, tmp_path, watched) -> None:
    reward = LearnedReward(lora_reward(tokenizer))
    start(tokenizer, tmp_path / "run", reward=reward, lora_rank=0)
    assert shared_bytes(reward.model.model, watched["online"].policy.model)[0] == 0
    assert shared_bytes(watched["online"].critic, watched["online"].policy.model)[0] == 0


def test_the_setting() -> None:
    loop = find("ppo")
    assert resolve(loop, {}).shared_trunk == "auto"
    assert resolve(loop, {"shared_trunk": False}).shared_trunk == "off"  # as YAML reads the word
    with pytest.raises(hl.HalignError, match="shared_trunk"):
        resolve(loop, {"shared_trunk": "always"})
