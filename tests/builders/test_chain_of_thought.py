"""Reasoning and answer taken apart, and prompts with worked examples, by hand."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from halign.builders import chain_of_thought
from halign.builders.chain_of_thought import BUILDER, divided
from halign.cli.main import app
from halign.errors import HalignError
from halign.readers import write_rows
from tests.builders.helpers import agent, lines, run, user


def row(name, answer):
    return {"id": name, "messages": [user(f"How many {name}?"), agent(answer)]}


ROWS = [row("a", "1 + 1 = <<1+1=2>>2 a.\n#### 2"), row("b", "It is 3.\n#### 1,300."), row("c", "7 #### 7")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so\n#### 4", ("so", "4")),
        ("one #### of two #### 4.", ("one #### of two", "4")),
        ("#### 4", None),
        ("so 4", None),
        ("so ####", None),
    ],
)
def test_divided(text, found):
    assert divided(text, "####") == found


def test_zero_shots(tmp_path):
    rows = [*ROWS, row("d", "No mark")]
    report, built = run(BUILDER, tmp_path, rows, {"trigger": "Let's think step by step."})
    assert built[0]["messages"] == [
        user("How many a?\nLet's think step by step."),
        agent("1 + 1 = 2 a. The answer is 2."),
    ]
    assert built[1]["messages"][1] == agent("It is 3. The answer is 1,300.")
    assert built[1]["answer"] == "1,300"
    assert report.dropped == {chain_of_thought.UNMARKED: 1}


def test_shots(tmp_path):
    _, built = run(BUILDER, tmp_path, ROWS[:2], {"shots": 1})
    assert built[0]["messages"] == [
        user("Q: How many b?\nA: It is 3. The answer is 1,300.\n\nQ: How many a?\nA:"),
        agent("1 + 1 = 2 a. The answer is 2."),
    ]
    assert [p["row"] for p in built[0]["lineage"]["parents"]] == [1, 2]
    _, built = run(BUILDER, tmp_path, ROWS, {"shots": 2, "reason": False}, "b.jsonl")
    asked = built[2]["messages"][0]["content"]
    assert asked.endswith("\n\nQ: How many c?\nA:")
    assert {"Q: How many a?\nA: The answer is 2.", "Q: How many b?\nA: The answer is 1,300."} == set(
        asked.split("\n\n")[:2]
    )
    assert built[2]["messages"][1] == agent("The answer is 7.")


def test_too_few_to_show(tmp_path):
    with pytest.raises(HalignError, match=f"3 {chain_of_thought.LONELY}"):
        run(BUILDER, tmp_path, ROWS, {"shots": 3})


def test_columns_of_other_names(tmp_path):
    """GSM8K's own columns, by the command line."""
    write_rows([{"question": "How many?", "answer": "1 + 1 = 2\n#### 2"}], tmp_path / "in.jsonl")
    asked = ["data", "build", "chain_of_thought", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(app, [*asked, "--columns", "user=question,assistant=answer"])
    assert done.exit_code == 0, done.output
    (built,) = lines(tmp_path / "out.jsonl")
    refused = CliRunner().invoke(
        app, [*asked[:2], "promptsource", *asked[3:], "template=a ||| b", "--columns", "user=question"]
    )
    assert "which reads its file in its own way" in str(refused.exception) + refused.output
    assert built["messages"] == [user("How many?"), agent("1 + 1 = 2 The answer is 2.")]
