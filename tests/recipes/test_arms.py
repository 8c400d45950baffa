"""Arms of a table: what the YAML may say, which stages follow, and which of them a setting touches."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.recipes import settings as recipe_settings
from halign.recipes.arms import Arm, all_arms, check_settings
from halign.recipes.commands import commands
from halign.recipes.loop_settings import loop_settings
from halign.recipes.run import find, names, resolve
from halign.recipes.stages import in_order
from halign.recipes.steps import model_folder
from halign.recipes.table import build
from halign.recipes.table_report import compared, run_of
from halign.recipes.tune import needed, rounds


def graph(overrides=None, recipe="instructgpt"):
    return build(resolve(recipe, "demo", overrides or {}))


def keys(overrides=None):
    return {s.name: s.key for s in in_order(graph(overrides).wanted)}


def touched(overrides):
    before, after = keys(), keys(overrides)
    assert before.keys() == after.keys()
    return {n for n in before if before[n] != after[n]}


def arms(**more):
    """Flow 1's settings with these arms."""
    return resolve("flow1", "demo", {"arms": more})


def test_every_table_is_sound_at_every_size():
    tables = [n for n in names() if n not in ("field", "frontier", "guardrails")]
    assert tables == ["flow1", "flow2", "instructgpt", "parrot", "raft", "rso", "spin", "sppo", "thesis"]
    for name in tables:
        for size in ("tiny", "demo", "full"):
            settings = resolve(name, size, {})
            made = build(settings)
            check_settings(list(made.arms.values()))
            assert len(in_order(made.wanted)) >= len(made.models)
        assert find(name).about
        assert settings["title"]
        assert settings["intro"]


def test_the_graph_of_instructgpt():
    made = graph()
    start = {n: s.inputs["model"].name for n, s in made.models.items() if n != "base"}
    assert start == {"SFT": "base", "RM": "SFT", "PPO": "SFT", "PPO-ptx": "SFT", "PPO (true)": "SFT"}
    assert made.models["PPO"].inputs["reward"] is made.models["RM"]
    assert made.models["RM"].inputs["data"] is made.samples["rankings"]
    assert made.samples["rankings"].inputs["model"] is made.models["SFT"]
    assert "reward" not in made.models["PPO (true)"].inputs
    assert made.models["PPO (true)"].settings["reward"] == "judge"
    assert set(made.answers) == {
        "base",
        "SFT",
        "PPO",
        "PPO-ptx",
        "PPO (true)",
    }  # a reward model answers nobody
    assert {a.inputs["reference"].name for a in made.answers.values()} == {"SFT"}
    ptx, plain = (made.models[n].settings["settings"] for n in ("PPO-ptx", "PPO"))
    assert {k for k in ptx if ptx[k] != plain.get(k)} == {"pretrain_weight"}


def test_a_setting_reaches_only_what_it_concerns():
    answers = {"answers-PPO", "answers-PPO-ptx"}
    after_rm = {"RM", "PPO", "PPO-ptx", *answers, "grades", "rewards-RM"}
    assert touched({"arms": {"RM": {"learning_rate": 1e-4}}}) == after_rm
    assert touched({"samples": {"rankings": {"samples": 3}}}) == {"samples-rankings", *after_rm}
    assert touched({"arms": {"PPO": {"beta": 0.5}}}) == {"PPO", "answers-PPO", "grades", "rewards-RM"}
    assert touched({"kl_prompts": 5}) == {f"answers-{n}" for n in graph().answers} | {"grades", "rewards-RM"}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"objective": "dpo"}, r"arms.new: from: .* needed"),
        ({"from": "base"}, r"arms.new: from: .* one of objective, loop, prompt"),
        ({"from": "base", "loop": "ppo", "prompt": "few_shot"}, "one of objective, loop, prompt"),
        ({"from": "base", "prompt": "one_shot"}, "prompt: zero_shot or few_shot"),
        ({"from": "base", "prompt": "zero_shot", "beta": 1}, "nothing is trained"),
        (
            {"from": "base", "objective": "dpo", "data": "rankings"},
            r"arms.new.data: 'rankings' is none of train",
        ),
        ({"from": "later", "objective": "dpo"}, "'later' is not an earlier model"),
        ({"from": "base", "loop": "ppa"}, "no loop 'ppa'; did you mean 'ppo'"),
        ({"from": "base", "loop": "ppo", "every_round": True}, "the loop ppo has no rounds"),
        ({"from": "base", "loop": "ppo", "reward": "M1SFT"}, "'M1SFT' is no reward model"),
    ],
)
def test_mistakes_in_an_arm_are_told(arm, message):
    with pytest.raises(HalignError, match=message):
        build(arms(new=arm))


def test_a_reward_model_must_come_first_and_starts_no_policy():
    rm = {"from": "base", "objective": "reward"}
    with pytest.raises(HalignError, match="'RM' comes later"):
        build(arms(PPO={"from": "base", "loop": "ppo", "reward": "RM"}, RM=rm))
    with pytest.raises(HalignError, match="'RM' is not an earlier model"):
        build(arms(RM=rm, PPO={"from": "RM", "loop": "ppo"}))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"reference": "nobody"}, "reference: no model 'nobody'"),
        ({"rewards": ["judges"]}, "rewards: no model 'judges'"),
        ({"comparisons": [["PPO", "SFD"]]}, "comparisons: no model 'SFD'"),
        ({"samples": {"rankings": {"sample": 3}}}, "samples.rankings: unknown key 'sample'"),
        ({"world": None}, "whose replies are better"),
        ({"arms": {"SFT": None}}, "'SFT' is not an earlier model"),
    ],
)
def test_mistakes_in_a_table_are_told(overrides, message):
    with pytest.raises(HalignError, match=message):
        graph(overrides)


def test_settings_of_objectives_and_loops_are_checked_before_anything_is_made():
    for arm, message in (
        (
            {"from": "base", "loop": "ppo", "bete": 1},
            "arms.new: ppo has no setting 'bete'; did you mean 'beta'",
        ),
        ({"from": "base", "objective": "dpo", "bete": 1}, "arms.new: .*bete"),
    ):
        with pytest.raises(HalignError, match=message):
            check_settings(list(all_arms(arms(new=arm)).values()))


def test_null_leaves_an_arm_and_its_comparisons_out():
    settings = resolve("instructgpt", "demo", {"arms": {"PPO-ptx": None}})
    made = build(settings)
    assert "PPO-ptx" not in made.models
    assert compared(settings, made) == [("PPO", "SFT"), ("PPO (true)", "PPO")]


def test_shared_training_settings_reach_a_loop_as_far_as_it_means_the_same():
    arm = all_arms(resolve("instructgpt", "demo", {}))["PPO"]
    assert arm.settings["dtype"] == "bf16"
    assert arm.settings["max_new_tokens"] == 80
    assert "warmup" not in arm.settings  # a share in training, iterations in ppo
    assert "batch_items" not in arm.settings
    assert loop_settings("ppo", {"iterations": 3}, {"seed": 1, "warmup": 0.1}) == {"seed": 1, "iterations": 3}


def test_a_frame_is_no_recipe_and_sizes_add_up():
    assert "table" not in names()
    tiny = resolve("instructgpt", "tiny", {})
    assert tiny["conversations"] == 12  # of the frame's tiny
    assert tiny["arms"]["PPO"]["iterations"] == 2  # of the recipe's own
    assert recipe_settings.source("instructgpt") == ["table.yaml", "instructgpt.yaml"]
    assert recipe_settings.source("field") == ["field.yaml"]


def test_tuning_orders_arms_by_what_they_need():
    settings = resolve("instructgpt", "demo", {})
    assert needed(settings, all_arms(settings))["PPO"] == {"base", "SFT", "RM"}
    assert rounds(settings) == [["SFT"], ["PPO", "PPO-ptx", "PPO (true)"]]
    settings["tune"]["arms"] = ["PPO"]
    assert rounds(settings) == [["PPO"]]
    settings["tune"]["arms"] = ["RM"]
    with pytest.raises(HalignError, match=r"tune\.arms: RM has no learning rate to choose; .*PPO-ptx"):
        rounds(settings)


def test_commands_of_loops_name_their_reward():
    settings = resolve("instructgpt", "demo", {"arms": {"PPO": {"skip": 0}}})
    found = dict(commands("instructgpt", settings, build(settings), [], "demo"))
    command = found["PPO alone, in this report's folder"]
    assert command.startswith(
        "halign run ppo --output NEW/PPO model=runs/SFT data=data/train.jsonl reward=runs/RM "
    )
    assert "PPO-ptx alone, in this report's folder" not in found  # it skips conversations


def test_labels():
    assert Arm("m", "base", "objective", "ipo").label == "prefers good replies over broken ones (IPO)"
    assert Arm("m", "base", "loop", "grpo").label == "is trained by the loop grpo"
    assert Arm("m", "base", "loop", "grpo", told="does it").label == "does it"


def test_every_round_of_a_loop_is_a_row_of_one_run(tmp_path):
    made = graph(recipe="spin")
    rows = [n for n in made.answers if n.startswith("SPIN")]
    assert rows == ["SPIN 1", "SPIN 2", "SPIN"]
    assert {made.models[n].name for n in rows} == {"SPIN"}
    assert [made.answers[n].settings.get("round") for n in rows] == [1, 2, None]
    assert len({made.answers[n].key for n in rows}) == 3
    for folder in ("run/rounds/1/run/model", "run/rounds/2/run/model", "run/model"):
        (tmp_path / folder).mkdir(parents=True)
    assert model_folder(tmp_path, 1) == str(tmp_path / "run/rounds/1/run/model")
    assert model_folder(tmp_path) == str(tmp_path / "run/model")
    assert model_folder(tmp_path, 3) == str(
        tmp_path / "run/model"
    )  # a loop that ran out of data before round 3
    assert run_of(tmp_path / "run", 1) == tmp_path / "run/rounds/1/run"
    assert run_of(tmp_path / "run", None) == tmp_path / "run/rounds/2/run"


def test_the_graph_of_flow_2():
    made = graph(recipe="flow2")
    for name, objective in (("N1SFT+ipo", "ipo"), ("N1SFT+kto", "kto_pair")):
        stage = made.models[name]
        assert stage.inputs["model"].name == "N1SFT"
        assert stage.settings["loop"] == "feedback"
        assert stage.settings["parts"] == ["feedback"]
        assert stage.settings["reward"] == "judge"  # what filters
        assert stage.settings["settings"]["objective"] == objective
        assert stage.settings["settings"]["train"]["learning_rate"] == 6e-5
        assert stage.settings["settings"]["train"]["batch_items"] == 8
    assert made.models["N2SFT"].settings["parts"] == ["train", "feedback"]
    assert made.models["N2SFT"].inputs["model"].name == "base"
    assert made.data.settings["feedback"] == 450


def test_the_graph_of_the_thesis():
    made = graph(recipe="thesis")
    assert "base" not in made.answers  # it stands there as zero-shot
    assert made.answers["zero-shot"].inputs["model"] is made.models["base"]
    assert made.answers["few-shot"].settings["examples"] == 2
    assert "examples" not in made.answers["zero-shot"].settings
    by = {n: a.by for n, a in made.arms.items()}
    assert (by["DPOxPRO"], by["PRO"], by["preferred-FT"]) == ("dpo_pro", "pro", "preferred_ft")
    for name in ("preferred-FT", "DPO", "PRO", "DPOxPRO", "RM"):
        assert made.models[name].inputs["data"] is made.samples["rankings"]
    for name in ("PPO", "RSO"):
        assert made.models[name].inputs["reward"] is made.models["RM"]
