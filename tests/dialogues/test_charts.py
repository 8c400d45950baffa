"""Flow charts: their edges, how a reply is matched, and how a conversation is followed, by hand; and STAR's own."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from halign.dialogue import Dialogue
from halign.dialogues import FlowChartJudge, following, read_charts
from halign.dialogues.chart_judge import DIMENSION
from halign.dialogues.following import ChartFollower, first_departure
from halign.dialogues.matching import NodeMatcher
from halign.errors import HalignError
from halign.judges import Verdict

CHART = """
nodes:
  hello: "Hello, how can I help?"
  ask_city: "Which city, please?"
  ask_day: "And for which day would you like to know?"
  forecast: "It will be {weather:s} in {city:s} on {day:s}."
  none: "There is no forecast for that day, sorry."
  more: "Anything else that I can do?"
  lost: "I did not get that, I only know the weather."
edges: {hello: ask_city, ask_city: ask_day, ask_day: look_up, look_up: forecast, forecast: [more], empty: none}
silent: [look_up, empty]
"""


@pytest.fixture
def chart(tmp_path):
    file = tmp_path / "weather.yaml"
    file.write_text(CHART)
    return read_charts(file)["weather"]


def talk(*replies, tasks=()):
    said = [
        m for r in replies for m in ({"role": "user", "content": "..."}, {"role": "assistant", "content": r})
    ]
    return Dialogue.of(said, meta={"tasks": tasks})


def test_edges_pass_through_silent_nodes(chart):
    assert chart.after("ask_day") == {"forecast"}
    assert chart.after("forecast") == {"more"}
    assert chart.starts == {"hello", "ask_city"}
    assert chart.conditional == {"none"}
    assert chart.free == {"lost"}
    assert chart.ahead("hello") == {"ask_city", "ask_day", "forecast", "more"}
    assert chart.ahead("forecast") == {"more"}


def test_templates_with_slots_and_the_threshold(chart):
    matcher = NodeMatcher([chart])
    exact = matcher.match("it will be  RAINY and cold in “Oslo”, on Monday!")
    assert (exact.places, exact.how, exact.score) == ((("weather", "forecast"),), "template", 1.0)
    # slots must hold something
    assert matcher.by_template("It will be in on Monday.") is None
    near = matcher.match("Hello! How may I help?")  # 4 shared of 5 and 5 words: 2 * 4 / 10
    assert near.how == "overlap"
    assert near.score == pytest.approx(0.8)
    assert near.places == (("weather", "hello"),)
    far = matcher.match(
        "Hello there, what is it?"
    )  # closest: "it" of the forecast, whose slots hold the other 4
    assert far.places == ()
    assert far.score == pytest.approx(2 * 1 / (5 - 4 + 5))
    # "Will it rain in Oslo?": it, will, in of the template's be in it on will; 2 other words fit into the three slots
    slots = matcher.match("Will it rain in Oslo")
    assert slots.score == pytest.approx(2 * 3 / (5 - 2 + 5)) == 0.75


def test_close_calls_are_not_clear(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text('nodes: {a: "shall I book the red car", b: "shall I book the blue car"}\nedges: {a: b}')
    follower = ChartFollower(list(read_charts(file).values()))
    match = follower.matcher.match("shall I book the green car")
    assert not match.clear
    assert len(match.places) == 2
    (turn,) = follower.follow(talk("shall I book the green car"))
    judge = FlowChartJudge(read_charts(file))
    ((mark,),) = judge.marks([talk()], ["shall I book the green car"])
    assert (mark.value, mark.trouble) == (None, "abstained")
    assert judge.compare([talk()], ["shall I book the green car"], ["x"]) == [{}]
    assert turn.step == "unknown"
    assert turn.allowed is None


def test_a_conversation_is_followed(chart):
    turns = ChartFollower([chart]).follow(
        talk(
            "Hello, how can I help?",
            "Which city, please?",
            "which city please",
            "I did not get that, I only know the weather.",
            "It will be wet in Rome on Friday.",
            "There is no forecast for that day, sorry.",
            "My cat is ill.",
            "Which city, please?",
        )
    )
    assert [t.step for t in turns] == ["edge", "edge", "again", "free", "ahead", "condition", "off", "jump"]
    assert [t.allowed for t in turns] == [True, True, True, True, False, True, False, False]
    assert first_departure(turns) == 5
    assert turns[4].place == 9
    # a free reply and one that is off leave the bot where it was
    assert (
        ChartFollower([chart])
        .follow(talk("Which city, please?", "Hm?", "And for which day would you like to know?"))[-1]
        .step
        == "edge"
    )


def test_several_replies_in_one_turn(chart):
    (turn,) = ChartFollower([chart]).follow(
        talk("Hello, how can I help?\nWhich city, please?\nAnd for which day\nwould you like to know?")
    )
    assert turn.steps == ("edge", "edge", "edge")
    assert turn.allowed
    (turn,) = ChartFollower([chart]).follow(talk("Hello, how can I help?\nMy cat is ill."))
    assert turn.steps == ("edge", "off")
    assert turn.allowed is False


def test_each_chart_has_its_own_place(chart, tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(
        'nodes: {hello: "Hello, how can I help?", item: "What would you like to buy?", pay: "Cash or card?"}\n'
        "edges: {hello: item, item: pay}"
    )
    follower = ChartFollower([chart, *read_charts(file).values()])
    turns = follower.follow(
        talk(
            "Hello, how can I help?",
            "Which city, please?",
            "What would you like to buy?",
            "And for which day would you like to know?",
            "Cash or card?",
        )
    )
    assert [t.step for t in turns] == ["edge"] * 5


def test_what_is_all_slots_may_be_anything(tmp_path):
    file = tmp_path / "quiz.yaml"
    file.write_text(
        'nodes: {start: "Ready to play?", ask: "{question}", end: "That was all."}\nedges: {start: ask, ask: end}'
    )
    follower = ChartFollower(list(read_charts(file).values()))
    assert follower.matcher.unreadable == (("quiz", "ask"),)
    turns = follower.follow(talk("Ready to play?", "Who wrote Emma?", "That was all.", "Bye."))
    assert [t.step for t in turns][:2] == ["edge", "unknown"]


def test_as_a_judge(chart):
    judge = FlowChartJudge({"weather": chart})
    before = talk("Which city, please?")
    right, wrong = "And for which day would you like to know?", "My cat is ill."
    marks = [m for (m,) in judge.marks([before] * 3, [right, wrong, ""])]
    assert [(m.dimension, m.value, m.acceptable) for m in marks] == [
        (DIMENSION, 1, True),
        (DIMENSION, 0, False),
        (DIMENSION, 0, False),
    ]
    assert "nothing that the chart says" in marks[1].why
    assert judge.compare([before], [wrong], [right]) == [{DIMENSION: Verdict.B}]
    records = judge.records(talk("Which city, please?", wrong), "c1", "bot")
    assert [(r.item, r.value, r.acceptable, r.turn) for r in records] == [
        ("c1:1", 1.0, True, 1),
        ("c1:3", 0.0, False, 3),
    ]
    with pytest.raises(HalignError, match="task 'x' has no flow chart; there are weather"):
        judge.follow(talk("Hi", tasks=("x",)))


def test_numbers_over_conversations(chart):
    follower = ChartFollower([chart])
    good = follower.follow(talk("Which city, please?", "And for which day would you like to know?"))
    bad = follower.follow(talk("Which city, please?", "Hm?"))
    found = following([("a", good), ("b", bad), ("c", [])])
    assert (found.allowed.value, found.allowed.n, found.allowed.clusters) == (0.75, 4, 2)
    assert found.whole.value == 0.5
    assert found.departures == {2: 1}
    assert found.steps == {"edge": 3, "off": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: {a: b}\nedges: {a: c}", "there is no node 'c'"),
        ("edges: {a: c}", "a chart for each task|nodes .* are needed"),
        ("- a", "nodes and edges are needed"),
        ("{", "cannot be read"),
    ],
)
def test_charts_that_are_wrong(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(HalignError, match=message):
        read_charts(file)


DATA = Path(os.environ.get("HALIGN_DATA", "/nowhere"))


@pytest.mark.skipif(not (DATA / "care/star_test.jsonl.gz").exists(), reason="needs $HALIGN_DATA with STAR")
def test_star_wizards_follow_their_charts_better_than_others():
    with gzip.open(DATA / "care/star_test.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(150), strict=False)]
    judge = FlowChartJudge(DATA / "guidelines/star_tasks.json")
    draws = random.Random(0)

    def share(mixed):
        found = []
        for row in rows:
            messages = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
            if mixed:
                said = [m["content"] for m in messages if m["role"] == "assistant"]
                draws.shuffle(said)
                messages = [m if m["role"] != "assistant" else {**m, "content": said.pop()} for m in messages]
            found.append((row["id"], judge.follow(Dialogue.of(messages, meta={"tasks": row["tasks"]}))))
        return following(found)

    own, mixed = share(False), share(True)
    assert own.allowed.low > mixed.allowed.high
    assert own.steps["edge"] > 1.5 * mixed.steps["edge"]
