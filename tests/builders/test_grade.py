"""Grades by hand: rankings, ratings, the best reply; with a server's probabilities and with a local model."""

from __future__ import annotations

import math

import pytest

from halign.builders import grade
from halign.builders.driver import dry_run
from halign.builders.grade import BUILDER
from halign.builders.tools import Tools
from halign.builders.writers import DryYesNo
from halign.curation.filter import Grade
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.judges.yes_no import EndpointYesNo, LocalYesNo
from halign.llm import Endpoint, ItemsFailed, Planned
from halign.readers import read, write_rows
from halign.rewards.language_model import LocalLanguageModelReward
from tests.builders.helpers import Says, agent, lines, run, user
from tests.llm.server import Server, completion, last

PAIR = {"id": "p", "prompt": [user("Who?")], "chosen": [agent("Ann")], "rejected": [agent("Bob")]}


class Grades:
    """A judge that gives each reply the grade a test says."""

    def __init__(self, **grades):
        self.grades = grades

    def ask(self, questions):
        raise AssertionError

    def grade(self, asked):
        return [
            Grade(self.grades[r], (f"grade of {r}",)) if r in self.grades else Grade(None) for _, r in asked
        ]


def test_a_ranking_by_grade(tmp_path):
    responses = [{"content": c, "rank": r} for r, c in enumerate("abc", 1)]
    _, rows = run(
        BUILDER,
        tmp_path,
        [{"prompt": [user("?")], "responses": responses}],
        judge=Grades(a=2.0, b=9.0, c=2.0),
    )
    assert [(r["content"], r["score"]) for r in rows[0]["responses"]] == [("b", 9.0), ("a", 2.0), ("c", 2.0)]
    (example,) = read(tmp_path / "out.jsonl")
    assert example.ranks[0] == 1
    assert example.ranks[1] == example.ranks[2] > 1
    assert rows[0]["lineage"]["replies"] == ["grade of b", "grade of a", "grade of c"]


def test_ratings_of_single_replies(tmp_path):
    talk = {"id": "c", "messages": [user("1"), agent("fine"), user("2"), agent("poor")]}
    _, rows = run(BUILDER, tmp_path, [talk], {"good": 5}, judge=Grades(fine=5.0, poor=4.9))
    assert [(len(r["prompt"]), r["label"], r["score"]) for r in rows] == [(1, True, 5.0), (3, False, 4.9)]


def test_the_best_of_what_the_writer_draws(tmp_path):
    words = {"1": ["low", "high", "cut ..."], "2": ["low", "bad", "low"]}
    writer = Says(lambda prompt, k: words[prompt.messages[-1].content][k])
    rows = [{"id": w, "messages": [user(w), agent("own")]} for w in "12"]
    settings = {"candidates": "written", "samples": 3, "keep": "best", "good": 6}
    report, built = run(
        BUILDER, tmp_path, rows, settings, writer=writer, judge=Grades(low=3.0, high=6.0, bad=1.0)
    )
    assert [[m["content"] for m in r["messages"]] for r in built] == [["1", "high"]]
    assert built[0]["turns"] == [1]
    assert built[0]["grade"] == 6.0
    assert report.dropped == {grade.LOW: 1, "replies that were cut off": 1}


def test_equal_grades_teach_nothing(tmp_path):
    other = {**PAIR, "id": "q", "chosen": [agent("Cid")]}
    report, rows = run(BUILDER, tmp_path, [PAIR, other], judge=Grades(Ann=5.0, Bob=5.0, Cid=1.0))
    assert report.dropped == {grade.LEVEL: 1}
    assert [r["content"] for r in rows[0]["responses"]] == [
        "Bob",
        "Cid",
    ]  # the data's own order does not count


def test_replies_without_a_grade(tmp_path):
    with pytest.raises(ItemsFailed):
        run(BUILDER, tmp_path, [PAIR], judge=Grades(Ann=5.0))
    report, rows = run(BUILDER, tmp_path, [PAIR], {"skip_failed": True}, "b.jsonl", judge=Grades(Ann=5.0))
    assert report.dropped == {grade.UNGRADED: 1}
    assert rows[0]["completion"][0]["content"] == "Ann"


def test_behind_an_endpoint(tmp_path):
    def script(body, before):
        high = "Reply:\nAnn" in last(body)
        top = {"8": math.log(0.6), "4": math.log(0.2)} if high else {"2": math.log(0.7)}
        return completion(next(iter(top)), top=[top])

    with Server(script) as server:
        judge = EndpointYesNo(Endpoint(server.url, "m"))
        write_rows([PAIR], tmp_path / "in.jsonl")
        planned = Planned()
        dry_run(
            BUILDER,
            RowSource(tmp_path / "in.jsonl"),
            BUILDER.settings(),
            Tools(judge=DryYesNo(judge, planned)),
        )
        assert planned.estimates[0].calls == 2
        assert not server.bodies
        _, rows = run(BUILDER, tmp_path, [PAIR], judge=judge)
    assert [r["score"] for r in rows[0]["responses"]] == pytest.approx([(0.6 * 8 + 0.2 * 4) / 0.8, 2.0])
    assert len(rows[0]["lineage"]["replies"]) == 2


def test_with_a_local_model(tmp_path, policy):
    run(BUILDER, tmp_path, [PAIR], judge=LocalYesNo(policy, least_mass=0.0))
    (example,) = read([PAIR])
    reward = LocalLanguageModelReward(policy, least_mass=0.0)
    expected = reward.score([example.prompt] * 2, ["Ann", "Bob"])
    found = {r["content"]: r["score"] for r in lines(tmp_path / "out.jsonl")[0]["responses"]}
    assert [found["Ann"], found["Bob"]] == pytest.approx(expected, abs=1e-5)


def test_a_judge_that_gives_no_grades(tmp_path):
    with pytest.raises(HalignError, match="gives no grades"):
        run(BUILDER, tmp_path, [PAIR], judge=object())
