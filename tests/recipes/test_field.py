"""The field: what methods learn from, how they are tuned, and the whole of it at toy size."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from halign.errors import HalignError
from halign.evaluate import ALL
from halign.judges.rules import Grade
from halign.recipes import field_steps
from halign.recipes.field import Job, Method, Trial, best
from halign.recipes.field_data import attributes, feedback, preference, win_rates
from halign.recipes.field_results import finding
from halign.recipes.run import execute, plan, resolve
from halign.recipes.stages import Store, in_order
from halign.recipes.steps import read_rows

METHODS = ("start", "dpo", "sft", "kto")


def settings(**overrides):
    """The smallest field: a method of each of three kinds of items."""
    found = resolve("field", "tiny", overrides)
    found["methods"] = {n: found["methods"][n] for n in METHODS}
    return found


def rows_of(folder, name):
    return read_rows(folder / f"{name}.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole field, once, in this process; with what was asked of which split."""
    folder = tmp_path_factory.mktemp("field")
    asked = []
    real = field_steps.answers

    def spy(policy, data, split, *rest):
        asked.append(split)
        return real(policy, data, split, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALIGN_CACHE", str(folder / "cache"))
        patch.setattr(field_steps, "answers", spy)
        yield folder, execute("field", settings(), folder / "out", workers=0), asked


def test_from_nothing_to_a_table(made):
    folder, done, _ = made
    out = folder / "out"
    assert "Reward against distance" in done.report.read_text()
    found = json.loads((out / "results.json").read_text())
    assert set(found["methods"]) == set(METHODS)
    assert found["methods"]["start"]["reward"]["versus_start"]["value"] == 0.0
    assert found["methods"]["start"]["kl"]["value"] == 0.0
    assert found["methods"]["start"]["chosen drift"]["value"] == pytest.approx(0.0, abs=1e-4)
    assert found["methods"]["dpo"]["chosen drift"]["value"] != pytest.approx(0.0, abs=1e-4)
    assert {"reward", ALL, "kl", "tokens", "unfinished", "worse drift"} <= set(found["methods"]["dpo"])
    text = (out / "table.md").read_text()
    assert all(f"| {name} |" in text for name in METHODS)
    assert (out / "settings.yaml").exists()


def test_every_method_makes_as_many_updates_and_tries(made):
    _, done, _ = made
    job = Job(settings(), Store(made[0] / "cache" / "stages"))
    list(job.rounds())
    for (name, seed), stage in job.finals.items():
        about = json.loads((done.outcome.folders[stage.name] / "result.json").read_text())
        assert about["updates"] == (0 if name == "start" else 4), (name, seed)
        if name != "start":
            assert about["items"] - about["updates"] < about["batch_items"] * 4 <= about["items"]
    tries = {n: [t for t in done.evidence.trials if t.method.name == n] for n in METHODS[1:]}
    assert {n: len(t) for n, t in tries.items()} == dict.fromkeys(METHODS[1:], 3)
    assert all(sum(t.chosen for t in of) == 1 for of in tries.values())
    dpo = {(t.learning_rate, t.strength) for t in tries["dpo"]}
    assert {s for _, s in dpo} == {None, 0.3}


def test_tuning_never_asks_the_test_split(made):
    _, done, asked = made
    first_test = asked.index("test")
    assert set(asked[:first_test]) == {"validation"}
    assert asked.count("validation") == 9  # three methods, three tries, one kind of history
    assert set(asked[first_test:]) == {"test"}
    tries = [n for n in done.outcome.made if n.startswith("try-")]
    assert len(tries) == 9


def test_rewards_are_those_of_the_worlds_rules(made):
    from halign.readers import read
    from halign.worlds import care

    _, done, _ = made
    rows = rows_of(done.outcome.folders["responses"], "rankings")
    conversations = {c.conversation: c for c in read(done.outcome.folders["data"] / "train.jsonl")}
    assert len(rows) == 16
    for row in rows:
        prompt = conversations[row["conversation"]].dialogue[: len(row["prompt"])]
        scores = [r["score"] for r in row["responses"]]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) > 1
        assert len({r["content"] for r in row["responses"]}) == len(scores)
        for reply in row["responses"]:
            truth = care.assess(prompt, reply["content"])
            kept = list(truth.adherence.values())
            by_hand = (sum(kept) / len(kept) if kept else 1.0) + truth.natural + (not truth.hallucination)
            assert reply["score"] == pytest.approx(by_hand / 3)
            assert (reply["feedback"][:4] == "Good") == truth.ok


def test_forms_tell_the_same_replies(made):
    _, done, _ = made
    folder = done.outcome.folders["responses"]
    ranked = rows_of(folder, "rankings")
    for row, wins in zip(ranked, rows_of(folder, "win_lists"), strict=True):
        assert [r["content"] for r in row["responses"]] == [r["content"] for r in wins["responses"]]
        assert sum(r["score"] for r in wins["responses"]) == pytest.approx(len(wins["responses"]) / 2)
    for row, pair in zip(ranked, rows_of(folder, "win_pairs"), strict=True):
        assert (pair["chosen"], pair["rejected"]) == (
            row["responses"][0]["content"],
            row["responses"][-1]["content"],
        )
        assert pair["chosen_win_rate"] > 0.5 > pair["rejected_win_rate"]
    score = {(r["id"], x["content"]): x["score"] for r in ranked for x in r["responses"]}
    for pair in rows_of(folder, "soft_pairs"):
        gap = score[pair["id"], pair["chosen"]] - score[pair["id"], pair["rejected"]]
        assert pair["preference"] == pytest.approx(preference(gap, 6.0))
        assert gap > 0
    good = {(r["id"], r["chosen"]) for r in rows_of(folder, "own_pairs")}
    assert all(score[key] == 1.0 for key in good)


def test_splits_share_no_conversation(made):
    _, done, _ = made
    data, learnt = done.outcome.folders["data"], done.outcome.folders["responses"]

    def ids(folder, name):
        return {r.get("conversation") or r["id"] for r in rows_of(folder, name)}

    imitated = [r["id"] for r in rows_of(data, "train")][:4]
    train, tuned = ids(learnt, "rankings"), ids(data, "prompts-validation-mixed")
    test = ids(data, "prompts-test-mixed") | ids(learnt, "drift")
    assert not train & set(imitated)
    assert not train & tuned
    assert not train & test
    assert not tuned & test


def test_a_second_run_does_no_work_and_the_plan_knows(made, monkeypatch):
    folder = made[0]
    monkeypatch.setenv("HALIGN_CACHE", str(folder / "cache"))
    again = execute("field", settings(), folder / "again", workers=0)
    assert again.outcome.made == []
    assert (folder / "again" / "table.md").read_text() == (folder / "out" / "table.md").read_text()
    assert {state for _, state in plan("field", settings())} == {"there already"}
    assert len(plan("field", settings(updates=2))) < len(plan("field", settings()))  # later rounds are open


def test_numbers_by_hand():
    assert win_rates([1.0, 1.0, 0.0, 0.5]) == [0.75, 0.75, 0.125, 0.375]
    bad = Grade(
        {"adherence": False, "naturalness": False, "hallucination": True},
        active={"greet": False, "sign": True, "name": True, "short": True},
        reasons={"naturalness": "repeats itself"},
    )
    assert bad.worth == pytest.approx((0.75 + 0 + 1) / 3)
    assert attributes(bad) == {"adherence": 3, "natural": 0, "supported": 4}

    class Rule:
        sentences = ("Greet.",)

    assert feedback(bad, {"greet": Rule}) == (
        "Not good: it breaks the rule “Greet.”, and it is not natural (repeats itself)."
    )
    ours = [[("a", 1.0), ("b", 0.0)], [("a", 1.0), ("b", 1.0)]]
    theirs = [[("a", 0.0), ("b", 0.0)], [("a", 1.0), ("b", 0.0)]]
    found = finding(ours, theirs)
    assert (found.interval.value, found.interval.clusters, found.seeds) == (0.75, 2, [0.5, 1.0])
    assert found.spread == pytest.approx(0.125**0.5)
    assert found.versus.value == 0.5


def test_a_run_that_diverges_is_a_bad_trial_and_ties_go_to_the_lower_rate(made, tmp_path, monkeypatch):
    from halign import training

    m = Method("m", "sft", "tokens", 1e-4)
    tried = [Trial(m, r, reward=x) for r, x in ((3e-5, 0.5), (1e-4, 0.5), (3e-4, None))]
    assert best(tried).learning_rate == 3e-5
    assert best([replace(t, reward=None) for t in tried]).learning_rate == 3e-5

    def diverges(*args, **kwargs):
        raise training.Diverged("step 3: the loss is nan")

    monkeypatch.setattr(training, "train", diverges)
    folder, done, _ = made
    job = Job(settings(), Store(folder / "cache" / "stages"))
    stage = job.attempt(Trial(job.methods[1], 1.0))
    inputs = {n: done.outcome.folders[s.name] for n, s in stage.inputs.items()}
    field_steps.attempt(tmp_path, inputs=inputs, progress=lambda *_: None, threads=1, **stage.settings)
    about = json.loads((tmp_path / "result.json").read_text())
    assert "nan" in about["failed"]
    assert "reward" not in about


def test_mistakes_are_told():
    store = Store("nowhere")
    with pytest.raises(HalignError, match="none of pairs"):
        Job(settings() | {"methods": {"start": {"objective": None}, "dpo": {"form": "pair"}}}, store)
    with pytest.raises(HalignError, match="leave it in"):
        Job(settings() | {"methods": {}}, store)
    with pytest.raises(HalignError, match="test_prompts"):
        Job(settings(tune={"prompts": 5}), store)


def test_every_method_of_the_yaml_resolves():
    from halign.config import resolve as run_config
    from halign.recipes.field_data import FORMS

    job = Job(resolve("field", "demo", {}), Store("nowhere"))
    for m in job.methods:
        if m.objective is None:
            continue
        how = FORMS[m.form][1]
        for strength in (None, *m.strengths):
            config = run_config(m.objective, {**Trial(m, m.learning_rate, strength).settings, **how})
            assert config.train.learning_rate == m.learning_rate
        assert not m.strength or m.chosen_strength(None) is not None
    assert len({s.name for s in in_order([job.attempt(Trial(m, 1e-5)) for m in job.methods[1:]])}) > 30


def test_tune_is_refused_for_the_field():
    from halign.cli.main import app

    result = CliRunner().invoke(app, ["run", "field", "--tune"])
    assert result.exit_code != 0
    assert "no meaning for field" in (result.output + str(result.exception))
