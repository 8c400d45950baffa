"""Scores, per-guardrail adherence and comparisons on cases small enough to count."""

from __future__ import annotations

import json

import pytest

from halign.evaluate import (
    ALL,
    Reply,
    by_guardrail,
    compare_grades,
    compare_outcomes,
    conditioning,
    paired,
    repeats,
    score,
)
from halign.judges import Grade, Outcome, Verdict


def reply(conversation, adherence, natural=True, honest=True, *, kl=None, active=None, inactive=None):
    acceptable = {"adherence": adherence, "naturalness": natural, "hallucination": honest}
    grade = Grade(acceptable, active or {}, inactive or {})
    return Reply(conversation, "hello there", grade, tokens=4, kl=kl)


A = [
    reply("1", True, kl=0.5),
    reply("1", True, False, kl=1.5),
    reply("2", False, kl=1.0),
    reply("3", True, kl=1),
]
B = [reply("1", False), reply("1", True), reply("2", True, True, False), reply("3", False)]


def test_scores_count_each_dimension_and_all_at_once():
    s = score(A)
    values = {m: i.value for m, i in s.shares.items()}
    assert values == {"adherence": 0.75, "naturalness": 0.75, "hallucination": 1.0, ALL: 0.5}
    assert s.kl is not None
    assert s.kl.value == 1.0
    assert s.tokens.value == 4.0
    assert s.unfinished.value == 0.0
    assert score(B).kl is None


def test_comparison_by_hand():
    """Adherence: A 1 1 0 1, B 0 1 1 0: two for A, one for B, one both; advantage (2 - 1) / 4."""
    c = compare_grades("a", "b", A, B, ALL)
    d = c.dimensions["adherence"]
    assert {v: i.value for v, i in d.shares.items()} == {
        Verdict.BOTH: 0.25,
        Verdict.NEITHER: 0.0,
        Verdict.A: 0.5,
        Verdict.B: 0.25,
    }
    assert d.advantage.value == 0.25
    assert d.verdict == "undecided"
    assert paired(A, B, "adherence") == d.advantage  # the paired difference is the same number
    assert c.dimensions[ALL].shares[Verdict.A].value == 0.5  # all three: A 1 0 0 1, B 0 1 0 0
    assert "adherence" in c.table()
    assert "+0.250" in c.table()


def test_orders_that_disagree_count_half_each_way():
    outcomes = [{"x": Outcome(Verdict.A, Verdict.B)}, {"x": Outcome(Verdict.A, Verdict.A)}]
    d = compare_outcomes("a", "b", outcomes, ["1", "2"]).dimensions["x"]
    assert d.disagreements == 0.5
    assert d.shares[Verdict.A].value == 0.75
    assert d.advantage.value == 0.5


def test_a_clear_winner_is_named():
    wins = [{"x": Outcome(Verdict.B, Verdict.B)}] * 9 + [{"x": Outcome(Verdict.BOTH, Verdict.BOTH)}]
    d = compare_outcomes("a", "b", wins, [str(i) for i in range(10)]).dimensions["x"]
    assert d.verdict == "B"
    assert d.advantage.value == pytest.approx(-0.9)


def test_guardrails_count_only_turns_where_they_apply():
    replies = [
        reply("1", True, active={"name": True}, inactive={"close": True}),
        reply("2", False, active={"name": False, "close": True}),
        reply("3", True, inactive={"name": True}),
        reply("4", True, active={"never": True}),
    ]
    rows = by_guardrail(replies)
    assert rows["name"].active is not None
    assert (rows["name"].active.value, rows["name"].active.n) == (0.5, 2)
    assert rows["name"].inactive is not None
    assert rows["name"].inactive.value == 1.0
    assert rows["never"].inactive is None
    pooled = conditioning(replies)
    assert pooled is not None
    active, inactive = pooled
    assert (active.value, active.n, inactive.value, inactive.n) == (pytest.approx(2 / 3), 3, 1.0, 2)


def test_repetition_and_round_trip():
    assert repeats("to be sure to be sure to be sure")
    assert not repeats("to be sure")
    assert Reply.of(json.loads(json.dumps(A[0].to_dict()))) == A[0]


def test_pairing_needs_the_same_prompts():
    with pytest.raises(ValueError, match="same prompts"):
        paired(A, B[1:] + B[:1], ALL)
