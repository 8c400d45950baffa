"""The loop at its edges: little data, odd settings, models that come with something, runs that died, policies used twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from halign.errors import HalignError
from halign.models import Policy, load
from halign.preflight_model import check_model
from halign.readers import read
from halign.run_folder import RunFolder
from halign.training import Interrupted, Trainer, train
from tests.conftest import conversation_rows, make_llama
from tests.test_training import SETTINGS, assert_same, moved, step_gradients, trainer_for

QUIET = SETTINGS | {"quiet": True}


def shaken(trainer: Trainer, size: float = 0.02) -> Trainer:
    """Away from the reference, so that every term of every loss counts."""
    with torch.no_grad():
        for p in trainer.policy.model.parameters():
            p.add_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return trainer


def single(number: int, label: bool, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"Where is parcel {number}?"}],
        "completion": [{"role": "assistant", "content": f"It is in street {7 * number % 10}."}],
        "label": label,
        **more,
    }


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"Where is parcel {number}?"}],
        "chosen": [{"role": "assistant", "content": f"It is in street {7 * number % 10}."}],
        "rejected": [{"role": "assistant", "content": f"Who {number} knows?"}],
        **more,
    }


def gpt2(tokenizer: Any, positions: int = 512) -> Policy:
    """With dropout everywhere, and learned positions."""
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=positions,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    return Policy(transformers.GPT2LMHeadModel(config).eval(), tokenizer, "memory")


# -- little data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["sft", "dpo", "ipo", "kto_pair", "preferred_ft"])
def test_one_item_is_enough(objective: str, tokenizer: Any, tmp_path: Path) -> None:
    run = train(moved(tokenizer), read([pair(1)]), objective, output=tmp_path / "run", **QUIET)
    assert run.last["items"] == 1


def test_a_share_of_an_epoch_is_at_least_one_step(tokenizer: Any, tmp_path: Path) -> None:
    rows = read(conversation_rows(2))
    for epochs, steps in ((0.1, 1), (0.5, 2), (1.5, 4)):
        trainer = trainer_for(
            moved(tokenizer), "dpo", tmp_path, conversation_rows(2), epochs=epochs, batch_items=2
        )
        assert trainer.plan.steps == steps
    run = train(moved(tokenizer), rows, "dpo", output=tmp_path / "r", **(QUIET | {"epochs": 0.01}))
    assert run.last["step"] == 1


def test_kto_on_one_class_trains_and_is_evaluated(tokenizer: Any, tmp_path: Path) -> None:
    rows = [single(i, True) for i in range(8)]
    run = train(
        moved(tokenizer), read(rows), "kto", output=tmp_path / "run", **(QUIET | {"eval_share": 0.25})
    )
    first, last = (r for r in run.metrics if r["split"] == "eval")
    assert first["loss"] == pytest.approx(0.5)
    assert last["desirable_logratio"] > 0
    assert "undesirable_logratio" not in last


def test_kto_needs_two_conversations_to_train_and_one_to_evaluate(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(HalignError, match="needs at least two"):
        train(moved(tokenizer), read(conversation_rows(1)), "kto", output=tmp_path / "a", **QUIET)
    settings = QUIET | {"eval_share": 0.34}
    run = train(moved(tokenizer), read(conversation_rows(3)), "kto", output=tmp_path / "b", **settings)
    assert run.last["split"] == "eval"


# -- what a step's mean is over --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "make"), [("dpo", pair), ("kto_pair", pair), ("sft", pair), ("kto", single)]
)
def test_an_item_of_weight_three_is_three_items(
    objective: str, make: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics of the step (KTO's reference points) are of the items as they are; the losses' mean is weighted."""
    rows = {
        "weighted": [make(1, label=True, weight=3.0), make(2, label=False)]
        if make is single
        else [make(1, weight=3.0), make(2)],
        "plain": [make(1, label=True), make(2, label=False)] if make is single else [make(1), make(2)],
    }
    found = {}
    for name, given in rows.items():
        trainer = shaken(trainer_for(moved(tokenizer), objective, tmp_path, given, shuffle="none"))
        if name == "plain":
            kept = trainer.losses.share
            losses = {}

            def share(
                scored: Any, statistics: Any, norms: Any, kept: Any = kept, losses: Any = losses
            ) -> Any:
                losses.update(statistics=statistics)
                return kept(scored, statistics, norms)

            monkeypatch.setattr(trainer.losses, "share", share)
        found[name] = step_gradients(trainer, monkeypatch)
    apart = []
    for index in (0, 1):
        trainer = shaken(trainer_for(moved(tokenizer), objective, tmp_path, rows["plain"], shuffle="none"))
        pack = trainer.plan.pack([index])[0]
        scored = next(trainer.stepper.scored(trainer.plan, [pack], [trainer.batch(trainer.plan, pack)]))
        norms = trainer.losses.normalisers([trainer.plan.items[index]])
        tokens = norms[objective] if objective == "sft" else 1.0
        loss, _ = trainer.losses.share(scored, losses["statistics"], norms)
        apart.append((float(loss.detach()), tokens))
    (one, m), (two, n) = apart
    assert found["plain"][1]["loss"] == pytest.approx((one * m + two * n) / (m + n), rel=1e-5)
    assert found["weighted"][1]["loss"] == pytest.approx((3 * one * m + two * n) / (3 * m + n), rel=1e-5)
    assert one != pytest.approx(two, rel=1e-3)


def test_an_sft_term_beside_kto_imitates_only_what_is_good(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [single(i, i % 2 == 0) for i in range(6)]
    both = trainer_for(moved(tokenizer), "kto+1.0*sft", tmp_path, rows)
    _, row = step_gradients(both, monkeypatch)
    good = trainer_for(moved(tokenizer), "sft", tmp_path, [r for r in rows if r["label"]])
    _, alone = step_gradients(good, monkeypatch)
    assert row["loss_sft"] == pytest.approx(alone["loss"], rel=1e-5)
    assert row["nll"] == pytest.approx(alone["nll"], rel=1e-5)


# -- models that come with something ---------------------------------------------------------------------------------


def test_weights_in_bf16_pass_the_preflight_and_are_warned_of(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = moved(tokenizer)
    policy.model.bfloat16()
    settings = SETTINGS | {"max_steps": 1}
    train(policy, read(conversation_rows(3)), "dpo", output=tmp_path / "full", **settings)
    assert "kept in bf16" in capsys.readouterr().err
    policy = moved(tokenizer)
    policy.model.bfloat16()
    run = train(policy, read(conversation_rows(3)), "dpo", output=tmp_path / "lora", lora_rank=2, **settings)
    assert "kept in bf16" not in capsys.readouterr().err
    assert run.metrics[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_gpt2_trains_in_every_way(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, row = step_gradients(trainer_for(gpt2(tokenizer), "dpo", tmp_path), monkeypatch)
    assert row["loss"] == pytest.approx(0.693147, abs=1e-5)
    saved, _ = step_gradients(
        trainer_for(gpt2(tokenizer), "dpo", tmp_path, gradient_checkpointing=True), monkeypatch
    )
    assert_same(saved, plain)
    for settings in ({"lora_rank": 2}, {"lora_rank": 2, "lora_dropout": 0.1, "gradient_checkpointing": True}):
        trainer = trainer_for(gpt2(tokenizer), "dpo", tmp_path, **settings)
        assert trainer._step(trainer.plan.step(0))["loss"] == pytest.approx(0.693147, abs=1e-5)


def test_a_model_without_enough_positions_is_named_before_it_breaks(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(HalignError, match=r"the model was made for 20; set max_length=20 .*too_long"):
        train(gpt2(tokenizer, 20), read([pair(1)]), "dpo", output=tmp_path / "run", **QUIET)
    llama = Policy(make_llama(tokenizer, max_position_embeddings=20), tokenizer)
    run = train(llama, read([pair(1)]), "dpo", output=tmp_path / "r", **(QUIET | {"accept": ["too_long"]}))
    assert run.last["step"] == 1


def test_dropout_on_adapters_does_not_turn_on_the_models_own(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(gpt2(tokenizer), "dpo", tmp_path, lora_rank=2, lora_dropout=0.25)
    drops = {n: m.p for n, m in trainer.policy.model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {p for n, p in drops.items() if "lora_dropout" in n} == {0.25}
    assert {p for n, p in drops.items() if "lora_dropout" not in n} == {0.0}


def test_muon_trains_adapters_too(tokenizer: Any, tmp_path: Path) -> None:
    settings = QUIET | {"optimizer": "muon", "lora_rank": 2, "learning_rate": 1e-3, "epochs": 3}
    run = train(moved(tokenizer), read(conversation_rows(3)), "dpo", output=tmp_path / "run", **settings)
    assert run.metrics[-1]["loss"] < 0.6931


def test_weights_that_are_not_finite_are_called_that(tokenizer: Any, tmp_path: Path) -> None:
    policy = moved(tokenizer)
    policy.model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(HalignError, match="not finite"):
        train(policy, read(conversation_rows(2)), "dpo", output=tmp_path / "run", **QUIET)


def test_the_same_weights_under_another_configuration_have_their_own_reference(
    tokenizer: Any, tmp_path: Path
) -> None:
    rows = read(conversation_rows(2))
    train(moved(tokenizer), rows, "dpo", output=tmp_path / "a", **QUIET)
    turned = make_llama(tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 100.0})
    run = train(Policy(turned, tokenizer), rows, "dpo", output=tmp_path / "b", **QUIET)
    assert run.metrics[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


# -- one policy, two runs --------------------------------------------------------------------------------------------


def test_a_run_leaves_the_model_as_it_was_but_for_its_weights(tokenizer: Any, tmp_path: Path) -> None:
    policy = gpt2(tokenizer)
    settings = QUIET | {"gradient_checkpointing": True}
    train(policy, read(conversation_rows(3)), "dpo", output=tmp_path / "a", **settings)
    assert not policy.model.training
    assert not policy.model.is_gradient_checkpointing
    assert {m.p for m in policy.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}
    assert not policy.model.get_input_embeddings()(torch.tensor([1])).detach().requires_grad
    trainer = trainer_for(policy, "sft", tmp_path, dropout=True)
    batch = trainer.batch(trainer.plan, trainer.plan.step(0).packs[0][0])
    one, two = (trainer.scorer(batch).token_logps for _ in range(2))
    assert not torch.equal(one, two)  # dropout that was asked for is there


def test_the_second_run_starts_from_the_first_ones_end(tokenizer: Any, tmp_path: Path) -> None:
    rows = read(conversation_rows(3))
    for name, more in (("full", {}), ("adapters", {"lora_rank": 2})):
        policy = moved(tokenizer)
        first = train(policy, rows, "dpo", output=tmp_path / name / "1", **(QUIET | more))
        second = train(policy, rows, "dpo", output=tmp_path / name / "2", **(QUIET | more))
        assert first.metrics[-1]["loss"] != pytest.approx(0.6931, abs=1e-3)
        assert second.metrics[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    with pytest.raises(HalignError, match="adapters of rank 2"):
        train(policy, rows, "dpo", output=tmp_path / "3", lora_rank=4, **QUIET)


def test_a_loaded_run_renders_as_it_was_trained(tokenizer: Any, tmp_path: Path) -> None:
    start = tmp_path / "start"
    moved(tokenizer).save(start)
    for name, more in (("full", {}), ("adapters", {"lora_rank": 2})):
        policy = load(start)
        settings = QUIET | {"template_args": {"tone": "kind"}, "max_length": 300, **more}
        train(policy, read(conversation_rows(3)), "sft", output=tmp_path / name, **settings)
        loaded = load(tmp_path / name)
        assert loaded.rendering == json.loads(json.dumps(policy.rendering))
        assert loaded.rendering["template_args"] == {"tone": "kind"}
        assert hasattr(loaded.model, "peft_config") == bool(more)
        from halign.sampling.local import TransformersSampler

        assert TransformersSampler(loaded).renderer.max_length == 300
    assert load(start).rendering == {}


# -- settings that would do nothing ----------------------------------------------------------------------------------


def test_evaluation_settings_without_effect_are_errors(tokenizer: Any, tmp_path: Path) -> None:
    rows = read(conversation_rows(3))
    with pytest.raises(HalignError, match="eval_every would have no effect"):
        train(moved(tokenizer), rows, "dpo", output=tmp_path / "a", eval_every=1, **QUIET)
    with pytest.raises(HalignError, match="eval_share would have no effect"):
        train(
            moved(tokenizer),
            rows,
            "dpo",
            output=tmp_path / "a",
            evaluation=read(conversation_rows(2, seed=5)),
            eval_share=0.3,
            **QUIET,
        )


# -- runs that died --------------------------------------------------------------------------------------------------


def dies(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    original = Trainer._step

    def step(self: Trainer, step: Any) -> Any:
        if step.index == at:
            raise RuntimeError("power cut")
        return original(self, step)

    monkeypatch.setattr(Trainer, "_step", step)


def test_a_run_that_died_without_a_checkpoint_starts_anew_in_its_folder(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = QUIET | {"epochs": 2, "eval_share": 0.25, "eval_every": 1}
    with monkeypatch.context() as patch:
        dies(patch, at=2)
        with pytest.raises(RuntimeError):
            train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    assert RunFolder(tmp_path / "run").metrics()
    run = train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    whole = train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "whole", **settings)
    keep = ("step", "split", "loss")
    assert [[r[k] for k in keep] for r in run.metrics] == [[r[k] for k in keep] for r in whole.metrics]


def test_a_row_that_was_half_written_is_made_again(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = QUIET | {"epochs": 2, "save_every": 1}
    with monkeypatch.context() as patch:
        dies(patch, at=2)
        with pytest.raises(RuntimeError):
            train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    folder = RunFolder(tmp_path / "run")
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 3, "split": "tr')
    (folder.path / "checkpoints" / "step-00000099.partial").mkdir()
    run = train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=tmp_path / "run", **settings)
    assert [r["step"] for r in run.metrics] == list(range(1, run.metrics[-1]["step"] + 1))
    assert (folder.path / "done").exists()


def test_a_run_that_never_stepped_may_be_started_with_other_settings(tokenizer: Any, tmp_path: Path) -> None:
    rows = read([pair(1), pair(2)])
    policy = moved(tokenizer)
    policy.model.generation_config.eos_token_id = 7  # not how the template ends a turn
    with pytest.raises(HalignError, match=r"accept=\[no_end_of_turn\]"):
        train(policy, rows, "dpo", output=tmp_path / "run", **QUIET)
    settings = QUIET | {"accept": ["no_end_of_turn"]}
    run = train(policy, rows, "dpo", output=tmp_path / "run", **settings)
    assert run.last["step"] == 1
    assert yaml.safe_load((run.path / "config.yaml").read_text())["accept"] == ["no_end_of_turn"]


def test_a_run_stopped_by_a_limit_goes_on_without_it(tokenizer: Any, tmp_path: Path) -> None:
    start, rows = tmp_path / "start", read(conversation_rows(4))
    moved(tokenizer).save(start)
    settings = QUIET | {"epochs": 6, "learning_rate": 3e-2}
    with pytest.raises(Interrupted, match="stop_drift"):
        train(load(start), rows, "dpo", output=tmp_path / "run", stop_drift=1.0, **settings)
    run = train(load(start), rows, "dpo", output=tmp_path / "run", **settings)
    whole = train(load(start), rows, "dpo", output=tmp_path / "whole", **settings)
    assert [r["loss"] for r in run.metrics] == [r["loss"] for r in whole.metrics]


def test_an_old_run_is_deleted_only_once_the_new_one_can_begin(tokenizer: Any, tmp_path: Path) -> None:
    train(moved(tokenizer), read([pair(1)]), "dpo", output=tmp_path / "run", **QUIET)
    with pytest.raises(HalignError, match="no items"):
        train(moved(tokenizer), [], "dpo", output=tmp_path / "run", overwrite=True, **QUIET)
    assert RunFolder(tmp_path / "run").done
    train(moved(tokenizer), read([pair(2)]), "ipo", output=tmp_path / "run", overwrite=True, **QUIET)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["objective"] == {"ipo": 1.0}


def test_a_process_that_dies_while_the_result_is_written_loses_nothing(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever ``finish`` breaks off, there is a done marker with a model, or a checkpoint to go on from."""
    import shutil

    from halign import run_folder

    settings = QUIET | {"epochs": 2, "save_every": 1}
    original = shutil.rmtree
    for number in range(3):
        out = tmp_path / f"run{number}"
        count = -1

        def rmtree(path: Any, *args: Any, out: Path = out, number: int = number, **more: Any) -> None:
            nonlocal count
            if (out / "model.partial").exists() or (out / "model").exists() or "model.partial" in str(path):
                count += 1
                if count == number:
                    raise RuntimeError("power cut")
            original(path, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(run_folder.shutil, "rmtree", rmtree)
            with pytest.raises(RuntimeError):
                train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=out, **settings)
        folder = RunFolder(out)
        assert folder.done or folder.latest_checkpoint() is not None
        run = train(moved(tokenizer), read(conversation_rows(4)), "dpo", output=out, **settings)
        assert (run.path / "model" / "model.safetensors").exists()


def test_nan_differences_do_not_pass_for_agreement(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from halign import preflight_model

    trainer = trainer_for(moved(tokenizer), "dpo", tmp_path)
    monkeypatch.setattr(preflight_model, "_separate", lambda *a: torch.full((4,), float("nan")))
    found = {f.name: f.level for f in check_model(trainer)}
    assert found["trie_differs"] == "error"


def test_a_policy_that_moves_is_measured_anew(tokenizer: Any) -> None:
    """On a GPU, masks are given otherwise than on a CPU."""
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    before = policy.capability
    policy.move("cpu")
    assert policy.capability is before
    policy.move("meta")
    assert policy.device.type == "meta"
    assert "capability" not in policy.__dict__
