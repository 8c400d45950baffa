"""What requests show, which tasks come through, how instances are asked for; an interrupted job ends in the same bytes."""

from __future__ import annotations

import re

import pytest

from halign.builders import instructions as rules
from halign.builders import self_instruct
from halign.builders.self_instruct import BUILDER
from halign.builders.writers import EndpointWriter
from halign.errors import HalignError
from halign.llm import Endpoint
from tests.builders.helpers import Says, Thinks, run
from tests.llm.server import Server, last

TOPICS = ("rivers", "songs", "lakes", "towns", "poets", "birds", "trees", "tools", "games", "ships")
SEEDS = [
    {"id": f"s{i}", "instruction": f"{t} {t} {t} tell me of {t}", "input": "", "output": "Well."}
    for i, t in enumerate(TOPICS)
]


def shown(text):
    """The tasks of a request, by number."""
    return re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)


def lister(words, kind="No"):
    """A writer: ``words(tasks shown)`` is its list; instances name their task."""

    def said(prompt, k):
        text = prompt.messages[-1].content
        if text.startswith("Come up"):
            return words(shown(text))
        task = text.rpartition("Task: ")[2]
        if "finite set of output labels?" in text:
            return kind
        if "Class label:" in text:
            return f"Class label: A\nfor {task}"
        return f"Example 1\nInput: in {task}\nOutput: out\nExample 2\nInput: more\nOutput: yet more"

    return Says(said)


def test_one_request(tmp_path):
    writer = lister(
        lambda tasks: "9. Sum up the plot of this novel\n10. Count all vowels in one word\n11. No"
    )
    report, rows = run(BUILDER, tmp_path, SEEDS, {"requests": 1, "instances": 1}, writer=writer)
    tasks = shown(writer.asked[0].messages[0].content)
    seeds = [s["instruction"] for s in SEEDS]
    assert len(tasks) == len(set(tasks)) == 8  # seeds stand in for new tasks while there are none
    assert set(tasks) < set(seeds)
    assert "from 9 to 16" in writer.asked[0].messages[0].content
    # "plot" is a forbidden word, "No" is too short
    (row,) = rows
    assert [m["content"] for m in row["messages"]] == [
        "Count all vowels in one word\n\nin Count all vowels in one word",
        "out",
    ]
    assert (row["task"], row["task_input"], row["classification"]) == (
        "Count all vowels in one word",
        "in Count all vowels in one word",
        False,
    )
    assert report.dropped == {rules.FORBIDDEN_WORD: 1, rules.SHORT: 1}
    parents = {p["id"] for p in row["lineage"]["parents"]}
    assert parents == {s["id"] for s in SEEDS if s["instruction"] in tasks}
    assert len(row["lineage"]["replies"]) == 3


def counting():
    """Lists of new tasks, each word of which occurs once."""
    number = iter(range(1000))

    def words(tasks):
        return "\n".join(f"{9 + i}. " + " ".join(f"w{next(number)}x" for _ in range(4)) for i in range(2))

    return words


def test_later_requests_show_new_tasks(tmp_path):
    writer = lister(counting())
    _, rows = run(BUILDER, tmp_path, SEEDS, {"requests": 3, "chunk": 1, "instances": 1}, writer=writer)
    lists = [
        shown(p.messages[0].content) for p in writer.asked if p.messages[0].content.startswith("Come up")
    ]
    new = [[t for t in tasks if t.startswith(("w", "W"))] for tasks in lists]
    assert [len(n) for n in new] == [0, 2, 2]
    assert all(len(tasks) == 8 for tasks in lists)
    assert set(new[2]) <= {r["task"] for r in rows[:4]}
    assert len(rows) == 6


def test_no_more_than_wanted(tmp_path):
    writer = lister(counting())
    settings = {"requests": 9, "chunk": 1, "tasks": 3, "instances": 1}
    _, rows = run(BUILDER, tmp_path, SEEDS, settings, writer=writer)
    assert len(rows) == 3
    assert sum(p.messages[0].content.startswith("Come up") for p in writer.asked) == 2


def test_tasks_that_are_too_like(tmp_path):
    # "rivers rivers rivers tell me of rivers" and "tell me of rivers": LCS 4, F = 8 / 11 = .73
    words = "9. Tell me of rivers\n10. Write down four odd numbers\n11. Write four odd numbers down\n12. Count the stars at night"
    report, rows = run(
        BUILDER, tmp_path, SEEDS, {"requests": 1, "instances": 1}, writer=lister(lambda tasks: words)
    )
    # "write down four odd numbers", "write four odd numbers down": LCS 4, F = 8 / 10
    assert [r["task"] for r in rows] == ["Write down four odd numbers", "Count the stars at night"]
    assert report.dropped == {self_instruct.ALIKE: 2}


def test_classifications_are_written_output_first(tmp_path):
    words = lambda tasks: "9. Is this message kind or not"  # noqa: E731
    _, (row,) = run(BUILDER, tmp_path, SEEDS, {"requests": 1}, writer=lister(words, "Yes."))
    assert row["classification"] is True
    assert [m["content"] for m in row["messages"]] == [
        "Is this message kind or not\n\nfor Is this message kind or not",
        "A",
    ]
    judge = Thinks(lambda q: 0.9 if "Is this message kind or not\nIs it" in q else 0.0)
    report, (row,) = run(
        BUILDER, tmp_path, SEEDS, {"requests": 1}, "b.jsonl", writer=lister(words, "?"), judge=judge
    )
    assert row["classification"] is True
    assert "judge 0.9" in row["lineage"]["replies"]
    assert report.tallies["classification tasks"] == 1


def test_tasks_that_come_to_nothing(tmp_path):
    def said(prompt, k):
        text = prompt.messages[-1].content
        if text.startswith("Come up"):
            return "9. Name nothing at all now\n10. Give me some old words\n11. Say what cannot be known"
        if "finite set" in text:
            return "Perhaps" if "known\nIs it" in text else "no"
        return "I cannot." if "nothing" in text.rpartition("Task:")[2] else "Output: fine"

    report, rows = run(BUILDER, tmp_path, SEEDS, {"requests": 1}, writer=Says(said))
    assert [r["task"] for r in rows] == ["Give me some old words"]
    assert report.dropped == {self_instruct.TASKLESS: 1, self_instruct.UNSURE: 1}


def test_an_interrupted_job_ends_in_the_same_bytes(tmp_path):
    def words(tasks):  # depends on what is shown, so that a pool in another state would show
        return f"9. {' '.join(t.split()[-1] + str(i) for i, t in enumerate(tasks))} ask\n10. {tasks[0][:9]} what is it then"

    settings = {"requests": 6, "chunk": 1, "threshold": 0.9}
    _, whole = run(BUILDER, tmp_path, SEEDS, settings, writer=lister(words))
    for stop in (5, 9):
        name, calls = f"{stop}.jsonl", iter(range(1000))

        def dies(tasks, calls=calls, stop=stop):
            if next(calls) == stop // 2:
                raise RuntimeError("power cut")
            return words(tasks)

        with pytest.raises(RuntimeError, match="power cut"):
            run(BUILDER, tmp_path, SEEDS, settings, name, writer=lister(dies))
        _, rows = run(BUILDER, tmp_path, SEEDS, settings, name, writer=lister(words))
        assert rows == whole
    assert len({r["task"] for r in whole}) > 6


def test_behind_an_endpoint(tmp_path):
    writer = lister(lambda tasks: "9. Name all the moons of Mars")

    def script(body, before):
        prompt = type("P", (), {"messages": [type("M", (), {"content": last(body)})]})
        return writer.words(prompt, 0)

    with Server(script) as server:
        _, rows = run(
            BUILDER, tmp_path, SEEDS, {"requests": 2}, writer=EndpointWriter(Endpoint(server.url, "m"))
        )
    assert [r["task"] for r in rows] == [
        "Name all the moons of Mars"
    ] * 2  # two instances of it; the second request is too like


def test_too_few_seeds(tmp_path):
    with pytest.raises(HalignError, match="holds 3 tasks, and a request shows 8"):
        run(BUILDER, tmp_path, SEEDS[:3], writer=lister(str))
