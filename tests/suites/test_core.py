"""Evaluating: what is written, what an interruption costs, which numbers verdicts make, what is said before anything runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.errors import HalignError
from halign.evaluate import mean, share
from halign.judges import Verdict
from halign.judges.records import GradeRecord, Judged, JudgedItem, PairRecord, append
from halign.sampling.protocol import Sample
from halign.suites import Files, Job, SetFile, evaluate, find, names, resolve
from halign.suites.contract import Answered, Question, one_turn
from halign.suites.run import _scored
from halign.suites.totals import broken_down, changes, estimate, totals, troubles


class Parrot:
    """A sampler that says what it was asked last, and counts; it dies at a given call."""

    def __init__(self, dies_at: int | None = None, said=lambda text, seed, draw: f"{text}!"):
        self.asked, self.calls, self.dies_at, self.said = 0, 0, dies_at, said

    def sample(self, prompts, *, n=1, temperature=1.0, seed=0, **settings):
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        self.asked += len(prompts)
        return [
            [Sample(self.said(p.messages[-1].content, (seed, i), d)) for d in range(n)]
            for i, p in enumerate(prompts)
        ]


def grade(item, value, dimension="right", conversation=None, **more):
    return GradeRecord(item, conversation or item, dimension, "j", "m", value, **more)


def gsm8k(folder: Path, count: int = 70) -> Path:
    rows = [{"question": f"{i}", "answer": f"so\n#### {i % 2}"} for i in range(count)]
    (folder / "gsm8k_test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


NOTHING = {"shots": 0}


def right_if_even(text, seed, draw):
    return "#### 0"


def test_every_name_finds_its_suite():
    for name in names():
        assert find(name).name == name
    with pytest.raises(HalignError, match="did you mean 'gsm8k'"):
        find("gsm8")


def test_settings_go_to_the_suites_that_have_them():
    suites = [find("gsm8k"), find("bbh")]
    found = resolve(suites, {"shots": 2, "seed": 3, "bbh": {"seed": 4}})
    assert (found["gsm8k"].shots, found["gsm8k"].seed, found["bbh"].seed) == (2, 3, 4)
    with pytest.raises(HalignError, match="did you mean 'shots'"):
        resolve(suites, {"shot": 2})
    with pytest.raises(HalignError, match=r"gsm8k\.shots"):
        resolve(suites, {"shots": -1})


def test_accuracy_interval_and_files_of_an_evaluation(tmp_path):
    data = gsm8k(tmp_path)
    model = Parrot(said=right_if_even)
    found = evaluate(
        model, ["gsm8k"], output=tmp_path / "out", job=Job(data=data), name="m", settings=NOTHING
    )
    (suite,) = found.suites
    by_hand = share([i % 2 == 0 for i in range(70)], list(range(70)))
    assert suite.measures["exact match, strict"] == by_hand
    written = json.loads((tmp_path / "out/results.json").read_text())
    assert written["suites"]["gsm8k"]["measures"]["exact match, strict"] == by_hand.to_dict()
    assert "exact match, strict" in (tmp_path / "out/results.txt").read_text()
    judged = Judged.read(tmp_path / "out/gsm8k")
    assert len(judged.items) == 70
    assert judged.items["gsm8k-3"].replies == {"m": "#### 0"}
    assert judged.facts["models"] == ["m"]
    assert {r.item for r in judged.grades} == set(judged.items)
    outputs = json.loads((tmp_path / "out/gsm8k/outputs.json").read_text())
    assert outputs[1]["output"] == "#### 0"
    assert outputs[1]["generator"] == "m"


def test_an_interrupted_evaluation_goes_on_and_ends_in_the_same_files(tmp_path):
    data = gsm8k(tmp_path)
    draws = {"shots": 0, "temperature": 1.0, "n": 2}

    def said(text, seed, draw):
        return f"#### {hash((text, seed, draw)) % 2}"

    def run(out, model):
        return evaluate(model, ["gsm8k"], output=out, job=Job(data=data), settings=draws, name="m")

    whole = run(tmp_path / "whole", Parrot(said=said))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Parrot(dies_at=2, said=said))
    folder = tmp_path / "cut/gsm8k"
    lines = (folder / "replies.jsonl").read_bytes()
    (folder / "replies.jsonl").write_bytes(lines[:-400])  # a chunk whose end was lost, its last line torn
    kept = (folder / "items.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "items.jsonl").write_bytes(b"".join(kept[:-3]))  # verdicts without their items
    again = Parrot(said=said)
    assert run(tmp_path / "cut", again).suites == whole.suites
    assert (tmp_path / "cut/gsm8k/replies.jsonl").read_bytes() == (
        tmp_path / "whole/gsm8k/replies.jsonl"
    ).read_bytes()
    ours, theirs = (Judged.read(tmp_path / f / "gsm8k") for f in ("cut", "whole"))
    assert sorted(map(repr, ours.records)) == sorted(map(repr, theirs.records))
    finished = Parrot(said=said)
    assert run(tmp_path / "whole", finished).suites == whole.suites
    assert finished.asked == 0


def test_a_larger_limit_asks_only_what_is_new_and_a_smaller_one_counts_less(tmp_path):
    data, out = gsm8k(tmp_path), tmp_path / "out"

    def run(limit):
        model = Parrot(said=right_if_even)
        job = Job(data=data, limit=limit)
        result = evaluate(model, ["gsm8k"], output=out, job=job, name="m", settings=NOTHING)
        return model.asked, result.suites[0].measures["exact match, strict"].n

    assert run(10) == (10, 10)
    assert run(40) == (30, 40)
    assert run(10) == (0, 10)


def test_other_settings_need_another_folder(tmp_path):
    data, out = gsm8k(tmp_path, 3), tmp_path / "out"
    evaluate(Parrot(), ["gsm8k"], output=out, job=Job(data=data), settings=NOTHING)
    with pytest.raises(HalignError, match="begun with other settings"):
        evaluate(Parrot(), ["gsm8k"], output=out, job=Job(data=data), settings={"shots": 0, "seed": 1})
    job = Job(data=data, overwrite=True)
    assert evaluate(Parrot(), ["gsm8k"], output=out, job=job, settings={"shots": 0, "seed": 1})
    shutil.rmtree(out / "gsm8k")
    (out / "gsm8k").mkdir()
    (out / "gsm8k/mine.txt").write_text("")
    with pytest.raises(HalignError, match="no evaluation"):
        evaluate(Parrot(), ["gsm8k"], output=out, job=job, settings=NOTHING)
    assert (out / "gsm8k/mine.txt").exists()


def test_a_changed_file_of_questions_needs_another_folder(tmp_path):
    """Ids are places in the file, so replies to what stood there before would be scored against the new answers."""
    data, out = gsm8k(tmp_path, 3), tmp_path / "out"
    evaluate(Parrot(), ["gsm8k"], output=out, job=Job(data=data), settings=NOTHING)
    file = data / "gsm8k_test.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    with pytest.raises(HalignError, match="begun with other questions"):
        evaluate(Parrot(), ["gsm8k"], output=out, job=Job(data=data), settings=NOTHING)


def test_what_nobody_answered_is_asked_again_and_what_was_is_not(tmp_path):
    for name in ("items", "verdicts"):
        (tmp_path / f"{name}.jsonl").touch()
    items = [JudgedItem(f"q{i}", f"q{i}", [], {"m": "r"}, meta={"question": f"q{i}"}) for i in range(3)]
    records = [grade("q0", 1.0), grade("q1", None, trouble="failed"), grade("q2", None, trouble="unparsable")]
    append(tmp_path / "items.jsonl", items)
    append(tmp_path / "verdicts.jsonl", records)
    assert _scored(tmp_path, {f"q{i}": 1 for i in range(3)}) == {"q0", "q2"}
    left = Judged.read(tmp_path)
    assert (list(left.items), left.records) == (["q0", "q2"], [records[0], records[2]])


def test_a_kill_while_a_folder_is_tidied_leaves_no_question_without_its_verdicts(tmp_path, monkeypatch):
    """Items say that a question is scored: its verdicts must never be gone while its item is there."""
    items = [JudgedItem(f"q{i}", f"q{i}", [], {"m": "r"}, meta={"question": f"q{i}"}) for i in range(2)]
    append(tmp_path / "items.jsonl", items)
    append(tmp_path / "verdicts.jsonl", [grade("q0", 1.0), grade("q1", 0.0), grade("q2", 0.0)])

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("halign.judges.records.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        _scored(tmp_path, {"q0": 1, "q1": 1})
    monkeypatch.undo()
    assert len(Judged.read(tmp_path).records) == 3
    assert _scored(tmp_path, {"q0": 1, "q1": 1}) == {"q0", "q1"}
    assert [r.item for r in Judged.read(tmp_path).records] == ["q0", "q1"]


def test_changes_against_the_model_before_are_paired(tmp_path):
    data = gsm8k(tmp_path, 20)
    found = evaluate(
        Parrot(said=right_if_even),
        ["gsm8k"],
        output=tmp_path / "out",
        job=Job(data=data),
        before=Parrot(said=lambda text, seed, draw: "#### 0" if int(text.split()[0]) < 4 else "none"),
        settings=NOTHING,
    )
    (suite,) = found.suites
    gone = [1.0 if i % 2 == 0 and i >= 4 else 0.0 for i in range(20)]
    expected = mean(gone, list(range(20)))
    change = suite.changes["exact match, strict"]
    assert (change.value, change.low, change.n) == (expected.value, expected.low, 20)
    assert suite.before["exact match, strict"].value == 2 / 20
    assert "change +0.400" in found.table()


def test_the_second_turn_is_asked_on_the_models_own_first_reply():
    a = Answered(Question("q", one_turn("one"), ("two", "three")), (("A", "B", "C"),))
    assert [m.content for m in a.prompt(0, 2).messages] == ["one", "A", "two", "B", "three"]
    items = a.items("m")
    assert [(i.item, i.turn, i.meta["agent_turn"]) for i in items] == [
        ("q.1", 1, 1),
        ("q.2", 3, 2),
        ("q.3", 5, 3),
    ]
    assert items[1].prompt[1] == {"role": "assistant", "content": "A"}
    assert items[1].replies == {"m": "B"}


def test_estimates_stay_within_the_scale_and_never_vanish():
    assert estimate([0, 1, 1], "abc") == share([False, True, True], "abc")
    rated = estimate([10.0, 10.0, 10.0, 4.0], "abcd", (1, 10))
    assert rated.high == 10.0
    assert rated.low == max(1.0, mean([10, 10, 10, 4], "abcd").low)
    same = estimate([7.0] * 5, "abcde", (1, 10))
    unseen = share([False] * 5, "abcde").high
    assert (same.low, same.high) == (7 - 6 * unseen, 7 + 3 * unseen)


def test_totals_leave_out_what_has_no_verdict_and_count_it():
    records = [
        grade("a", 1.0),
        grade("b", None, trouble="unparsable"),
        grade("c", 0.0, guardrail="Be kind."),
        PairRecord("a", "a", "quality", "j", "m", "n", Verdict.A, Verdict.BOTH),
        PairRecord("b", "b", "quality", "j", "m", "n", Verdict.B, Verdict.B),
        PairRecord("c", "c", "quality", "j", "m", "n", Verdict.B, None, trouble="failed"),
    ]
    found = totals(records)
    assert found["right"].n == 2
    won = found["win rate on quality against n"]
    assert (won.value, won.n) == (0.375, 2)  # (1 + 1/2) / 2 is 3/4 of a win, and a loss
    assert troubles(records) == {"unparsable": 1, "failed": 1}
    metas = {"a": {"topic": "x"}, "b": {"topic": "x"}, "c": {"topic": ["x", "y"]}}
    groups = broken_down(records, metas, ("topic", "guardrail", "other"))
    assert set(groups) == {"topic", "guardrail"}
    assert groups["topic"]["x"]["right"].n == 2
    assert groups["topic"]["y"]["right"].value == 0.0


def test_changes_pair_repeated_rules_in_their_order():
    after = [grade("a", v, guardrail="r") for v in (1.0, 0.0)] + [grade("b", 1.0)]
    before = [grade("a", v, guardrail="r") for v in (0.0, 0.0)] + [grade("b", None, trouble="failed")]
    change = changes(after, before)["right"]
    assert (change.value, change.n) == (0.5, 2)


def test_a_missing_file_is_said_with_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HALIGN_DATA", raising=False)
    files = Files("x", {"questions": SetFile(("a.jsonl",), "example.org")}, tmp_path)
    with pytest.raises(HalignError, match=r"no file a\.jsonl .*example\.org.*--data"):
        files.path("questions")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/a.jsonl").write_text('{"b": 1}\n')
    assert files.path("questions") == tmp_path / "eval/a.jsonl"
    with pytest.raises(HalignError, match=r"a\.jsonl:1: id: missing"):
        list(files.of_fields("questions", ["id"]))
    monkeypatch.setenv("HALIGN_DATA", str(tmp_path))
    elsewhere = Files("x", {"questions": SetFile(("a.jsonl",), "example.org")})
    assert elsewhere.path("questions") == tmp_path / "eval/a.jsonl"


def test_stored_outputs_are_evaluated_in_place_of_a_model(tmp_path):
    data = gsm8k(tmp_path, 4)
    asked = [q.prompt.messages[-1].content for q in _questions(data)]
    rows = [{"instruction": a, "output": "#### 1", "generator": "old"} for a in asked]
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(rows))
    found = evaluate(file, ["gsm8k"], output=tmp_path / "out", job=Job(data=data), settings=NOTHING)
    assert found.model == "old"
    assert found.suites[0].measures["exact match, strict"].value == 0.5
    again = json.loads((tmp_path / "out/gsm8k/outputs.json").read_text())
    assert [(r["instruction"], r["output"], r["generator"]) for r in again] == [
        tuple(r.values()) for r in rows
    ]
    file.write_text(json.dumps(rows[:3]))
    with pytest.raises(HalignError, match="1 of 4 questions have no stored output"):
        evaluate(file, ["gsm8k"], output=tmp_path / "other", job=Job(data=data), settings=NOTHING)


def _questions(data):
    suite = find("gsm8k")
    return suite.questions(Files("gsm8k", suite.files, data), resolve([suite], NOTHING)["gsm8k"])


def test_what_would_stop_the_scoring_is_said_before_sampling(tmp_path):
    data = gsm8k(tmp_path, 2)
    model = Parrot()
    (tmp_path / "humaneval.jsonl").write_text("{}\n")
    with pytest.raises(HalignError, match="--run-code"):
        evaluate(model, ["gsm8k", "humaneval"], output=tmp_path / "o", job=Job(data=data), settings=NOTHING)
    with pytest.raises(HalignError, match="--judge"):
        evaluate(model, ["gsm8k", "flask"], output=tmp_path / "o", job=Job(data=data), settings=NOTHING)
    for wrong, said in ((tmp_path / "none", "no such file"), (data / "gsm8k_test.jsonl", "give a folder")):
        with pytest.raises(HalignError, match=said):
            evaluate(model, ["gsm8k", "bbh"], output=tmp_path / "o", job=Job(data=wrong), settings=NOTHING)
    assert model.asked == 0
    assert not (tmp_path / "o").exists()


def test_the_command_evaluates_a_folder(policy_folder, tmp_path):
    data = gsm8k(tmp_path, 3)
    words = ["evaluate", str(policy_folder), "shots=0", "max_new_tokens=4", "--suite", "gsm8k"]
    words += ["--data", str(data), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "gsm8k: 3 questions" in result.output
    assert "policy" in result.output
    assert "cut off at max_new_tokens" in result.output
    listed = CliRunner().invoke(app, ["evaluate", "--list"])
    assert "guardrails" in listed.output
    wrong = CliRunner().invoke(app, [*words, "--key-env", "X"])
    assert "--key-env would have no effect without --endpoint" in str(wrong.exception)
