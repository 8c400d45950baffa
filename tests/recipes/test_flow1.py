"""Flow 1: its graph, its settings, and the whole of it through the real engine at toy size."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from halign.errors import HalignError
from halign.evaluate import ALL
from halign.recipes import steps, tune
from halign.recipes.commands import commands
from halign.recipes.engine import run
from halign.recipes.run import execute, plan, resolve
from halign.recipes.stages import Store, in_order
from halign.recipes.table import build

TOY = {
    "base": {"size": "tiny"},
    "conversations": 12,
    "validation_conversations": 4,
    "test_prompts": 6,
    "kl_prompts": 4,
    "histories": ["mixed"],
    "sampling": {"max_new_tokens": 12},
}


def test_the_graph_is_the_papers():
    graph = build(resolve("flow1", "demo", {}))
    assert list(graph.models) == ["base", "M1SFT", "M2SFT", "Mipo", "Mkto", "M1SFT+ipo", "M1SFT+kto"]
    start = {name: s.inputs["model"].name for name, s in graph.models.items() if name != "base"}
    assert start == {
        "M1SFT": "base",
        "M2SFT": "base",
        "Mipo": "base",
        "Mkto": "base",
        "M1SFT+ipo": "M1SFT",
        "M1SFT+kto": "M1SFT",
    }
    objectives = {n: s.settings["objective"] for n, s in graph.models.items() if n != "base"}
    assert objectives["M1SFT+kto"] == objectives["Mkto"] == "kto_pair"
    assert graph.models["M2SFT"].settings["settings"]["epochs"] == 2
    assert {n: a.inputs["reference"].name for n, a in graph.answers.items()} == dict.fromkeys(
        graph.models, "base"
    )


def test_a_setting_reaches_only_what_it_concerns():
    def keys(**overrides):
        graph = build(resolve("flow1", "demo", overrides))
        return {s.name: s.key for s in in_order([graph.grades])}

    before = keys()
    after = keys(arms={"M1SFT": {"learning_rate": 5e-5}})
    changed = {n for n in before if before[n] != after[n]}
    assert changed == {"M1SFT", "M1SFT+ipo", "M1SFT+kto", "grades"} | {
        f"answers-{n}" for n in ("M1SFT", "M1SFT+ipo", "M1SFT+kto")
    }
    sampled = keys(sampling={"temperature": 0.5})
    assert {n for n in before if before[n] != sampled[n]} == {
        n for n in before if n.startswith(("answers", "gr"))
    }


def test_mistakes_in_settings_are_told():
    with pytest.raises(HalignError, match="did you mean 'conversations'"):
        resolve("flow1", "demo", {"conversation": 5})
    with pytest.raises(HalignError, match=r"arms.Mipo: a mapping"):
        resolve("flow1", "demo", {"arms": {"Mipo": 3}})
    with pytest.raises(HalignError, match="no size 'huge'"):
        resolve("flow1", "huge", {})
    with pytest.raises(HalignError, match="no recipe 'flow9'"):
        resolve("flow9", None, {})
    with pytest.raises(HalignError, match="not an earlier model"):
        build(resolve("flow1", "demo", {"arms": {"new": {"from": "Mnew", "objective": "dpo"}}}))
    with pytest.raises(HalignError, match="which model to train"):
        build(resolve("flow1", "demo", {"data": "file.jsonl"}))
    with pytest.raises(HalignError, match="no world"):
        build(resolve("flow1", "demo", {"world": "cares"}))


def test_an_arm_of_ones_own_can_be_added():
    graph = build(
        resolve("flow1", "demo", {"arms": {"Mdpo": {"from": "base", "objective": "dpo", "beta": 0.2}}})
    )
    assert graph.models["Mdpo"].settings["settings"]["beta"] == 0.2


def test_commands_name_every_run():
    settings = resolve("flow1", "demo", {})
    found = dict(commands("flow1", settings, build(settings), ["seed=1", "arms.Mipo.beta=0.2"], "demo"))
    assert found["Everything in this report"] == "halign run flow1 --size demo seed=1 arms.Mipo.beta=0.2"
    assert "halign train kto_pair --model runs/M1SFT --data data/train.jsonl" in "\n".join(found.values())


@pytest.fixture
def finished(made, monkeypatch):
    """The finished flow, with the cache it was made in."""
    monkeypatch.setenv("HALIGN_CACHE", str(made[0] / "cache"))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole flow, once, in this process."""
    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALIGN_CACHE", str(folder / "cache"))
        settings = resolve("flow1", "demo", TOY)
        yield folder, settings, execute("flow1", settings, folder / "out", workers=0)


def test_from_nothing_to_a_report(finished):
    folder, settings, done = finished
    page = done.report.read_text()
    assert "M1SFT+ipo against M1SFT" in page
    results = json.loads((folder / "out" / "results.json").read_text())
    assert set(results["models"]) == {"base", *settings["arms"]}
    for model in results["models"].values():
        assert {"adherence", "naturalness", "hallucination", ALL} <= set(model["mixed"])
    assert results["models"]["base"]["all"]["kl"]["value"] == 0.0
    assert results["models"]["Mipo"]["all"]["kl"]["n"] == 4
    assert results["models"]["Mipo"]["all"]["adherence"]["n"] == 6
    assert len([c for c in results["comparisons"] if c["prompts"] == "all"]) == 4 + 6
    for name in settings["arms"]:
        assert (folder / "out" / "runs" / name / "model" / "config.json").exists()
    assert (folder / "out" / "runs" / "base" / "config.json").exists()


def test_a_second_run_does_no_work(finished):
    folder, settings, done = finished
    assert len(done.outcome.made) == 2 + 6 + 7 + 1
    again = execute("flow1", settings, folder / "again", workers=0)
    assert again.outcome.made == []
    assert again.report.read_text() == done.report.read_text()
    assert {state for _, state in plan("flow1", settings)} == {"there already"}


def test_splits_share_no_conversation_and_the_test_split_is_held_out(finished):
    _, _, done = finished
    data = done.outcome.folders["data"]

    def ids(name):
        rows = [json.loads(line) for line in (data / name).read_text().splitlines()]
        return {r.get("conversation") or r["id"] for r in rows}

    train, held_out, test = ids("train.jsonl"), ids("validation.jsonl"), ids("prompts-test-mixed.jsonl")
    assert len(train) == 12
    assert not train & held_out
    assert not train & test
    assert not held_out & test


def test_replies_are_scored_by_the_worlds_rules(finished):
    from halign.evaluate import Reply
    from halign.readers import read_prompts
    from halign.recipes.steps import read_rows
    from halign.worlds import care

    _, _, done = finished
    prompts = read_prompts(done.outcome.folders["data"] / "prompts-test-mixed.jsonl")
    rows = read_rows(done.outcome.folders["grades"] / "Mipo" / "mixed.jsonl")
    for prompt, row in zip(prompts, rows, strict=True):
        reply, truth = Reply.of(row), care.assess(prompt, row["text"])
        assert reply.grade.acceptable["adherence"] == truth.adherent
        assert reply.grade.acceptable["hallucination"] == (not truth.hallucination)
        assert reply.grade.all_right == truth.ok


def test_an_arm_that_was_killed_before_its_first_checkpoint_starts_anew(finished, tmp_path):
    _, settings, done = finished
    arm = build(settings).models["M1SFT"]
    inputs = {"model": done.outcome.folders["base"], "data": done.outcome.folders["data"]}
    whole = done.outcome.folders["M1SFT"] / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text((whole / "config.yaml").read_text())
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 9.0}\n')
    steps.train(tmp_path, inputs=inputs, progress=lambda *_: None, threads=1, **arm.settings)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in rows if r["split"] == "train"]
    again = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert losses == pytest.approx([r["loss"] for r in again if r["split"] == "train"])


def test_tuning_looks_at_the_validation_split_only(finished, monkeypatch):
    folder, _, _ = finished
    small = resolve("flow1", "demo", {**TOY, "tune": {"factors": [0.5, 2.0], "prompts": 4}})
    small["arms"] = {n: small["arms"][n] for n in ("M1SFT", "M1SFT+ipo")}
    small["comparisons"] = []
    asked = []
    real = run

    def spy(wanted, *args, **kwargs):
        asked.extend(s for s in in_order(wanted) if s.function.endswith(("answer", "judge")))
        return real(wanted, *args, **kwargs)

    monkeypatch.setattr(tune, "run", spy)
    tuned, trials = tune.tune(small, Store(folder / "cache" / "stages"), workers=0)
    assert {s.settings["split"] for s in asked} == {"validation"}
    around = small["arms"]["M1SFT"]["learning_rate"]
    assert [t.learning_rate for t in trials if t.arm == "M1SFT"] == [around / 2, around * 2]
    assert sum(t.chosen for t in trials) == 2
    chosen = next(t for t in trials if t.chosen and t.arm == "M1SFT")
    assert tuned["arms"]["M1SFT"]["learning_rate"] == chosen.learning_rate
    assert chosen.shares[ALL] == max(t.shares[ALL] for t in trials if t.arm == "M1SFT")


def test_own_data_model_and_judge(finished, tmp_path):
    """The same flow on a user's file: conversations with alternatives, a model folder, a function that
    assesses.
    """
    folder, _, done = finished
    file = done.outcome.folders["data"] / "train.jsonl"
    settings = resolve(
        "flow1",
        "demo",
        {
            **TOY,
            "model": str(folder / "out" / "runs" / "base"),
            "data": str(file),
            "judge": "halign.worlds.care:assess",
            "world": None,
            "conversations": 6,
            "validation_conversations": 2,
            "arms": {},
        },
    )
    settings["arms"] = {n: settings["arms"][n] for n in ("M1SFT", "M1SFT+ipo")}
    settings["comparisons"] = [["M1SFT+ipo", "M1SFT"]]
    own = execute("flow1", settings, tmp_path / "own", workers=0)
    assert "given" in json.loads((tmp_path / "own" / "results.json").read_text())["models"]["M1SFT"]
    assert {"base", "data"} <= set(own.outcome.made)


def test_dry_run_and_report_on_the_command_line(finished):
    from halign.cli.main import app

    folder, _, _ = finished
    words = [f"{k}={json.dumps(v)}" for k, v in TOY.items() if not isinstance(v, dict)]
    words += ["base.size=tiny", "sampling.max_new_tokens=12"]
    shown = CliRunner().invoke(app, ["run", "flow1", "--dry-run", *words])
    assert shown.exit_code == 0, shown.output
    assert "to do" not in shown.output
    target = folder / "one.html"
    made = CliRunner().invoke(app, ["report", str(folder / "out/runs/Mipo"), "--output", str(target)])
    assert made.exit_code == 0, made.output
    assert "reward margin" in target.read_text()
