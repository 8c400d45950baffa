"""A language model as a judge: verdicts, grades and guardrails against a server that plays a judge with known answers."""

from __future__ import annotations

import json

import pytest

from halign import judges
from halign.errors import HalignError
from halign.judges import Rubric, Verdict, both_orders, load_rubric
from halign.judges.protocol import both_rulings
from halign.judges.recording import grade_records, pair_records
from halign.llm import Endpoint
from tests.judges.judging import distribution, item, prompt, saying, shown
from tests.llm.server import Fault, Server, completion, last


def longer(first, second):
    return 3 if len(first) == len(second) else 1 if len(first) > len(second) else 2


def judge(server, **settings):
    return judges.llm("m", server.url, **{"dimensions": ["naturalness"], "concurrency": 1, **settings})


def test_verdicts_in_the_four_bins_and_both_orders():
    with Server(saying(longer)) as server:
        found = both_orders(
            judge(server, read="samples"),
            [prompt(0), prompt(1), prompt(2)],
            ["xx", "y", "z"],
            ["x", "yy", "u"],
        )
    said = [o["naturalness"] for o in found]
    assert [o.first for o in said] == [Verdict.A, Verdict.B, Verdict.BOTH]
    assert all(o.agrees for o in said)
    assert server.asked.total() == 6
    assert "Question 0" in last(server.bodies[0])
    assert "5: it cannot be told" in last(server.bodies[0])


def test_a_bias_for_the_first_reply_is_seen_in_the_disagreement_and_halved():
    """Of ten pairs the judge takes the first on four, whatever they say, and is right on six, where A is longer."""
    biased = {f"{i}" for i in range(4)}

    def script(first, second):
        return 1 if first[0] in biased else longer(first, second)

    with Server(saying(script)) as server:
        a, b = [f"{i} long" for i in range(10)], [f"{i} x" for i in range(10)]
        found = pair_records(
            judge(server, read="samples"), [(item(i, A=a[i], B=b[i]), "A", "B") for i in range(10)]
        )
    assert [r.outcome.agrees for r in found] == [False] * 4 + [True] * 6
    assert [r.outcome.advantage for r in found] == [0.0] * 4 + [1.0] * 6
    in_one_order = sum((r.first is Verdict.A) - (r.first is Verdict.B) for r in found) / 10
    assert (in_one_order, sum(r.outcome.advantage for r in found) / 10) == (1.0, 0.6)


def test_the_likeliest_answer_counts_where_probabilities_are_given():
    top = distribution(_1=0.3, _2=0.1, _4=0.55, Well=0.05)
    with Server(lambda b, n: completion("4", top=[top])) as server:
        ((ruling,),) = judge(server).rulings([prompt()], ["x"], ["y"])
    assert ruling.verdict is Verdict.NEITHER


def test_unread_abstained_and_failed_are_kept_apart_and_are_no_ties():
    answers = {"0": "who knows", "1": "5", "2": Fault(400, body="too long"), "3": "3"}
    with Server(lambda b, n: answers[shown(b)[0][0]]) as server:
        cases = [(item(i, A=f"{i} x", B=f"{i} y"), "A", "B") for i in range(4)]
        found = pair_records(judge(server, read="samples", retries=0), cases)
    assert [r.trouble for r in found] == ["unparsable", "abstained", "failed", None]
    assert [r.outcome is None for r in found] == [True, True, True, False]
    assert "who knows" in found[0].why[0]


def test_a_rubric_that_does_not_let_the_judge_abstain_offers_no_such_answer():
    strict = Rubric(name="s", criteria="whether it rhymes", abstain=False)
    with Server(saying(lambda x, y: 5)) as server:
        ((ruling,),) = judge(server, dimensions=[strict], read="samples").rulings([prompt()], ["x"], ["y"])
    assert "5:" not in last(server.bodies[0])
    assert ruling.trouble == "unparsable"


def test_a_grade_is_the_mean_and_acceptable_where_most_of_the_probability_is():
    top = distribution(_2=0.2, _3=0.3, _4=0.1, _5=0.2, The=0.2)  # 5: it cannot be told
    with Server(lambda b, n: completion("3", top=[top])) as server:
        (record,) = grade_records(judge(server), [(item(A="x"), "A")])
    assert record.value == pytest.approx((2 * 0.2 + 3 * 0.3 + 4 * 0.1) / 0.6)
    assert (record.scale, record.acceptable) == ((1.0, 4.0), True)  # (.3 + .1) / .6 on grades 3 and 4
    with Server(lambda b, n: "5") as server:
        (record,) = grade_records(judge(server, read="samples"), [(item(A="x"), "A")])
    assert (record.value, record.trouble) == (None, "abstained")


def test_a_scale_that_ends_at_ten_has_its_untold_before_it():
    ten = Rubric(name="t", criteria="quality", scale={i: str(i) for i in range(1, 11)})
    assert (ten.untold, min(ten.grades())) == (0, 0)
    with Server(lambda b, n: "0") as server:
        (record,) = grade_records(judge(server, dimensions=[ten], read="samples"), [(item(A="x"), "A")])
    assert record.trouble == "abstained"


def rule_script(body, before):
    """Rule one applies and is kept, rule two applies and is broken by "bad", rule three does not apply."""
    words = last(body)
    if "Does the rule apply" in words:
        return "2" if "rule: three" in words else "1"
    return "2" if "rule: two" in words and "Reply:\nbad" in words else "1"


def test_guardrails_are_asked_one_by_one_where_they_apply():
    rules = ("one", "two", "three")
    cases = [(item(0, rules, good="fine", poor="bad"), m) for m in ("good", "poor")]
    with Server(rule_script) as server:
        found = grade_records(judge(server, dimensions=["adherence"], read="samples"), cases)
    by_rule = {(r.model, r.guardrail): (r.value, r.acceptable) for r in found}
    assert by_rule == {
        ("good", None): (1.0, True),
        ("good", "one"): (1.0, True),
        ("good", "two"): (1.0, True),
        ("poor", None): (0.5, False),
        ("poor", "one"): (1.0, True),
        ("poor", "two"): (0.0, False),
    }
    assert server.asked.total() == 3 + 2 * 2  # whether a rule applies is asked once for both replies


def test_tagged_guardrails_are_not_asked_about():
    tagged = item(0, ("one", "two", "three"), {"applies": ["two"]}, A="bad")
    with Server(rule_script) as server:
        found = grade_records(judge(server, dimensions=["adherence"], read="samples"), [(tagged, "A")])
    assert [(r.guardrail, r.acceptable) for r in found] == [(None, False), ("two", False)]
    assert server.asked.total() == 1


def test_a_guardrail_that_cannot_be_told_leaves_the_whole_open_unless_another_is_broken():
    def script(body, before):
        return "3" if "rule: one" in last(body) else rule_script(body, before)

    cases = [(item(0, ("one", "two"), good="fine", poor="bad"), m) for m in ("good", "poor")]
    with Server(script) as server:
        found = grade_records(judge(server, dimensions=["adherence"], read="samples"), cases)
    whole = {r.model: r for r in found if r.guardrail is None}
    assert (whole["good"].trouble, whole["good"].acceptable) == ("abstained", None)
    assert (whole["poor"].trouble, whole["poor"].acceptable) == (None, False)
    assert [r.trouble for r in found if r.guardrail == "one"] == ["abstained"] * 2


def test_reasons_come_before_verdicts():
    def script(body, before):
        return json.dumps({"reason": "it is longer", "answer": longer(*shown(body))})

    with Server(script) as server:
        (record,) = pair_records(judge(server, explain=True), [(item(A="xx", B="x"), "A", "B")])
    assert (record.first, record.second, record.why) == (Verdict.A, Verdict.A, ("it is longer",) * 2)
    schema = last(server.bodies[0])
    assert schema.index('"reason"') < schema.index('"answer"')
    with Server(lambda b, n: json.dumps({"reason": "?", "answer": 9})) as server:
        (record,) = pair_records(judge(server, explain=True), [(item(A="xx", B="x"), "A", "B")])
    assert record.trouble == "unparsable"


def test_reference_answers_are_shown_where_the_rubric_wants_them():
    with Server(saying(longer)) as server:
        ask = judge(server, dimensions=["helpfulness"], read="samples")
        ask.rulings([prompt(0, reference=["First 4.", "Then 5."])], ["x"], ["y"])
        assert "First 4.\n\nThen 5." in last(server.bodies[0])
        needs = load_rubric("helpfulness").model_copy(update={"reference": "required"})
        with pytest.raises(HalignError, match="'c0' has no reference answer"):
            judge(server, dimensions=[needs]).marks([prompt()], ["x"])


def test_two_turns_of_each_models_own_are_shown_and_the_last_is_judged():
    histories = {
        m: [
            {"role": "user", "content": "Question 0"},
            {"role": "assistant", "content": f"first of {m}"},
            {"role": "user", "content": "And then?"},
        ]
        for m in "AB"
    }
    two = item(0, meta={"histories": histories}, A="second of A", B="second of B")
    with Server(saying(longer)) as server:
        (record,) = pair_records(judge(server, read="samples"), [(two, "A", "B")])
        (grade,) = grade_records(judge(server, read="samples"), [(two, "B")])
    first, second = (last(b) for b in server.bodies[:2])
    assert (
        first.index("first of A")
        < first.index("first of B")
        < first.index("second of A")
        < first.index("second of B")
    )
    assert second.index("first of B") < second.index("first of A") < second.index("second of B")
    assert record.first is Verdict.BOTH
    assert "first of B" in last(server.bodies[2])
    assert "first of A" not in last(server.bodies[2])
    assert grade.model == "B"


def test_a_dry_run_counts_both_orders_and_every_guardrail():
    with Server() as server:
        ask = judge(server, dimensions=["adherence", "naturalness"], input_price=1, output_price=1)
        plan = ask.planned(
            [(prompt(0), "x", "y", None)],
            [(prompt(1, "one", "two"), "z"), (prompt(2, "one", applies=["one"]), "z")],
        )
        assert plan.calls == 2 * 2 + (2 + 2 + 1) + (1 + 1)
        assert not server.asked


def test_orders_that_fail_alone_keep_the_other():
    with Server(lambda b, n: "1" if shown(b)[0] == "x" else "?") as server:
        (found,) = both_rulings(judge(server, read="samples"), [prompt()], ["x"], ["y"])
    first, second = found["naturalness", None]
    assert (first.verdict, second.verdict, second.trouble) == (Verdict.A, None, "unparsable")


def test_words_that_name_no_judge_are_refused(tmp_path):
    with pytest.raises(HalignError, match="there are rules, care, checks, chart:FILE, reward:FOLDER"):
        judges.find_judge("gpt")
    with pytest.raises(HalignError, match="rubrics are for language models"):
        judges.find_judge("care", ["adherence"])
    with pytest.raises(HalignError, match="no rubric 'kindness': there are adherence"):
        judges.find_judge("llm:m@http://localhost:1/v1", ["kindness"])
    with pytest.raises(HalignError, match="no setting temprature"):
        judges.llm("m", temprature=1)
    assert judges.find_judge("llm:org/m@http://localhost:1/v1").client.endpoint == Endpoint(
        "http://localhost:1/v1", "org/m"
    )
    assert judges.llm("gpt-4o-mini").client.endpoint.at_openai


def test_rubrics_of_ones_own(tmp_path):
    (tmp_path / "rhyme.md").write_text(
        "---\nscale: {1: no, 2: somewhat, 3: yes}\nacceptable_grades: [3]\n---\nwhether it rhymes\n"
    )
    found = load_rubric(tmp_path / "rhyme.md")
    assert (found.name, found.criteria, found.ends) == ("rhyme", "whether it rhymes", (1.0, 3.0))
    (tmp_path / "odd.yaml").write_text("criteria: x\nscale: {1: a, 3: b}\n")
    with pytest.raises(HalignError, match=r"odd.yaml: .*\[1, 3\] are not two or more whole numbers in a row"):
        load_rubric(tmp_path / "odd.yaml")
    (tmp_path / "odd.yaml").write_text("criterion: x\n")
    with pytest.raises(HalignError, match=r"criterion.*Fields are name, criteria"):
        load_rubric(tmp_path / "odd.yaml")
