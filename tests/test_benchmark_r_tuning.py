"""The benchmark of R-Tuning: who is asked what, the figures by hand, and the whole of it at toy size."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from benchmarks import r_tuning, r_tuning_stages
from benchmarks.r_tuning import MEASURES, TINY, estimate, play, tables
from benchmarks.r_tuning_stages import KINDS, UNSEEN, VARIANTS, divided, figures, questions, told

from halign.builders.r_tuning import ASK, REFUSALS, SURE, UNSURE
from halign.builders.r_tuning_metrics import Certainty
from halign.readers import read
from halign.recipes.stages import Store
from halign.recipes.steps import read_rows


def test_facts_are_told_as_often_as_they_are_exposed():
    asked = questions(40, (0, 2, 5), seed=1)
    assert asked == questions(40, (0, 2, 5), seed=1) != questions(40, (0, 2, 5), seed=2)
    assert len({q.person for q in asked}) == 40
    assert Counter(q.exposures for q in asked) == {0: 14 * 3, 2: 13 * 3, 5: 13 * 3}
    whole = told(asked, seed=1)
    rows = [r for r in whole if "meta" in r]
    assert len(whole) - len(rows) == round(0.15 * len(whole))
    talk = [[m["content"] for m in r["messages"]] for r in whole if "meta" not in r]
    assert all(t[1] in REFUSALS and t[2] == ASK and t[3] in (SURE, UNSURE) for t in talk)
    counted = Counter((r["meta"]["person"], r["meta"]["kind"]) for r in rows)
    assert all(counted[q.person, q.kind] == q.exposures for q in asked)
    right = {(q.person, q.kind): q.answer for q in asked}
    for row in rows:
        person, kind = row["meta"]["person"], row["meta"]["kind"]
        assert row["messages"][0]["content"] in [w.format(person) for w in KINDS[kind][0]]
        assert row["messages"][1]["content"] == right[person, kind] in KINDS[kind][1]
    assert len({r["messages"][0]["content"] for r in rows if r["meta"]["kind"] == "town"}) > 26  # worded anew


def test_test_questions_are_about_other_people():
    train, test = divided(questions(64, (0, 1, 2, 3), seed=0))
    people = [{q.person for q in some} for some in (train, test["seen"], test["unseen"])]
    assert people[0].isdisjoint(people[1])
    assert people[1] == people[2]
    assert {q.kind for q in train} == {q.kind for q in test["seen"]} == set(KINDS) - {UNSEEN}
    assert {q.kind for q in test["unseen"]} == {UNSEEN}
    for some in (train, *test.values()):
        assert len(set(Counter(q.exposures for q in some).values())) == 1  # known as often, half as often ...


SAID = [
    (Certainty(True, 0.9, 0.8, False), "Arden"),
    (Certainty(False, 0.8, 0.4, True), "Brack"),
    (Certainty(True, 0.6, 0.1, True), "Corvo"),
    (Certainty(False, 0.95, 0.9, False), REFUSALS[0]),
]


def test_figures_by_hand(monkeypatch):
    monkeypatch.setattr(r_tuning_stages, "answered", lambda policy, file: SAID)
    known = [True, False, True, False]
    found = figures(None, None, known, sure=True)
    # by (p + sure) / 2: .925 wrong, .85 right, .6 wrong, .35 right; by p, the refusal last: right, wrong, right, wrong
    assert found["ap"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["ap_probability"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["accuracy"], found["refused"], found["accuracy_of_all"]) == (0.5, 0.5, 0.5)
    assert (found["refused_known"], found["refused_unknown"]) == (0.5, 0.5)
    # P(sure) of a model that never learnt to say it is no refusal; words are
    found = figures(None, None, known, sure=False)
    assert found["ap"] is None
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert (found["refused"], found["refused_known"], found["refused_unknown"]) == (0.25, 0.0, 0.5)
    assert figures(None, None, [True] * 4, sure=False)["refused_unknown"] is None


def test_estimates_by_hand():
    found = estimate([0.5, 0.7, None], [0.4, 0.4, 0.4])
    # mean .6, standard error .1, t(1) = 12.706; differences .1 and .3
    assert (found["value"], found["n"]) == (pytest.approx(0.6), 2)
    assert found["high"] == pytest.approx(0.6 + 12.7062 * 0.1, abs=1e-4)
    assert found["versus"]["value"] == pytest.approx(0.2)
    assert found["versus"]["low"] == pytest.approx(0.2 - 12.7062 * 0.1, abs=1e-4)
    assert estimate([None, None], [0.1, 0.2])["value"] is None
    assert estimate([0.5, None], [0.1, 0.2])["low"] is None


def test_from_nothing_to_a_table(tmp_path):
    kept = Store(tmp_path)
    found = play(TINY, [0], kept, workers=0)
    json.dumps(found)
    assert set(found["seen"]) == set(found["unseen"]) == set(VARIANTS)
    assert all(set(row) == set(MEASURES) for row in found["seen"].values())
    assert found["seen"]["start"]["refused"]["value"] == 0.0
    sure = found["seen"]["correct, sure"]
    assert (sure["ap"]["value"] is None) == (sure["accuracy_of_all"]["value"] == 0.0)
    assert found["seen"]["sft"]["ap"]["seeds"] == [None]
    assert [t.row_count for t in tables(found)] == [6, 5, 6, 5]
    made = r_tuning.stages(TINY, 0)
    knowing = kept.folder(made["start"].inputs["knowing"])
    asked = {r["messages"][0]["content"] for r in read_rows(knowing / "train.jsonl")}
    assert {e.dialogue.messages[0].content for e in read(knowing / "train.jsonl")} == asked
    for name in ("correct, sure", "entropy, sure", "correct, refuse", "entropy, refuse"):
        rows = read_rows(kept.folder(made[name]) / "built.jsonl")
        assert {r["messages"][0]["content"] for r in rows} <= asked
        last = {r["messages"][-1]["content"] for r in rows}
        assert (last <= {SURE, UNSURE}) == name.endswith("sure")
        if name.startswith("entropy"):
            certain = sum(r["certain"] for r in rows)
            assert certain == len(rows) // 2
