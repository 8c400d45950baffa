"""The loop of policy gradients: resumed bit for bit, the same in tries and apart, a step against a path of its own, and edges."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halign.critics import HeadCritic, SeparateCritic, make_critic
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.items import Path as TokenPath
from halign.loops import gradient_log, run
from halign.loops.minibatches import minibatches
from halign.loops.online import Online
from halign.loops.ppo import Ppo, PpoSettings
from halign.loops.prompts import Prompt, demonstrations, find_prompts
from halign.loops.registry import find, resolve
from halign.loops.rollouts import Rollout
from halign.models import Policy
from halign.readers import read
from halign.render import Renderer
from halign.rewards.facts import Facts
from halign.rewards.protocol import LearnedReward
from halign.rewards.starting import from_causal
from halign.run_folder import RunFolder
from halign.training import Interrupted
from tests.conftest import conversation_rows, make_llama, make_tokenizer

LOOPS = ["grpo", "ppo", "reinforce", "rloo"]
SMALL: dict[str, Any] = {
    "iterations": 3,
    "prompts": 2,
    "samples": 2,
    "max_new_tokens": 5,
    "learning_rate": 1e-3,
    "minibatches": 2,
    "quiet": True,
    "tensorboard": False,
}


class Vowels:
    """Share of vowels."""

    def score(self, prompts, replies):
        return [sum(c in "aeiou" for c in r) / (1 + len(r)) for r in replies]


class Same:
    def score(self, prompts, replies):
        return [0.7] * len(replies)


def fresh(tokenizer: Any) -> Policy:
    return Policy(make_llama(tokenizer), tokenizer, "memory")


def start(tokenizer: Any, output: Path, name: str = "rloo", **more: Any) -> Any:
    settings = {"reward": Vowels(), **SMALL, **more}
    return run(name, fresh(tokenizer), read(conversation_rows(2)), output=output, **settings)


def weights(run_: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in run_.policy.model.named_parameters()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[n], b[n]) for n in a), [n for n in a if not torch.equal(a[n], b[n])]


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while the iteration with this number (from 0) is at work."""
    from halign.loops import online

    def arrange(number: int) -> None:
        original, seen = Online._iterate, []

        def iterate(self: Online, index: int):
            if index == number:
                seen.append(index)
            return original(self, index)

        class Asked:
            def __enter__(self):
                return lambda: bool(seen)

            def __exit__(self, *error):
                return None

        monkeypatch.setattr(Online, "_iterate", iterate)
        monkeypatch.setattr(online, "stop_asked", lambda say: Asked())

    yield arrange
    monkeypatch.undo()


RESUMED = [
    ("rloo", {}),
    ("reinforce", {"epochs": 2}),
    ("grpo", {"lora_rank": 2}),
    ("ppo", {"target_kl": 0.1, "pretrain_weight": 0.5, "pretrain_items": 2, "shift_rewards": True}),
    ("ppo", {"critic": "separate", "lora_rank": 2}),
]


@pytest.mark.parametrize(("name", "more"), RESUMED)
def test_a_stopped_run_ends_with_the_same_weights(tokenizer, tmp_path, stop_after, name, more) -> None:
    whole = weights(start(tokenizer, tmp_path / "whole", name, **more))
    with pytest.MonkeyPatch.context():
        stop_after(1)
        with pytest.raises(Interrupted, match="after iteration 2 of 3"):
            start(tokenizer, tmp_path / "cut", name, **more)
    stop_after(99)
    resumed = start(tokenizer, tmp_path / "cut", name, **more)
    assert_equal(whole, weights(resumed))
    assert [r["step"] for r in resumed.metrics] == [1, 2, 3]
    before = RunFolder(tmp_path / "whole").metrics()
    varying = ("seconds", "samples_per_s")
    for a, b in zip(before, resumed.metrics, strict=True):
        assert {k: v for k, v in a.items() if not k.startswith(varying)} == {
            k: v for k, v in b.items() if not k.startswith(varying)
        }


def test_a_run_killed_before_its_first_checkpoint_begins_again(tokenizer, tmp_path, monkeypatch) -> None:
    whole = weights(start(tokenizer, tmp_path / "whole"))
    original = Online._iterate

    def die(self: Online, index: int):
        if index == 1:
            raise RuntimeError("power cut")
        return original(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Online, "_iterate", die)
        with pytest.raises(RuntimeError, match="power cut"):
            start(tokenizer, tmp_path / "cut")
    assert_equal(whole, weights(start(tokenizer, tmp_path / "cut")))


def test_samples_are_read_again_line_by_line(tmp_path) -> None:
    """A reply may hold line separators that JSON writes as they are, and the process may have died within a line."""
    rows = [
        json.dumps({"step": n, "reply": "one\u2028two\x85"}, ensure_ascii=False) + "\n" for n in (1, 2, 3)
    ]
    file = tmp_path / gradient_log.SAMPLES
    for torn in ("", rows[2][:12]):
        file.write_text("".join(rows[:2]) + torn)
        gradient_log.forget_samples(tmp_path, 2)
        assert file.read_text() == "".join(rows[:2])
        gradient_log.forget_samples(tmp_path, 1)
        assert file.read_text() == rows[0]


@pytest.mark.parametrize("name", LOOPS)
def test_tries_and_separate_paths_learn_the_same(tokenizer, tmp_path, name) -> None:
    # sgd: Adam divides by tiny second moments, which turns rounding into steps of full size
    more = {"optimizer": "sgd", "learning_rate": 0.05, "iterations": 2}
    shared = start(tokenizer, tmp_path / "shared", name, **more)
    apart = start(tokenizer, tmp_path / "apart", name, separate=True, **more)
    assert shared.metrics[0]["sharing"] > 1.3
    for n, p in weights(shared).items():
        torch.testing.assert_close(p, weights(apart)[n], rtol=1e-4, atol=2e-5)


def plain_logps(model: Any, path: Any) -> torch.Tensor:
    """log-probabilities of a reply's tokens by the model's own forward and a softmax."""
    ids = torch.from_numpy(path.ids.astype(np.int64))
    logits = model(ids[None]).logits[0].log_softmax(-1)
    return logits[:-1].gather(1, ids[1:, None])[len(path.prompt) - 1 :, 0]


NORMS = {"tokens": lambda ns, limit: [1 / sum(ns)] * len(ns)}
NORMS["replies"] = lambda ns, limit: [1 / (n * len(ns)) for n in ns]
NORMS["constant"] = lambda ns, limit: [1 / (limit * len(ns))] * len(ns)


@pytest.mark.parametrize("normalisation", ["tokens", "replies", "constant"])
@pytest.mark.parametrize("name", LOOPS)
def test_one_step_by_hand(tokenizer, tmp_path, monkeypatch, name, normalisation) -> None:
    """The gradient of a step, against plain passes over each reply and the method's formula written out."""
    seen: dict[str, Any] = {}
    learn = Online._learn

    def catch(self: Online, index: int, rollouts: Any, row: Any) -> Any:
        seen["rollouts"] = rollouts
        monkeypatch.setattr(self.stepper, "update", lambda done: None)
        seen["stepper"], seen["critic"] = self.stepper, self.critic
        found = learn(self, index, rollouts, row)
        seen["gradients"] = {
            n: p.grad.clone() for n, p in self.policy.model.named_parameters() if p.grad is not None
        }
        return found

    monkeypatch.setattr(Online, "_learn", catch)
    more = {
        "iterations": 1,
        "minibatches": 1,
        "gradient_clip": None,
        "normalisation": normalisation,
        "beta": 0.3,
        **({"critic_detached": False} if name == "ppo" else {}),
    }
    start(tokenizer, tmp_path / "run", name, samples=3, **more)
    rollouts = seen["rollouts"]
    model = fresh(tokenizer).model  # the weights are as they were: no update was made
    rewards = np.array(Vowels().score(None, [r.text for r in rollouts]))
    groups = [r.group for r in rollouts]
    assert groups == [0, 0, 0, 1, 1, 1]
    if name in ("rloo", "reinforce"):
        others = [
            [j for j in range(6) if j != i and (name == "reinforce" or groups[j] == groups[i])]
            for i in range(6)
        ]
        advantages = [
            np.full(len(r), rewards[i] - rewards[o].mean())
            for i, (r, o) in enumerate(zip(rollouts, others, strict=True))
        ]
    elif name == "grpo":
        own = [rewards[[j for j in range(6) if groups[j] == g]] for g in groups]
        advantages = [
            np.full(len(r), (rewards[i] - own[i].mean()) / (own[i].std(ddof=1) + 1e-4))
            for i, r in enumerate(rollouts)
        ]
    else:
        # the critic's zero: every token's return is its reply's score here
        with torch.no_grad():
            said = [by_hand_values(seen["critic"], model, r, (None, np.zeros(1)))[1] for r in rollouts]
        zero = float(np.concatenate([rewards[i] - v.numpy() for i, v in enumerate(said)]).mean())
        gaes = [by_hand_gae(seen["critic"], model, r, rewards[i], zero) for i, r in enumerate(rollouts)]
        joined = np.concatenate([a for a, _ in gaes])
        advantages = [(a - joined.mean()) / joined.std() for a, _ in gaes]
    shares = NORMS[normalisation]([len(r) for r in rollouts], SMALL["max_new_tokens"])
    loss = torch.zeros(())
    for i, (r, share) in enumerate(zip(rollouts, shares, strict=True)):
        logps = plain_logps(model, r.path)
        loss = loss - share * (torch.from_numpy(advantages[i]).float() * logps).sum()
        if (
            name == "ppo"
        ):  # half the squared error, weight .1; nothing is clipped where values are the old ones
            _, values, returns = by_hand_values(seen["critic"], model, r, gaes[i])
            loss = loss + 0.1 * share * 0.5 * (values + zero - returns).square().sum()
    # k1 in the reward and k3's gradient are zero where the policy is its reference
    loss.backward()
    for n, p in model.named_parameters():
        if p.grad is not None:
            scale = float(p.grad.abs().max()) + 1e-8
            torch.testing.assert_close(seen["gradients"][n], p.grad, rtol=1e-3, atol=1e-4 * scale, msg=n)


def by_hand_values(critic: HeadCritic, model: Any, r: Any, gae: Any) -> Any:
    ids = torch.from_numpy(r.path.ids.astype(np.int64))
    hidden = model.model(ids[None]).last_hidden_state[0]
    values = (hidden @ critic.score.weight[0].detach() + critic.score.bias.detach())[
        len(r.path.prompt) - 1 : -1
    ]
    return None, values, torch.from_numpy(gae[1]).float()


@torch.no_grad()
def by_hand_gae(
    critic: HeadCritic, model: Any, r: Any, score: float, zero: float
) -> tuple[np.ndarray, np.ndarray]:
    """Backwards, with lambda .95 and the score on the last token; no penalty where policy and reference are one."""
    _, values, _ = by_hand_values(critic, model, r, (None, np.zeros(1)))
    v = [*(values.double() + zero).tolist(), 0.0]
    advantage, found = 0.0, []
    for t in reversed(range(len(r))):
        delta = (score if t == len(r) - 1 else 0.0) + v[t + 1] - v[t]
        advantage = delta + 0.95 * advantage
        found.insert(0, advantage)
    return np.array(found), np.array(found) + np.array(v[:-1])


@pytest.mark.parametrize("name", LOOPS)
def test_a_constant_reward_teaches_nothing_and_is_no_nan(tokenizer, tmp_path, name) -> None:
    more = {"beta": 0.0, "value_weight": 1e-9, "whiten_rewards": True} if name == "ppo" else {"beta": 0.0}
    found = start(tokenizer, tmp_path / "run", name, reward=Same(), optimizer="sgd", **more)
    assert all(np.isfinite(v) for row in found.metrics for v in row.values() if isinstance(v, float))
    if name != "ppo":  # an untrained critic's values differ a little from token to token
        for n, p in fresh(tokenizer).model.named_parameters():
            torch.testing.assert_close(weights(found)[n], p.detach(), rtol=0, atol=1e-7)


def test_a_critic_that_knows_nothing_makes_no_slope_along_replies() -> None:
    """All replies are worth the same and the critic says 0 everywhere: no token is better than another."""
    method = Ppo(PpoSettings(whiten_advantages=False))
    rollouts = [
        Rollout(None, 0, TokenPath(np.zeros(1, np.int32), np.zeros(n, np.int32)), "", True) for n in (3, 5)
    ]
    for r, n in zip(rollouts, (3, 5), strict=True):
        r.score, r.logps, r.ref_logps, r.values = 0.8, np.zeros(n), np.zeros(n), np.zeros(n)
    first = method.credit(rollouts)
    assert method.memory["critic_zero"] == pytest.approx(0.8)
    for r in rollouts:
        np.testing.assert_allclose(r.learnt["advantages"], 0.0, atol=1e-12)
        np.testing.assert_allclose(
            r.learnt["returns"], 0.0, atol=1e-12
        )  # what the critic has to say beside its zero
    rollouts[0].score = 1.8
    method.credit(rollouts)
    assert method.memory["critic_zero"] == pytest.approx(0.8)  # of the first iteration, and kept
    np.testing.assert_allclose(rollouts[0].learnt["advantages"], [0.95**2, 0.95, 1.0])
    assert first["advantage_std"] == pytest.approx(0.0, abs=1e-12)


def test_one_prompt_and_one_reply_will_do(tokenizer, tmp_path) -> None:
    for name in ("ppo", "reinforce"):
        found = start(tokenizer, tmp_path / name, name, prompts=1, samples=1, minibatches=4)
        assert found.metrics[-1]["replies"] == 1


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_groups_of_one_are_refused(tokenizer, tmp_path, name) -> None:
    with pytest.raises(HalignError, match="samples=1, at least 2"):
        start(tokenizer, tmp_path / "run", name, samples=1)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("rloo", {"temperature": 0.7}, "only 1 will do"),
        ("ppo", {"kl_horizon": 5.0}, "kl_horizon would have no effect"),
        ("ppo", {"pretrain_items": 5}, "it needs pretrain_weight"),
        ("ppo", {"critic": "separate", "critic_detached": False}, "critic_detached would have no effect"),
        ("ppo", {"target_kl": 6.0, "beta": 0.0}, "target_kl would have no effect"),
        ("rloo", {"lora_alpha": 8.0}, "lora_alpha would have no effect: it needs lora_rank"),
        ("rloo", {"embedding_learning_rate": 1e-4}, "only optimizer=muon"),
        ("rloo", {"optimizer": "sgd", "adam_beta2": 0.9}, "sgd has no second moment"),
        ("rloo", {"minibatches": 1, "stop_kl": 0.1}, "stop_kl would have no effect"),
        ("rloo", {"eval_every": 1}, "there is no evaluation data"),
        ("rloo", {"max_new_tokens": 512}, "none of at most 0 tokens"),
    ],
)
def test_settings_that_will_not_do(tokenizer, tmp_path, name, settings, says) -> None:
    with pytest.raises(HalignError, match=says):
        start(tokenizer, tmp_path / "run", name, **settings)


def test_a_reward_that_gives_no_number_is_named(tokenizer, tmp_path) -> None:
    class Nan:
        def score(self, prompts, replies):
            return [float("nan")] * len(replies)

    with pytest.raises(HalignError, match="reward: nan came back where a finite number was expected, for '"):
        start(tokenizer, tmp_path / "run", reward=Nan())


def test_what_is_logged(tokenizer, tmp_path) -> None:
    found = run(
        "ppo",
        fresh(tokenizer),
        read(conversation_rows(2)),
        output=tmp_path / "run",
        reward=Vowels(),
        evaluation=read(conversation_rows(3, seed=5)),
        eval_every=2,
        samples_every=2,
        **{**SMALL, "tensorboard": True},
    )
    row = next(r for r in found.metrics if r["split"] == "train")
    assert {
        *(
            "reward",
            "reward_std",
            "return",
            "kl",
            "kl_k3",
            "kl_per_token",
            "kl_k3_per_token",
            "entropy",
            "clip_fraction",
        ),
        *(
            "ratio_max",
            "update_kl",
            "explained_variance",
            "loss_value",
            "loss_policy",
            "gradient_norm",
            "length",
        ),
        *("finished", "sharing", "seconds_sample", "seconds_score", "seconds_learn", "samples_per_s", "beta"),
    } <= row.keys()
    assert [r["step"] for r in found.metrics if r["split"] == "eval"] == [0, 2, 3]
    assert all(
        r["reward_low"] <= r["reward"] <= r["reward_high"] for r in found.metrics if r["split"] == "eval"
    )
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert {s["step"] for s in samples} == {1, 3}
    assert samples[0].keys() >= {"prompt", "reply", "reward", "kl"}
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert (tmp_path / "run" / "done").exists()
    # before the first update the policy is its reference and the policy that drew
    assert row["kl"] == pytest.approx(0.0, abs=1e-4)
    assert row["learning_rate"] == 1e-3


def test_entropy_is_exact(tokenizer, tmp_path, monkeypatch) -> None:
    kept: list[Any] = []
    learn = Online._learn
    monkeypatch.setattr(
        Online, "_learn", lambda self, i, rs, row: (kept.extend(rs), learn(self, i, rs, row))[1]
    )
    start(tokenizer, tmp_path / "run", iterations=1)
    model = fresh(tokenizer).model
    for r in kept:
        ids = torch.from_numpy(r.path.ids.astype(np.int64))
        with torch.no_grad():
            p = model(ids[None]).logits[0, len(r.path.prompt) - 1 : -1].softmax(-1)
        np.testing.assert_allclose(r.entropy, torch.special.entr(p).sum(-1).numpy(), rtol=1e-4)


def test_minibatches_hold_whole_prompts_and_everything_once() -> None:
    groups = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    parts = minibatches(groups, 3, (1, 2, 3))
    assert sorted(i for part in parts for i in part) == list(range(10))
    owners = [{groups[i] for i in part} for part in parts]
    assert sum(len(o) for o in owners) == 5
    assert len(minibatches(groups, 99, (0,))) == 5
    assert minibatches(groups, 3, (1, 2, 3)) != minibatches(groups, 3, (1, 2, 4))


def test_updates_stop_when_the_policy_has_moved(tokenizer, tmp_path) -> None:
    found = start(tokenizer, tmp_path / "run", epochs=5, learning_rate=0.05, stop_kl=1e-4, iterations=1)
    assert found.metrics[0]["stopped_early"] == 1.0
    assert found.metrics[0]["updates"] < 10


def test_a_separate_critic_starts_from_the_reward_model(tokenizer, tmp_path, monkeypatch) -> None:
    """Its value at a path's last token is then the reward of the path that ends there; the reward model itself stays."""
    reward = from_causal(fresh(tokenizer), Facts(bias=-1.5), seed=3)
    before = {n: p.detach().clone() for n, p in reward.model.named_parameters()}
    kept: dict[str, Any] = {}
    learn = Online._learn

    def catch(self: Online, index: int, rollouts: Any, row: Any) -> Any:
        kept.setdefault("rollouts", rollouts)
        kept["critic"] = self.critic
        return learn(self, index, rollouts, row)

    monkeypatch.setattr(Online, "_learn", catch)
    start(tokenizer, tmp_path / "run", "ppo", reward=LearnedReward(reward), critic="separate", beta=0.1)
    assert isinstance(kept["critic"], SeparateCritic)
    assert all(torch.equal(before[n], p) for n, p in reward.model.named_parameters())
    model: Any = reward.model
    for r in kept["rollouts"]:
        ids = torch.from_numpy(r.path.ids[:-1].astype(np.int64))
        with torch.no_grad():
            own = model.score(model.model(ids[None]).last_hidden_state[0])[len(r.path.prompt) - 1 :, 0]
        np.testing.assert_allclose(r.values, own.numpy() - 1.5, atol=2e-4)


def test_a_reward_model_with_a_pad_token_of_its_own_gives_a_critic(tmp_path) -> None:
    """Where padding is the end of turn, a reward model takes a new token for it; its other tokens are the policy's. A reward
    model of other words gives none."""
    plain = make_tokenizer()
    plain.pad_token = plain.eos_token
    policy = Policy(make_llama(plain), plain, "memory")
    given = from_causal(Policy(make_llama(plain), plain, "memory"), Facts())
    given.tokenizer.add_tokens(["<|own|>"])
    with contextlib.ExitStack() as undo:
        assert isinstance(make_critic("separate", policy, LearnedReward(given), undo), SeparateCritic)
        other = make_tokenizer(300)
        foreign = LearnedReward(from_causal(Policy(make_llama(other), other, "memory"), Facts()))
        with pytest.raises(HalignError, match="tokenizer is not the policy's"):
            make_critic("separate", policy, foreign, undo)


def test_the_critic_learns_and_a_detached_one_leaves_the_trunk_alone(
    tokenizer, tmp_path, monkeypatch
) -> None:
    kept: dict[str, Any] = {}
    setup = Online._set_up_model
    monkeypatch.setattr(
        Online, "_set_up_model", lambda self: (setup(self), kept.update(critic=self.critic))[0]
    )
    more = {"reward": Same(), "beta": 0.0, "optimizer": "sgd", "critic_learning_rate": 0.05, "iterations": 3}
    whitened = {"whiten_advantages": False, "gae_lambda": 1.0, "value_clip": None, "value_weight": 1.0}
    found = start(
        tokenizer,
        tmp_path / "run",
        "ppo",
        critic_detached=True,
        epochs=12,
        learning_rate=1e-12,
        **whitened,
        **more,
    )
    losses = [r["loss_value"] for r in found.metrics]
    assert losses[-1] < 0.5 * losses[0]
    for n, p in fresh(tokenizer).model.named_parameters():
        torch.testing.assert_close(weights(found)[n], p.detach(), rtol=0, atol=1e-6)


def test_demonstrations_are_mixed_in(tokenizer, tmp_path) -> None:
    """With a heavy weight and nothing else to learn, the demonstrations' likelihood rises."""
    found = start(
        tokenizer, tmp_path / "run", "ppo", reward=Same(), pretrain_weight=27.8, iterations=10, beta=0.0
    )
    nll = [r["nll"] for r in found.metrics]
    assert nll[-1] < nll[0] - 0.3
    assert found.metrics[0]["loss_pretrain"] == pytest.approx(nll[0], rel=1e-5)


def test_rewards_are_shifted_to_the_demonstrations(tokenizer, tmp_path, monkeypatch) -> None:
    found: dict[str, float] = {}
    begin = Online._begin
    monkeypatch.setattr(Online, "_begin", lambda self: (begin(self), found.update(self.method.memory))[0])
    start(tokenizer, tmp_path / "run", "ppo", shift_rewards=True, iterations=1)
    shown = [
        m["content"] for row in conversation_rows(2) for m in row["messages"] if m["role"] == "assistant"
    ]
    assert found["shift"] == pytest.approx(np.mean(Vowels().score(None, shown)))


def test_a_finished_run_is_left_alone(tokenizer, tmp_path) -> None:
    first = start(tokenizer, tmp_path / "run", iterations=1)
    again = start(tokenizer, tmp_path / "run", iterations=1)
    assert first.metrics == again.metrics
    shutil.rmtree(tmp_path / "run" / "model")
    (tmp_path / "run" / "done").unlink()
    with pytest.raises(HalignError, match="other settings"):
        start(tokenizer, tmp_path / "run", iterations=2)


def test_every_setting_says_what_it_is() -> None:
    for name in LOOPS:
        loop = find(name)
        assert all(f.description for f in loop.settings.model_fields.values())
        resolve(loop, {})
        assert loop.needs == ("reward",)


def test_scores_are_shifted_before_they_are_cut() -> None:
    """A reward model's zero lies anywhere: rewards of 6, 7 and 9 where demonstrations have 7 are -1, 0 and 2, cut at 1.5."""
    method = Ppo(PpoSettings(shift_rewards=True, clip_rewards=1.5, missing_stop_penalty=0.25))
    method.memory["shift"] = 7.0
    prompt = Prompt("c", Dialogue.of("?"), np.ones(1, np.int32))
    path = TokenPath(prompt.ids, np.ones(1, np.int32))
    drawn = [Rollout(prompt, 0, path, "", finished, score) for score, finished in ((6, 1), (7, 0), (9, 1))]
    assert method.scores(drawn).tolist() == [-1.0, -0.25, 1.5]


def test_prompts_of_every_form_of_data(tokenizer) -> None:
    """Plain text, a greeting that nobody asked for, and turns that are not to be learnt; as the loops of rounds ask them."""
    renderer = Renderer(tokenizer)

    def found(rows: Any) -> list[str]:
        return [p.dialogue.messages[-1].content for p in find_prompts(read(rows), renderer)]

    assert found([{"prompt": "2+2=", "completion": "4"}]) == ["2+2="]
    said = [
        ("assistant", "Hello"),
        ("user", "Hi"),
        ("assistant", "Yes?"),
        ("user", "Help"),
        ("assistant", "No"),
    ]
    assert found([{"messages": [{"role": r, "content": c} for r, c in said]}]) == ["Hi", "Help"]
    shown = demonstrations(read([{"prompt": "2+2=", "completion": "4"}]))
    assert [(p.messages[0].content, reply) for p, reply in shown] == [("2+2=", "4")]
