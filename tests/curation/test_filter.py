"""Conditions against the same in Python; grades by a function, by rules and by an endpoint; and what is kept of a row."""

from __future__ import annotations

import math

import pytest

from halign.curation.conditions import Condition
from halign.curation.filter import ALPAGASUS, LOW, SCALE, ByJudge, ByReward, Grade, keep, responses_of
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.judges import DirectScorer
from halign.llm import Client, Endpoint
from halign.llm.cache import ReplyCache
from halign.readers import write_rows
from tests.curation.plainly import rows_of, talk
from tests.llm.server import Server, completion, last


class Length:
    """As many points as the response has words."""

    def __init__(self):
        self.asked = []

    def score(self, prompts, replies):
        self.asked += list(zip(prompts, replies, strict=True))
        return [float(len(r.split())) for r in replies]


def source_of(tmp_path, rows):
    write_rows(rows, tmp_path / "in.jsonl")
    return RowSource(tmp_path / "in.jsonl")


def run(tmp_path, rows, *conditions, **settings):
    outcome = keep(
        source_of(tmp_path, rows), tmp_path / "out.jsonl", conditions=conditions, dropped=True, **settings
    )
    return outcome, rows_of(tmp_path / "out.jsonl"), rows_of(tmp_path / "out.dropped.jsonl")


ROWS = [
    talk("Hi there you", "a", "One two three", domain="bank", grade=4),
    talk("Hi", "b", "no no no no no no", domain="hotel"),
    talk("Bye", "c", "As an AI language model I cannot. 12345 67890!", guardrails=["Be kind."]),
]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("words >= 6", "bc"),
        ("3 <= words < 6", "a"),
        ("not matches('(?i)as an ai')", "ab"),
        ("prompt_matches('^Hi')", "ab"),
        ("column('domain') == 'bank' or guardrails", "ac"),
        ("column('domain') in ('bank', 'hotel')", "ab"),
        ("column('domain') != 'bank'", "bc"),
        ("grade >= 4", "a"),
        ("grade == None", "bc"),
        ("repeats < 0.5", "ac"),
        ("letters > 0.9", "ab"),
        ("prompt_words + words == 6", "a"),
        ("turns == 2 and characters > -1", "abc"),
    ],
)
def test_conditions(tmp_path, text, kept):
    condition = Condition(text)
    assert "".join(r.row["id"] for r in source_of(tmp_path, ROWS) if condition(r)) == kept


def test_labels_and_scores(tmp_path):
    rows = [{"id": f"{i}", "prompt": "a", "completion": "b", "label": i > 1, "score": i} for i in range(3)]
    source = source_of(tmp_path, rows)
    assert [Condition("label == 'good'")(r) for r in source] == [False, False, True]
    assert [Condition("score > 0")(r) for r in source] == [False, True, True]


def test_repeats_and_letters_by_hand(tmp_path):
    """Six times "no": four runs of three, one distinct: 3/4. "a1 b2!": two letters of five characters."""
    row = next(iter(source_of(tmp_path, [talk("x", "a", "no no no no no no")])))
    assert Condition("repeats == 0.75")(row)
    row = next(iter(source_of(tmp_path, [talk("x", "a", "a1 b2!")])))
    assert Condition("letters == 0.4")(row)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("word > 3", r"no 'word' \(did you mean 'words'\?\)"),
        ("__import__('os').system('x')", "is not allowed|takes one text"),
        ("words.real", "Attribute is not allowed"),
        ("[w for w in 'ab']", "is not allowed"),
        ("matches(words)", "takes one text in quotes"),
        ("matches('(')", "no regular expression"),
        ("words >", "invalid syntax"),
    ],
)
def test_conditions_that_are_none(text, says):
    with pytest.raises(HalignError, match=says):
        Condition(text)


def test_a_comparison_that_makes_no_sense_names_the_row(tmp_path):
    with pytest.raises(HalignError, match=r"row 1: .*not supported"):
        run(tmp_path, ROWS, "column('domain') > 3")
    assert not (tmp_path / "out.jsonl").exists()


def test_reasons_are_counted_and_written(tmp_path):
    outcome, kept, dropped = run(tmp_path, ROWS, "words > 3", "repeats < 0.5")
    assert [r["id"] for r in kept] == ["c"]
    assert dict(outcome.dropped) == {"not: words > 3": 1, "not: repeats < 0.5": 1}
    assert [r["dropped"]["why"] for r in dropped] == ["not: words > 3", "not: repeats < 0.5"]


def test_grades_of_a_reward(tmp_path):
    reward = Length()
    outcome, kept, dropped = run(tmp_path, ROWS, "not matches('AI')", grader=ByReward(reward), above=6)
    assert [(r["id"], r["grade"]) for r in kept] == [("b", 6.0)]
    assert dict(outcome.dropped) == {LOW: 1, "not: not matches('AI')": 1}
    assert dropped[0]["grade"] == 3.0
    assert len(reward.asked) == 2  # what a condition drops is not graded
    assert run(tmp_path, ROWS, grader=ByReward(reward), above=6.01)[0].kept == 1


def test_every_agent_turn_is_graded_in_its_context(tmp_path):
    said = [("user", "u1"), ("assistant", "one"), ("user", "u2"), ("assistant", "one two three")]
    row = {"id": "a", "messages": [{"role": r, "content": c} for r, c in said]}
    asked = responses_of(next(iter(source_of(tmp_path, [row]))))
    assert [(len(p), r) for p, r in asked] == [(1, "one"), (3, "one two three")]
    for over, grade in (("min", 1.0), ("mean", 2.0), ("max", 3.0)):
        kept = _over(tmp_path, [row], over, grade)
        assert (kept[0]["grade"], kept[0]["grades"]) == (grade, [1.0, 3.0])
        with pytest.raises(HalignError, match="nothing would be left"):
            _over(tmp_path, [row], over, grade + 0.01)


def _over(tmp_path, rows, over, above):
    keep(source_of(tmp_path, rows), tmp_path / "out.jsonl", grader=ByReward(Length()), above=above, over=over)
    return rows_of(tmp_path / "out.jsonl")


def test_of_a_pair_the_chosen_one_is_graded(tmp_path):
    pairs = [
        {"id": n, "prompt": "x", "chosen": c, "rejected": "a b c d e"} for n, c in (("p", "a b"), ("q", "a"))
    ]
    assert [r["id"] for r in run(tmp_path, pairs, grader=ByReward(Length()), above=2)[1]] == ["p"]


class Silent:
    def grade(self, asked):
        return [Grade(None, (), "no answer in time") if i else Grade(5.0) for i in range(len(asked))]


def test_rows_without_a_grade(tmp_path):
    outcome, _, dropped = run(tmp_path, ROWS, grader=Silent(), above=1)
    assert outcome.dropped == {"no grade (the judge gave no answer)": 2}
    assert dropped[0]["dropped"]["problem"] == "no answer in time"
    with pytest.raises(HalignError, match="39 of 40 responses got no grade; the last: no answer in time"):
        run(tmp_path, [talk(f"{i}", f"{i}") for i in range(40)], grader=Silent(), above=1)


def test_settings_that_do_nothing(tmp_path):
    for settings, says in (
        ({}, "nothing to filter by"),
        ({"above": 1.0}, "needs a judge"),
        ({"grader": Silent()}, "threshold"),
    ):
        with pytest.raises(HalignError, match=says):
            run(tmp_path, ROWS, **settings)


def graded(body, n):
    """A model that grades 5 with .75 and 4 with .25 if the response has many words, else 1."""
    if "word word" in last(body):
        return completion("5", top=[{"5": math.log(0.75), "4": math.log(0.25)}])
    return completion("1", top=[{"1": math.log(0.9), "0": math.log(0.1)}])


def test_alpagasus_by_an_endpoint_pays_once_and_names_the_replies(tmp_path):
    """4.75 and 0.9, by hand; the second run asks nothing; what went in is in the lineage and the cache."""
    rows = [talk("Say much", "a", "word " * 5), talk("Say little", "b", "Yes.")]
    with Server(graded) as server:
        client = Client(Endpoint(server.url, "m", concurrency=1))
        judge = ByJudge(DirectScorer(client, criteria="accuracy", template=ALPAGASUS, scale=SCALE))
        assert judge.dry_run(source_of(tmp_path, rows)).calls == 2
        for _ in range(2):
            outcome, kept, dropped = run(tmp_path, rows, grader=judge, above=4.5)
            assert [(r["id"], r["grade"]) for r in kept] == [("a", pytest.approx(4.75))]
            assert dropped[0]["grade"] == pytest.approx(0.9)
            assert client.spent.calls == 2
        question = last(server.bodies[0])
    assert outcome.dropped == {LOW: 1}
    assert "the accuracy of the response" in question
    assert "on a scale of 0 to 5" in question
    (key,) = kept[0]["lineage"]["replies"]
    with ReplyCache() as cache:
        assert cache.get(key) is not None


def test_a_scale_of_its_own():
    with pytest.raises(HalignError, match=r"scale = .* is out of range"):
        DirectScorer(Endpoint("http://x/v1", "m"), scale=range(12))
