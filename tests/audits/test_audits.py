"""Audits of judges whose bias is known: by hand, on built verdicts, and on the sets that people labelled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from halign.audits import (
    Label,
    against_people,
    ask,
    audit,
    labelled_set,
    length_bias,
    position_bias,
    read_labels,
    self_enhancement,
)
from halign.cli.main import app
from halign.errors import DataError, HalignError
from halign.judges import Verdict
from halign.judges.records import ITEMS, VERDICTS, GradeRecord, JudgedItem, PairRecord, append

DATA = Path(os.environ.get("HALIGN_DATA", "/work/shared/data"))
A, B, BOTH = Verdict.A, Verdict.B, Verdict.BOTH
here = pytest.mark.skipif(not (DATA / "eval").is_dir(), reason="needs the files under HALIGN_DATA")


def pair(i, first, second, a="x", b="y", **more):
    return PairRecord(f"q{i}", f"c{i}", "helpfulness", "j", a, b, first, second, **more)


def item(i, x, y):
    return JudgedItem(f"q{i}", f"c{i}", [{"role": "user", "content": "?"}], {"x": "w " * x, "y": "w " * y})


class Longest:
    """Prefers the longer text; if it ``reads_order``, whatever stands first where they are alike within a fifth."""

    dimensions, sees_order = ("helpfulness",), True

    def compare(self, prompts, a, b):
        return [{"helpfulness": A if len(x) * 1.2 >= len(y) else B} for x, y in zip(a, b, strict=True)]


def test_position_bias_by_hand():
    """Verdicts for what stood first: q0 yes yes, q1 yes no, q2 no no, q3 yes (its other verdict is for both): 4 of 7."""
    p = position_bias(
        [pair(0, A, B), pair(1, A, A), pair(2, B, A), pair(3, A, BOTH), pair(4, A, None, trouble="failed")]
    )
    assert p.first.value == pytest.approx(4 / 7)
    assert (p.first.n, p.consistent.n) == (7, 4)
    assert (p.consistent.value, p.favours_first.value, p.favours_second.value) == (0.25, 0.25, 0.25)
    with pytest.raises(HalignError, match="both orders"):
        position_bias([pair(0, A, None, trouble="failed")])


def verdicts(rng, n, quality, length, own=0.0):
    """A judge whose P(A better) - P(B better) is quality * what people say + length * log2(length ratio) + own."""
    records, items, labels = [], {}, []
    for i in range(n):
        h = int(rng.choice([-1, 1]))
        x, y = (int(v) for v in rng.integers(10, 40, size=2))
        mean = quality * h + length * np.log2((x + 1) / (y + 1)) + own
        verdict = A if rng.random() < 0.5 + mean / 2 else B
        records.append(pair(i, verdict, verdict))
        items[f"q{i}"] = item(i, x, y)
        labels.append(Label(f"q{i}", "x", "y", "x" if h > 0 else "y"))
    return records, items, labels


def test_the_effect_of_length_is_found():
    rng = np.random.default_rng(0)
    records, items, labels = verdicts(rng, 1500, quality=0.3, length=0.25)
    found = length_bias(records, items, labels)
    assert found.effect.low < 0.25 < found.effect.high
    assert found.effect.low > 0.1
    assert found.longer.low > 0.5
    assert found.people_longer.low < 0.5 < found.people_longer.high
    assert found.controlled


@pytest.mark.parametrize("length", [0.0, 0.2])
def test_the_interval_of_the_effect_covers(length):
    """100 simulations: standard error 2.2 points."""
    rng = np.random.default_rng(7)
    found = [length_bias(*verdicts(rng, 80, quality=0.4, length=length)).effect for _ in range(100)]
    assert np.mean([i.low <= length <= i.high for i in found]) >= 0.88


def test_length_that_people_like_too_is_no_bias():
    """People and judge prefer the longer: without labels an effect shows, with them it is quality."""
    records, items, labels = [], {}, []
    for i in range(40):
        x, y = (30, 10) if i % 2 else (10, 30)
        items[f"q{i}"] = item(i, x + i % 3, y)
        better = A if i % 2 else B
        if i % 5 == 0:
            better = better.swapped
        records.append(pair(i, better, better))
        labels.append(Label(f"q{i}", "x", "y", "x" if better is A else "y"))
    assert length_bias(records, items).effect.low > 0
    assert length_bias(records, items, labels).effect.value == pytest.approx(0, abs=1e-9)


def test_who_is_called_a_does_not_change_effects():
    records, items, labels = verdicts(np.random.default_rng(1), 60, 0.3, 0.3)
    turned = [
        PairRecord(
            *(r.item, r.conversation, r.dimension, r.judge, r.b, r.a, r.first.swapped, r.second.swapped)
        )
        for r in records
    ]
    x, y = length_bias(records, items, labels), length_bias(turned, items, labels)
    assert (x.effect.value, x.effect.low) == pytest.approx((y.effect.value, y.effect.low))
    assert x.longer.value == y.longer.value


def test_a_judge_that_favours_its_own_is_told_from_a_better_family():
    rng = np.random.default_rng(2)
    records, _, labels = verdicts(rng, 1500, quality=0.4, length=0.0, own=0.2)
    biased = self_enhancement(records, {"x"}, labels)
    assert biased.effect.low > 0.1
    assert biased.effect.low < 0.2 < biased.effect.high
    assert biased.own.value > biased.people_own.value + 0.05
    mirrored = self_enhancement(records, {"y"}, labels)
    assert mirrored.effect.value == pytest.approx(-biased.effect.value)
    better = [pair(i, A, A) if i % 4 else pair(i, B, B) for i in range(80)]
    known = [Label(f"q{i}", "x", "y", "x" if i % 4 else "y") for i in range(80)]
    assert self_enhancement(better, {"x"}).effect.low > 0
    assert self_enhancement(better, {"x"}, known).effect.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(HalignError, match="other families"):
        self_enhancement(better, {"x", "y"})


def test_agreement_by_hand():
    """People: x, y, x, x, tie. Judge: right in both orders, right in one, wrong in both, neither: (1 + 1/2 + 0 + 1/2) / 4."""
    records = [pair(0, A, A), pair(1, B, A), pair(2, B, B), pair(3, BOTH, BOTH), pair(4, A, A)]
    labels = [
        Label(f"q{i}", "x", "y", p, subset=s)
        for i, p, s in [(0, "x", "s"), (1, "y", "s"), (2, "x", "t"), (3, "x", "t"), (4, None, "t")]
    ]
    items = {f"q{i}": item(i, 10 + i, 11) for i in range(5)}
    found = against_people(records, labels, items)
    assert (found.agreement.value, found.agreement.n, found.both_orders.value) == (0.5, 4, 0.25)
    assert {k: i.value for k, i in found.subsets.items()} == {"s": 0.75, "t": 0.25}
    assert found.first.value == 0.75
    assert found.longest.value == (0 + 0.5 + 1 + 1) / 4
    # said A A | B A | B B | n n against A A | B B | A A | A A: p_o = 3/8, p_e = 3/8 * 6/8 + 3/8 * 2/8 = 3/8
    assert found.kappa.value == pytest.approx(0)
    assert found.chance.value == 0.5
    assert found.chance.high == pytest.approx(0.5 + 1.96 * 0.25, abs=1e-3)


def test_replies_that_are_not_stored_cost_the_longest_rule_alone():
    """MT-Bench's comparisons with another model's answers store one model's replies only."""
    records, labels = [pair(0, A, A), pair(1, A, A)], [Label(f"q{i}", "x", "y", "x") for i in (0, 1)]
    without = JudgedItem("q1", "c1", [], {"x": "one reply"})
    for items, expected in (({}, None), ({"q1": without}, None), ({"q0": item(0, 3, 1), "q1": without}, 1.0)):
        found = against_people(records, labels, items)
        assert found.agreement.value == 1
        assert (found.longest and found.longest.value) == expected


def test_labels_find_their_verdicts_whichever_model_is_a():
    turned = [Label("q0", "y", "x", "x"), Label("q1", "y", "x", "y")]
    records, items = [pair(0, A, A), pair(1, B, B)], {f"q{i}": item(i, 1, 2) for i in (0, 1)}
    found = against_people(records, turned, items)
    assert found.agreement.value == 1
    assert found.first.value == 0.5  # of the labels' own order
    with pytest.raises(HalignError, match="name what the verdicts name"):
        against_people(records, [Label("q0", "x", "z", "x")], items)


def test_asking_shows_both_orders_and_finds_the_judges_bias():
    pairs = [(item(i, 10, 10 + 10 * (i % 2)), Label(f"q{i}", "x", "y", "y")) for i in range(10)]
    (found,) = audit(ask(Longest(), pairs), {i.item: i for i, _ in pairs}, labels=[p for _, p in pairs])
    assert found.position.favours_first.value == 0.5
    assert found.position.first.value == 0.75
    assert found.people.agreement.value == 0.75
    assert "own family" not in found.table()
    assert json.loads(json.dumps(found.to_dict()))["position"]["consistent"]["value"] == 0.5


def test_a_dimension_left_out_is_an_abstention():
    class Silent(Longest):
        def compare(self, prompts, a, b):
            return [{} for _ in prompts]

    (record,) = ask(Silent(), [(item(0, 1, 2), Label("q0", "x", "y", "x"))])
    assert (record.first, record.trouble, record.judge) == (None, "abstained", "Silent")


def test_labels_name_their_faulty_line(tmp_path):
    file = tmp_path / "labels.jsonl"
    good = {"item": "q", "a": "x", "b": "y", "preferred": "tie"}
    file.write_text(json.dumps(good) + "\n")
    assert read_labels(file) == [Label("q", "x", "y", None)]
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, "preferred": "z"}) + "\n")
    with pytest.raises(DataError, match=r"labels.jsonl:2: preferred: 'z' is neither 'x' nor 'y' nor 'tie'"):
        read_labels(file)
    with pytest.raises(DataError, match="no labels"):
        read_labels(tmp_path / "none.jsonl")


def call(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def folder_of(tmp_path, records, items):
    append(tmp_path / ITEMS, items)
    append(tmp_path / VERDICTS, records)
    return tmp_path


def test_audit_and_rate_read_a_folder(tmp_path):
    records, items, labels = verdicts(np.random.default_rng(3), 60, 0.4, 0.2)
    folder = folder_of(tmp_path / "judged", records, items.values())
    file, out = tmp_path / "labels.jsonl", tmp_path / "audit.json"
    file.write_text(
        "".join(
            json.dumps({"item": k.item, "a": k.a, "b": k.b, "preferred": k.preferred}) + "\n" for k in labels
        )
    )
    said = call("audit", folder, "--labels", file, "--again", folder, "--own", "x", "--output", out)
    for word in (
        "position",
        "people",
        "longest",
        "own family",
        "retest      same                           1.000",
    ):
        assert word in said
    assert json.loads(out.read_text())[0]["people"]["agreement"]["n"] == 60
    ratings = tmp_path / "ratings.json"
    said = call("rate", folder, "--elo", "--resamples", 20, "--output", ratings)
    assert "helpfulness: 60 comparisons, 0 without a verdict" in said
    read = json.loads(ratings.read_text())["helpfulness"]
    assert read["ratings"]["x"]["value"] + read["ratings"]["y"]["value"] == pytest.approx(2000)
    assert set(read["elo"]) == {"x", "y"}
    wrong = CliRunner().invoke(app, ["rate", str(folder), "--dimension", "other"])
    assert "dimensions there: helpfulness" in str(wrong.exception)
    audited = ("audit", folder, "--labels", file)
    assert call("judge", *audited) == call(*audited)
    wrong = CliRunner().invoke(app, ["audit", str(folder), "--judge", "a:b"])
    assert "--judge would have no effect without --set" in str(wrong.exception)


def test_rate_takes_grades_where_there_are_no_pairs(tmp_path):
    grades = [
        GradeRecord(f"q{i}", f"c{i}", "fine", "j", m, float(v))
        for i, (x, y) in enumerate([(1, 0), (0, 1), (1, 0), (1, 1)])
        for m, v in (("x", x), ("y", y))
    ]
    said = call("rate", folder_of(tmp_path / "graded", grades, []), "--resamples", 10)
    assert "x against y: 62.5 %" in said


def test_rate_compares_grades_of_the_same_question_only(tmp_path):
    """Folders number their items alike: x's answer to one set's first question says nothing against y's to another set's."""

    def folder(name, model, asked):
        grades = [GradeRecord(f"q{i}", f"c{i}", "fine", "j", model, float(i % 2)) for i in range(4)]
        items = [
            JudgedItem(f"q{i}", f"c{i}", [{"role": "user", "content": f"{asked} {i}"}], {model: "r"})
            for i in range(4)
        ]
        return folder_of(tmp_path / name, grades, items)

    one, same, other = folder("1", "x", "sum"), folder("2", "y", "sum"), folder("3", "y", "poem")
    assert "x against y: 50.0 %" in call("rate", one, same, "--resamples", 10)
    wrong = CliRunner().invoke(app, ["rate", str(one), str(other)])
    assert "no comparison of two models" in str(wrong.exception)


@here
def test_llmbars_published_sizes():
    """arXiv 2310.07641, table 1 (419 pairs), and its README; one of 200 MT-Bench pairs has an empty output and was left out."""
    pairs = labelled_set("llmbar", DATA)
    sizes = {}
    for _, label in pairs:
        sizes[label.subset] = sizes.get(label.subset, 0) + 1
    ours = {k.removeprefix("LLMBar/"): n for k, n in sizes.items() if k.startswith("LLMBar/")}
    assert ours == {
        "Natural": 100,
        "Adversarial/Neighbor": 134,
        "Adversarial/GPTInst": 92,
        "Adversarial/GPTOut": 47,
        "Adversarial/Manual": 46,
    }
    assert sum(ours.values()) == 419
    assert len(pairs) == 884


@here
def test_the_longest_reply_is_no_judge_of_llmbars_adversaries():
    pairs = labelled_set("llmbar", DATA)
    pairs = [p for p in pairs if p[1].subset.startswith("LLMBar/Adversarial")]
    (found,) = audit(ask(Longest(), pairs), {i.item: i for i, _ in pairs}, labels=[p for _, p in pairs])
    assert found.people.longest.high < 0.5
    assert len(found.people.subsets) == 4


@here
@pytest.mark.parametrize(("name", "labels"), [("xstest", 600), ("qa_feedback", 1500)])
def test_the_other_sets_are_read(name, labels):
    pairs = labelled_set(name, DATA)
    assert len(pairs) > labels
    for known, label in pairs:
        assert {label.a, label.b} <= set(known.replies)
        assert label.preferred in (label.a, label.b)
