"""The loop: gradients of the global step however it is cut, references however they are kept, resumption to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from halign.config import resolve
from halign.errors import HalignError
from halign.models import Policy, load
from halign.progress import Display
from halign.readers import read
from halign.rewards.starting import as_reward
from halign.run_folder import RunFolder
from halign.training import Interrupted, Trainer, train
from tests.conftest import conversation_rows, make_llama, power_cut

SETTINGS: dict[str, Any] = {"learning_rate": 1e-2, "batch_items": 8, "warmup": 0, "tensorboard": False}


def trainer_for(
    policy: Policy, objective: str, tmp_path: Path, rows: list[dict[str, Any]] | None = None, **settings: Any
) -> Trainer:
    """A trainer that is set up and has not stepped."""
    examples = read(rows or conversation_rows())
    config = resolve(objective, SETTINGS | settings)
    policy = as_reward(policy, config, examples)
    folder = RunFolder(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
    trainer = Trainer(policy, examples, None, config, folder, Display(quiet=True), {})
    trainer.folder.start(trainer.record)
    trainer._set_up_model()
    trainer._set_up_plans()
    trainer._set_up_reference()
    return trainer


def step_gradients(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Gradients of the first step before clipping, and its row; the weights stay."""
    for optimizer in trainer.stepper.optimizers:
        monkeypatch.setattr(optimizer, "step", lambda: None)
        monkeypatch.setattr(optimizer, "zero_grad", lambda set_to_none=True: None)
    trainer.stepper.clip = None
    row = trainer._step(trainer.plan.step(0))
    return {n: p.grad.clone() for n, p in trainer.policy.model.named_parameters() if p.grad is not None}, row


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(
            a[name], b[name], rtol=1e-3, atol=tolerance * float(b[name].abs().max() + 1e-6)
        ), name


def moved(tokenizer: Any) -> Policy:
    """A policy that is no longer its own reference is needed for gradients that are not at a special point."""
    return Policy(make_llama(tokenizer), tokenizer, "memory")


def test_dpo_gradient_by_hand(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against plain Hugging Face passes, one per response, and the formula written out."""
    trainer = trainer_for(moved(tokenizer), "dpo", tmp_path, beta=0.3)
    reference = make_llama(tokenizer)
    twin = make_llama(tokenizer)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p, q in zip(trainer.policy.model.parameters(), twin.parameters(), strict=True):
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
            q.copy_(p)

    def logp(model: Any, path: Any) -> torch.Tensor:
        ids = torch.as_tensor(path.ids).long()[None]
        logps = model(input_ids=ids).logits[0].float().log_softmax(-1)
        return sum(logps[t - 1, ids[0, t]] for t in range(len(path.prompt), len(path)))

    losses = []
    for i in trainer.plan.step(0).items:
        chosen, rejected = trainer.plan.items[i].paths
        with torch.no_grad():
            base = logp(reference, chosen) - logp(reference, rejected)
        margin = logp(twin, chosen) - logp(twin, rejected) - base
        losses.append(-torch.log(torch.sigmoid(0.3 * margin)))
    expected = torch.stack(losses).mean()
    expected.backward()
    gradients, row = step_gradients(trainer, monkeypatch)
    assert row["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert_same(gradients, {n: p.grad for n, p in twin.named_parameters()})


def test_sft_is_the_mean_over_the_supervised_tokens_of_the_step(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_for(moved(tokenizer), "sft", tmp_path, max_tokens=60)
    twin = make_llama(tokenizer)
    total, count = torch.tensor(0.0), 0
    for i in trainer.plan.step(0).items:
        path = trainer.plan.items[i].paths[0]
        ids = torch.as_tensor(path.ids).long()
        logits = twin(input_ids=ids[None]).logits[0]
        start = len(path.prompt)
        total = total + torch.nn.functional.cross_entropy(
            logits[start - 1 : -1].float(), ids[start:], reduction="sum"
        )
        count += len(path.response)
    (total / count).backward()
    gradients, row = step_gradients(trainer, monkeypatch)
    assert row["loss"] == pytest.approx(float(total / count), rel=1e-5)
    assert_same(gradients, {n: p.grad for n, p in twin.named_parameters()})


def test_two_ranks_of_four_give_the_same_weights_as_one_of_eight(policy_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(r) + "\n" for r in conversation_rows(6)))
    script = tmp_path / "go.py"
    script.write_text(
        "import sys, torch, halign as hl\n"
        "torch.set_num_threads(1)\n"
        "hl.train(sys.argv[1], hl.read(sys.argv[2]), sys.argv[4], output=sys.argv[3], learning_rate=1e-2, batch_items=8,\n"
        "         max_steps=2, max_tokens=120, optimizer='sgd', clip=None, warmup=0, tensorboard=False, quiet=True)\n"
    )
    for objective in ("kto", "kto_pair"):
        for ranks in (1, 2):
            out = tmp_path / f"{objective}{ranks}"
            launch = (
                ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if ranks == 2 else []
            )
            command = [
                sys.executable,
                *launch,
                str(script),
                str(policy_folder),
                str(rows),
                str(out),
                objective,
            ]
            env = {
                "ACCELERATE_USE_CPU": "true",
                "HALIGN_CACHE": str(tmp_path / f"cache{ranks}"),
                "OMP_NUM_THREADS": "1",
            }
            import os

            done = subprocess.run(
                command, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr[-3000:]
        one, two = (load_file(tmp_path / f"{objective}{r}" / "model" / "model.safetensors") for r in (1, 2))
        start = load_file(policy_folder / "model.safetensors")
        assert any(not torch.equal(one[k], start[k]) for k in start)
        for name in one:
            change = float((one[name] - start[name]).abs().max())
            assert torch.allclose(one[name], two[name], atol=1e-3 * change + 1e-8), name


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_a_stopped_run_resumes_to_the_same_bits(
    objective: str, tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    settings = SETTINGS | {"epochs": 3, "batch_items": 4, "eval_share": 0.25, "lora_rank": 0, "quiet": True}
    if objective == "sft":
        settings |= {"dropout": True, "optimizer": "muon"}
    start = tmp_path / "start"
    model = make_llama(tokenizer, attention_dropout=0.1)
    Policy(model, tokenizer).save(start)
    examples = read(conversation_rows(4))
    whole = train(load(start), examples, objective, output=tmp_path / "whole", **settings)

    original = Trainer._look_after

    def stop_after_three(self: Trainer, done: int, row: Any, board: Any, asked: Any) -> None:
        original(self, done, row, board, lambda: asked() or done == 3)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_look_after", stop_after_three)
        with pytest.raises(Interrupted, match="after step 3"):
            train(load(start), examples, objective, output=tmp_path / "cut", **settings)
    assert not RunFolder(tmp_path / "cut").done
    torch.manual_seed(99)  # a new process would not be where the old one was
    resumed = train(load(start), examples, objective, output=tmp_path / "cut", **settings)
    a, b = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("whole", "cut"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    keep = ("step", "split", "loss")
    assert [[r[k] for k in keep] for r in resumed.metrics] == [[r[k] for k in keep] for r in whole.metrics]


def test_lora_resumes_to_the_same_bits(tokenizer: Any, tmp_path: Path) -> None:
    settings = SETTINGS | {"epochs": 3, "batch_items": 4, "lora_rank": 2, "quiet": True, "save_every": 2}
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    examples = read(conversation_rows(4))
    train(load(start), examples, "ipo", output=tmp_path / "whole", **settings)
    with power_cut(3):
        train(load(start), examples, "ipo", output=tmp_path / "cut", **settings)
    run = train(load(start), examples, "ipo", output=tmp_path / "cut", **settings)
    a, b = (load_file(tmp_path / n / "model" / "adapter_model.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [r["step"] for r in run.metrics] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    loaded = load(tmp_path / "cut" / "model")
    assert hasattr(loaded.model, "peft_config")


def test_every_source_of_the_reference_gives_the_same_numbers(
    tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = {}
    for reference in ("cached", "frozen", "adapter"):
        trainer = trainer_for(
            moved(tokenizer), "dpo", tmp_path, lora_rank=2, reference=reference, learning_rate=0.05, beta=0.5
        )
        rows[reference] = [trainer._step(trainer.plan.step(i)) for i in range(2)]
    for name in ("frozen", "adapter"):
        for got, want in zip(rows[name], rows["cached"], strict=True):
            assert got["loss"] == pytest.approx(want["loss"], rel=1e-4)
            assert got["chosen_logratio"] == pytest.approx(want["chosen_logratio"], abs=2e-4)
    assert rows["cached"][0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows["cached"][1]["loss"] != pytest.approx(0.693147, abs=1e-3)


def test_the_reference_is_computed_once_for_the_same_model_and_data(
    tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from halign import reference

    trainer_for(moved(tokenizer), "dpo", tmp_path)
    monkeypatch.setattr(reference, "_by_slot", lambda *a: pytest.fail("scored again"))
    trainer_for(moved(tokenizer), "ipo", tmp_path)
    other = moved(tokenizer)
    with torch.no_grad():
        next(other.model.parameters())[0, 0] += 1e-3
    with pytest.raises(pytest.fail.Exception, match="scored again"):
        trainer_for(other, "dpo", tmp_path)
    with pytest.raises(pytest.fail.Exception, match="scored again"):
        trainer_for(moved(tokenizer), "dpo", tmp_path, dtype="bf16")


def test_kto_reference_point_is_of_the_global_step_and_works_with_a_batch_of_one(
    tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    trainer = trainer_for(moved(tokenizer), "kto", tmp_path, batch_items=1, beta=0.2)
    with torch.no_grad():
        for p in trainer.policy.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    reference, twin = make_llama(tokenizer), trainer.policy.model

    def ratio(path: Any) -> float:
        ids = torch.as_tensor(path.ids).long()[None]
        total = 0.0
        for model, sign in ((twin, 1), (reference, -1)):
            with torch.no_grad():
                logps = model(input_ids=ids).logits[0].float().log_softmax(-1)
            total += sign * float(sum(logps[t - 1, ids[0, t]] for t in range(len(path.prompt), len(path))))
        return total

    for index in range(4):
        step = trainer.plan.step(index)
        (i,) = step.items
        item, mismatched = trainer.plan.items[i], trainer.plan._mismatched[i]
        assert mismatched.prompt is item.paths[0].prompt
        others = [o for o in trainer.plan.items if o.paths[0].response is mismatched.response]
        assert all(o.conversation != item.conversation for o in others)
        z0 = max(0.0, ratio(mismatched))
        sign = 1 if item.values["desirable"] else -1
        want = 1 - 1 / (1 + pow(2.718281828459045, -sign * 0.2 * (ratio(item.paths[0]) - z0)))
        _, row = step_gradients_at(trainer, index, monkeypatch)
        assert row["loss"] == pytest.approx(want, rel=1e-3)
        assert row["z0"] == pytest.approx(z0, abs=1e-3)


def step_gradients_at(trainer: Trainer, index: int, monkeypatch: Any) -> tuple[None, dict[str, Any]]:
    for optimizer in trainer.stepper.optimizers:
        monkeypatch.setattr(optimizer, "step", lambda: None)
    return None, trainer._step(trainer.plan.step(index))


def test_training_learns_the_preferences_it_is_shown(tokenizer: Any, tmp_path: Path) -> None:
    policy = moved(tokenizer)
    run = train(
        policy,
        read(conversation_rows(4)),
        "dpo",
        output=tmp_path / "run",
        quiet=True,
        **(SETTINGS | {"learning_rate": 3e-3, "epochs": 8, "clip": 1.0}),
    )
    assert run.metrics[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert run.metrics[-1]["accuracy"] == 1.0
    assert run.metrics[-1]["margin"] > 5
    assert (run.path / "done").exists()
    assert (run.path / "preflight.txt").read_text().count("agree") >= 2
    again = train(policy, read(conversation_rows(4)), "dpo", output=tmp_path / "run", quiet=True, **SETTINGS)
    assert again.metrics == run.metrics
    loaded = load(tmp_path / "run")
    same = zip(loaded.model.parameters(), policy.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_another_run_is_not_overwritten_by_accident(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    settings = SETTINGS | {"quiet": True, "max_steps": 2, "save_every": 1}

    def crash(self: Trainer, *_: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_look_after", crash)
        with pytest.raises(RuntimeError):
            train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    with pytest.raises(HalignError, match=r"learning_rate: 0\.01 -> 0\.5"):
        train(
            moved(tokenizer),
            read(conversation_rows(4)),
            "dpo",
            output=tmp_path / "run",
            **(settings | {"learning_rate": 0.5}),
        )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(HalignError, match="no run folder"):
        train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "mine", **settings)
    with pytest.raises(HalignError, match="not a run folder"):
        train(
            moved(tokenizer),
            read(conversation_rows(4)),
            "dpo",
            output=tmp_path / "mine",
            overwrite=True,
            **settings,
        )
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tokenizer: Any, tmp_path: Path) -> None:
    policy = moved(tokenizer)
    trainer = trainer_for(policy, "sft", tmp_path)
    with torch.no_grad():
        policy.model.model.norm.weight[0] = float("nan")
    with pytest.raises(HalignError, match="step 1: the loss is nan"):
        trainer._step(trainer.plan.step(0))


def test_gradient_checkpointing_changes_no_gradient(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    plain, _ = step_gradients(trainer_for(moved(tokenizer), "dpo", tmp_path), monkeypatch)
    saved, _ = step_gradients(
        trainer_for(moved(tokenizer), "dpo", tmp_path, gradient_checkpointing=True), monkeypatch
    )
    assert_same(saved, plain)


def test_bf16_keeps_weights_in_fp32_and_the_loss_near(tokenizer: Any, tmp_path: Path) -> None:
    rows = {}
    for dtype in ("fp32", "bf16"):
        trainer = trainer_for(moved(tokenizer), "dpo", tmp_path, dtype=dtype, learning_rate=1e-2)
        rows[dtype] = [trainer._step(trainer.plan.step(i)) for i in range(2)][-1]
        assert all(p.dtype == torch.float32 for p in trainer.policy.model.parameters())
    assert rows["bf16"]["loss"] == pytest.approx(rows["fp32"]["loss"], abs=0.08)


def test_limits_stop_the_run_and_save_it(tokenizer: Any, tmp_path: Path) -> None:
    settings = SETTINGS | {"quiet": True, "epochs": 20, "learning_rate": 3e-2, "stop_drift": 1.0}
    with pytest.raises(Interrupted, match="stop_drift"):
        train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    assert RunFolder(tmp_path / "run").latest_checkpoint() is not None
