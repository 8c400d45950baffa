"""Verdicts, both orders, and the rules judge."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from halign.dialogue import Dialogue
from halign.judges import Grade, Outcome, RulesJudge, Verdict, both_orders

PROMPTS = [Dialogue.of([{"role": "user", "content": "Hi"}])] * 3


class LikesTheFirst:
    """A judge with nothing but position bias."""

    dimensions = ("adherence",)
    sees_order = True
    calls = 0

    def compare(self, prompts, a, b):
        self.calls += 1
        return [{"adherence": Verdict.A} for _ in prompts]


class LikesTheLonger(LikesTheFirst):
    def compare(self, prompts, a, b):
        self.calls += 1
        return [{"adherence": Verdict.A if len(x) > len(y) else Verdict.B} for x, y in zip(a, b, strict=True)]


def test_position_bias_cancels_and_is_counted():
    outcomes = both_orders(LikesTheFirst(), PROMPTS, ["x"] * 3, ["y"] * 3)
    assert [o["adherence"].advantage for o in outcomes] == [0.0, 0.0, 0.0]
    assert not any(o["adherence"].agrees for o in outcomes)
    assert outcomes[0]["adherence"].share(Verdict.A) == outcomes[0]["adherence"].share(Verdict.B) == 0.5


def test_a_consistent_judge_keeps_its_verdict_in_both_orders():
    outcomes = both_orders(LikesTheLonger(), PROMPTS, ["long", "x", "long"], ["y", "long", "y"])
    assert [o["adherence"].advantage for o in outcomes] == [1.0, -1.0, 1.0]
    assert all(o["adherence"].agrees for o in outcomes)


def test_half_disagreement_counts_half():
    o = Outcome(Verdict.A, Verdict.BOTH)
    assert (o.advantage, o.share(Verdict.A), o.share(Verdict.BOTH), o.agrees) == (0.5, 0.5, 0.5, False)
    assert Outcome(Verdict.B, Verdict.NEITHER).advantage == -0.5


def test_a_judge_blind_to_order_is_asked_once():
    judge = LikesTheLonger()
    judge.sees_order = False
    both_orders(judge, PROMPTS, ["long"] * 3, ["y"] * 3)
    assert judge.calls == 1
    with pytest.raises(ValueError, match="3 prompts"):
        both_orders(judge, PROMPTS, ["x"], ["y"])


def assess(prompt, reply):
    return SimpleNamespace(
        adherence={"greeting": "hello" in reply, "closing": True},
        inactive={"name": "Mia" in reply},
        hallucination="free" in reply,
        natural=len(reply) > 3,
        unsupported=("free",) if "free" in reply else (),
        flaws=() if len(reply) > 3 else ("does not end",),
    )


def test_rules_judge_in_three_dimensions():
    judge = RulesJudge(assess)
    a = ["hello Mia", "free gift", "no"]
    b = ["good day", "hello there", "no"]
    found = both_orders(judge, PROMPTS, a, b)
    assert [o["adherence"].first for o in found] == [Verdict.A, Verdict.B, Verdict.NEITHER]
    assert [o["naturalness"].first for o in found] == [Verdict.BOTH, Verdict.BOTH, Verdict.NEITHER]
    assert [o["hallucination"].first for o in found] == [Verdict.BOTH, Verdict.B, Verdict.BOTH]
    grade = judge.grade(PROMPTS[:1], ["hello Mia"])[0]
    assert grade.all_right
    assert grade.inactive == {"name": True}
    wrong = judge.grade(PROMPTS[:1], ["hello free gift"])[0]
    assert not wrong.all_right
    assert wrong.spans == {"hallucination": ("free",)}
    assert wrong.reasons == {"hallucination": "nothing supports “free”"}
    assert Grade.of(grade.to_dict()) == grade
