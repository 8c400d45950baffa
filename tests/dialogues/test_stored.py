"""Stored conversations judged on the command line: by a flow chart, by a persona sheet, of one bot or of two."""

import gzip
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.dialogue import Dialogue
from halign.dialogues.chart_judge import FlowChartJudge, following
from halign.errors import HalignError
from halign.evaluate import share
from halign.judges import find_judge
from halign.judges.records import HISTORIES, Judged
from tests.judges.judging import saying
from tests.llm.server import Server, last

CHART = """\
nodes:
  hello: "Hello, how can I help?"
  ask_city: "Which city, please?"
  ask_day: "And for which day?"
  forecast: "It will be {weather} in {city} on {day}."
edges: {hello: ask_city, ask_city: ask_day, ask_day: look_up, look_up: forecast}
silent: [look_up]
"""
HELLO, CITY, DAY = "Hello, how can I help?", "Which city, please?", "And for which day?"
FORECAST = "It will be dry in Oslo on Monday."
SHEET = "name: Captain Ada\nwho: The captain of a ferry.\nvoice: [short sentences]\nknows: [her timetable]\n"


def judged(*words):
    return run(["judge", *map(str, words)])


def run(words):
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def conversations(file, *replies, **more):
    """One conversation for each list of replies; the bot's users say a word before each."""
    rows = []
    for c, said in enumerate(replies):
        messages = [m for r in said for m in ({"role": "user", "content": "So?"}, say(r))]
        rows.append({"id": f"c{c}", "messages": messages, **more})
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


def say(reply):
    return {"role": "assistant", "content": reply}


@pytest.fixture
def chart(tmp_path):
    file = tmp_path / "weather.yaml"
    file.write_text(CHART)
    return file


def test_a_flow_chart_judges_whole_conversations(chart, tmp_path):
    bot = conversations(
        tmp_path / "bot.jsonl", [HELLO, CITY, DAY, FORECAST], [HELLO, FORECAST, "I like rain."]
    )
    out = tmp_path / "judged"
    said = judged(bot, "--judge", f"chart:{chart}", "--output", out)
    assert "grades: 7" in said
    folder = Judged.read(out)
    assert [(r.item, r.turn, r.value) for r in folder.grades] == [
        *((f"c0:{i}", i, 1.0) for i in (1, 3, 5, 7)),
        *(("c1:1", 1, 1.0), ("c1:3", 3, 0.0), ("c1:5", 5, 0.0)),
    ]
    assert folder.grades[5].why == ("further along the chart, with steps left out (forecast)",)
    assert {(r.judge, r.model, r.dimension) for r in folder.grades} == {("flow chart", "bot", "flow chart")}
    # the judged folder is judged again, and a chart that was changed is another judge
    judged(out, "--judge", f"chart:{chart}", "--output", tmp_path / "again")
    assert [r.value for r in Judged.read(tmp_path / "again").grades] == [r.value for r in folder.grades]
    chart.write_text(CHART.replace("hello: ask_city", "hello: [ask_city, look_up]"))
    with pytest.raises(HalignError, match="another judge, rubric or setting"):
        judged(bot, "--judge", f"chart:{chart}", "--output", out)
    judged(bot, "--judge", f"chart:{chart}", "--output", out, "--overwrite")
    assert [r.value for r in Judged.read(out).grades][4:] == [1.0, 1.0, 0.0]


def test_a_bot_may_speak_first_and_a_task_chooses_the_chart(chart, tmp_path):
    both = f"{json.dumps({'weather': {'nodes': {'a': HELLO}, 'edges': {}}, 'other': {'nodes': {'a': CITY}}})}"
    (tmp_path / "two.json").write_text(both)
    row = {
        "id": "c",
        "messages": [say(HELLO), {"role": "user", "content": "Hm."}, say(CITY)],
        "tasks": ["weather"],
    }
    (tmp_path / "bot.jsonl").write_text(json.dumps(row))
    judged(tmp_path / "bot.jsonl", "--judge", f"chart:{tmp_path / 'two.json'}", "--output", tmp_path / "out")
    assert [(r.turn, r.value) for r in Judged.read(tmp_path / "out").grades] == [(0, 1.0), (2, 0.0)]


def test_two_bots_have_earlier_turns_of_their_own(chart, tmp_path):
    one = conversations(tmp_path / "one.jsonl", [HELLO, CITY, DAY], [HELLO])
    two = conversations(tmp_path / "two.jsonl", [HELLO, FORECAST, "Hm."], [HELLO, CITY])
    said = judged(one, two, "--judge", f"chart:{chart}", "--mode", "both", "--output", tmp_path / "out")
    assert "1 replies left out" in said
    folder = Judged.read(tmp_path / "out")
    assert [i.item for i in folder.items.values()] == ["c0:1", "c0:3", "c0:5", "c1:1"]
    assert [HISTORIES in i.meta for i in folder.items.values()] == [False, False, True, False]
    assert folder.items["c0:5"].answered_by("two").messages[3].content == FORECAST
    grades = {(r.item, r.model): r.value for r in folder.grades}
    assert [grades[i, "one"] for i in folder.items] == [1.0, 1.0, 1.0, 1.0]
    assert [grades[i, "two"] for i in folder.items] == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(HalignError, match="each model has its own earlier turns"):
        run(["compare", str(one), str(two), "--judge", f"chart:{chart}"])
    assert [r.first.value for r in folder.pairs] == [
        "both acceptable",
        "A better",
        "A better",
        "both acceptable",
    ]


def test_rows_that_are_no_conversations_are_named(chart, tmp_path):
    rows = [{"id": "c", "messages": [say(HELLO)]}, {"prompt": "Hi", "chosen": "a", "rejected": "b"}]
    (tmp_path / "bot.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(HalignError, match=r"bot\.jsonl"):
        judged(tmp_path / "bot.jsonl", "--judge", f"chart:{chart}", "--output", tmp_path / "out")


def test_a_persona_sheet_is_a_rubric(tmp_path):
    """The judge finds what mentions a language model out of character, and all else fine."""
    sheet = tmp_path / "ada.yaml"
    sheet.write_text(SHEET)
    bot = conversations(tmp_path / "bot.jsonl", ["At nine.", "I am a language model."])

    def grade(question):
        return 0 if "steps out of the part, or" in question and "I am a language model" in question else 1

    with Server(saying(lambda x, y: 1, grade)) as server:
        more = ("--rubric", f"persona:{sheet}", "--output", tmp_path / "out")
        judged(bot, "--judge", f"llm:m@{server.url}", *more)
        questions = [last(b) for b in server.bodies]
    found = Judged.read(tmp_path / "out")
    by_dimension = {
        d: [r.value for r in found.grades if r.dimension == d] for d in found.facts["judges"][0]["dimensions"]
    }
    assert by_dimension == {
        "in_character": [1.0, 0.0],
        "within_knowledge": [1.0, 1.0],
        "in_voice": [1.0, 1.0],
    }
    assert any("her timetable" in q and "Reply:\nAt nine." in q for q in questions)
    with pytest.raises(HalignError, match=r"a persona sheet is a rubric.*--rubric persona:"):
        find_judge(f"persona:{sheet}")
    with pytest.raises(HalignError, match=r"persona nobody\.yaml cannot be read"):
        find_judge("llm:m@http://localhost:1", ["persona:nobody.yaml"])
    with pytest.raises(HalignError, match="rubrics are for language models"):
        find_judge(f"chart:{sheet}", [f"persona:{sheet}"])


DATA = Path(os.environ.get("HALIGN_DATA", "/nowhere"))


@pytest.mark.skipif(not (DATA / "care/star_test.jsonl.gz").exists(), reason="needs $HALIGN_DATA with STAR")
def test_on_the_command_line_as_in_python(tmp_path):
    with gzip.open(DATA / "care/star_test.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(60), strict=False)]
    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps(r) + "\n" for r in rows))
    charts = DATA / "guidelines/star_tasks.json"
    judged(few, "--judge", f"chart:{charts}", "--output", tmp_path / "out")
    told = [r for r in Judged.read(tmp_path / "out").grades if r.value is not None]
    judge = FlowChartJudge(charts)
    found = following(
        (r["id"], judge.follow(Dialogue.of(r["messages"], meta={"tasks": r["tasks"]}))) for r in rows
    )
    assert share([bool(r.value) for r in told], [r.conversation for r in told]) == found.allowed
