"""Every mistake that a row can show is planted here; the error names line and field and the way out."""

from __future__ import annotations

import json

import pytest

from halign.errors import DataError, HalignError
from halign.readers import read

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello"}
BAD = {"role": "assistant", "content": "Go away"}
GOOD = {"id": "g", "prompt": [USER], "chosen": [BOT], "rejected": [BAD]}


def pair(**change):
    return {**GOOD, **change}


def ranked(*responses):
    return {"prompt": [USER], "responses": list(responses)}


def talk(**change):
    return {"messages": [USER, {**BOT, **change}]}


def other(**verdict):
    return talk(alternatives=[{"content": "No", **verdict}])


MISTAKES = [
    # field, what the message says, row
    ("reject", "did you mean 'rejected'", {"prompt": [USER], "chosen": BOT, "reject": BAD}),
    (
        "label",
        "expected true or false (or 1 or 0), found 'good'",
        {"prompt": "a", "completion": "b", "label": "good"},
    ),
    ("label", "found 0.5", {"prompt": "a", "completion": "b", "label": 0.5}),
    ("label", "found 2", {"prompt": "a", "completion": "b", "label": 2}),
    ("lable", "did you mean 'label'?", {"prompt": "a", "completion": "b", "lable": True}),
    (
        "",
        "make no known format; the nearest are messages (lacks 'messages' (did you",
        {"message": [USER, BOT]},
    ),
    ("", "more than one format fits: 'pairs': it has", {**GOOD, "messages": [USER, BOT]}),
    ("images", "only text is supported", pair(images=["x.png"])),
    ("messages", "this list of messages is empty", {"messages": []}),
    ("messages", "expected a list of messages, found a string", {"messages": "Hi"}),
    ("messages", "nothing to learn from", {"messages": [USER]}),
    ("messages[1]", 'expected an object {"role", "content"}, found a string', {"messages": [USER, "Hello"]}),
    (
        "messages[1].content",
        "this message is empty",
        {"messages": [USER, {"role": "assistant", "content": " \n"}]},
    ),
    ("messages[1].content", "found null", {"messages": [USER, {"role": "assistant", "content": None}]}),
    (
        "messages[1].content",
        "did you mean 'content'?",
        {"messages": [USER, {"role": "assistant", "contents": "x"}]},
    ),
    ("messages[0].role", "did you mean 'user'?", {"messages": [{"role": "human", "content": "Hi"}, BOT]}),
    ("messages[0].role", "did you mean 'assistant'?", {"messages": [{"role": "asistant", "content": "Hi"}]}),
    ("messages[0].role", "no such role: ['user']", {"messages": [{"role": ["user"], "content": "Hi"}]}),
    ("messages[0]", "ShareGPT", {"messages": [{"from": "human", "value": "Hi"}]}),
    (
        "messages[0].content",
        "not text",
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, BOT]},
    ),
    ("turns", "message indices from 0 to 1", {"messages": [USER, BOT], "turns": [2]}),
    ("prompt", "this field is missing", {"completion": "b", "label": True}),
    ("prompt", "this prompt is empty", {"prompt": "", "completion": "b"}),
    ("prompt", "share no first message", {"chosen": [USER, BOT], "rejected": [BOT, BAD]}),
    ("chosen", "found 2", {"chosen": [USER, BOT, USER], "rejected": [USER, BAD]}),
    ("rejected", "chosen and rejected are the same", pair(rejected=[BOT])),
    ("rejected", "chosen and rejected are the same", {"chosen": [USER, BOT], "rejected": [USER, BOT]}),
    ("rejected", "chosen and rejected are the same", {"chosen": "a b", "rejected": "a b"}),
    ("chosen", "expected one reply, found a list of 2 messages", pair(chosen=[BOT, BAD])),
    ("chosen[0].role", "a reply comes from the assistant, this one from 'user'", pair(chosen=[USER])),
    ("chosen", "the prompt is plain text but the reply is a message", pair(prompt="Hi", chosen=BOT)),
    ("preference", "in [0, 1], found 1.5", pair(preference=1.5)),
    ("preference", "expected a finite number, found a string", pair(preference="0.5")),
    ("chosen_win_rate", "in [0, 1], found -1", pair(chosen_win_rate=-1)),
    ("weight", "of at least 0, found -1", pair(weight=-1)),
    ("weight", "expected a finite number, found nan", pair(weight=float("nan"))),
    ("weight", "expected a finite number, found true", pair(weight=True)),
    ("id", "expected a name, found a list", pair(id=["a"])),
    ("guardrails", "expected a list of rules", pair(guardrails=3)),
    ("guardrails[1]", "expected a rule in words", pair(guardrails=["Be kind.", ""])),
    ("tools", "not JSON", pair(tools="{")),
    ("meta", "expected an object", pair(meta=[1])),
    (
        "responses",
        "two responses or more with a rank or a score, found 1",
        ranked({"content": "a", "rank": 1}),
    ),
    (
        "responses[0]",
        "expected either rank or score, found both",
        ranked({"content": "a", "rank": 1, "score": 1}, {"content": "b", "rank": 2}),
    ),
    (
        "responses[1]",
        "expected either rank or score, found neither",
        ranked({"content": "a", "rank": 1}, {"content": "b"}),
    ),
    ("responses", "use one of them", ranked({"content": "a", "rank": 1}, {"content": "b", "score": 1})),
    (
        "responses[1].rank",
        "ranks start at 1",
        ranked({"content": "a", "rank": 1}, {"content": "b", "rank": 0}),
    ),
    ("responses[1].rank", "whole number", ranked({"content": "a", "rank": 1}, {"content": "b", "rank": 1.5})),
    (
        "responses[0].content",
        "this message is empty",
        ranked({"content": "", "rank": 1}, {"content": "b", "rank": 2}),
    ),
    ("messages[1].alternatives[0]", "exactly one of rank, score and label, found none", other()),
    ("messages[1].alternatives[0]", "found rank and label", other(rank=2, label=False)),
    ("messages[1].alternatives[0].rank", "ranks start at 1", other(rank=0)),
    (
        "messages[1].alternatives[0].content",
        "the message's own content",
        talk(alternatives=[{"content": "Hello", "rank": 2}]),
    ),
    (
        "messages[1].alternatives",
        "mix label and rank",
        talk(alternatives=[{"content": "a", "rank": 2}, {"content": "b", "label": False}]),
    ),
    (
        "messages[1].alternatives[0].score",
        "above the content's own 1",
        talk(score=1, alternatives=[{"content": "a", "score": 2}]),
    ),
    (
        "messages[0].alternatives",
        "only agent turns",
        {"messages": [{**USER, "alternatives": [{"content": "a", "rank": 2}]}, BOT]},
    ),
    ("", "expected an object with named columns, found a list", [1]),
]


@pytest.mark.parametrize(("field", "says", "row"), MISTAKES, ids=[f"{m[0]}-{m[1][:24]}" for m in MISTAKES])
def test_mistake_is_named_and_can_be_skipped(tmp_path, field, says, row):
    good = row if isinstance(row, dict) and "prompt" not in row and "messages" in row else None
    first = GOOD if good is None else {"messages": [USER, BOT]}
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [first, row, first])) + "\n")
    with pytest.raises(DataError) as e:
        read(path)
    assert (e.value.file, e.value.line, e.value.field) == (str(path), 2, field)
    assert says in str(e.value)
    data = read(path, skip_bad=True)
    assert len(data) == 2
    assert [(s.line, s.field) for s in data.skipped] == [(2, field)]


def test_a_file_holds_one_format():
    with pytest.raises(DataError, match=r"list:2: this row is of the format 'text', line 1 is 'pairs'"):
        read([GOOD, {"text": "x"}])
    data = read([GOOD, {"text": "x"}], skip_bad=True)
    assert (len(data), len(data.skipped)) == (1, 1)


def test_options_that_do_not_fit():
    with pytest.raises(HalignError, match="did you mean 'pairs'"):
        read([GOOD], format="pair")
    with pytest.raises(DataError, match=r"list:1: polcy: this field is missing; the row has 'policy'"):
        read([{**GOOD, "policy": ["Be kind."]}], guardrails="polcy")
    with pytest.raises(HalignError, match="conversation_pattern"):
        read([GOOD], conversation_pattern="(")
    with pytest.raises(DataError, match="'g' does not match conversation_pattern"):
        read([GOOD], conversation_pattern=r"^star-\d+")
    with pytest.raises(DataError, match="conversation_pattern needs a column"):
        read([{k: v for k, v in GOOD.items() if k != "id"}], conversation_pattern="x")


def test_nothing_but_bad_rows_is_an_error_even_when_skipping():
    with pytest.raises(DataError, match="no rows but 1 bad ones, the first: list:1"):
        read([{"messages": []}], skip_bad=True)
    with pytest.raises(DataError, match="no rows"):
        read([])
