"""Calls of tools, rendered by a template that knows them, learnt, read and written; and templates that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

import halign as hl
from halign.convert import to_pairs, to_singles
from halign.errors import HalignError
from halign.models import Policy
from halign.preflight import check_items
from halign.readers import read, to_row
from halign.render import Renderer
from tests.conditioning.spans import shown
from tests.conftest import make_llama
from tests.templates import tokenizer

TOOL = {
    "type": "function",
    "function": {"name": "find_order", "parameters": {"type": "object", "properties": {}}},
}
ASK = {"role": "user", "content": "Where is order 12?"}
FUNCTION = {"name": "find_order", "arguments": {"number": 12}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": FUNCTION}]}
RESULT = {"role": "tool", "name": "find_order", "content": '{"state": "sent"}'}
ANSWER = {"role": "assistant", "content": "It was sent."}
ROW = {"id": "c", "tools": [TOOL], "messages": [ASK, CALL, RESULT, ANSWER]}
SAID = '<tool_call>\n{"name": "find_order", "arguments": {"number": 12}}\n</tool_call>'


def spans(row: dict[str, Any], family: str = "tools") -> list[str]:
    tok = tokenizer(family)
    return [shown(i.paths[0], tok) for i in Renderer(tok).render(read([row]), "tokens")]


def test_the_call_is_what_is_learnt_and_the_result_is_read() -> None:
    call, answer = spans(ROW)
    start = "<|im_start|>system\n# Tools\n" + json.dumps(TOOL) + "\n<|im_end|>\n"
    start += "<|im_start|>user\nWhere is order 12?<|im_end|>\n<|im_start|>assistant\n"
    assert call == f"{start}⟦{SAID}<|im_end|>⟧"
    assert answer == (
        f"{start}{SAID}<|im_end|>\n<|im_start|>user\n<tool_response>\n"
        '{"state": "sent"}\n</tool_response><|im_end|>\n<|im_start|>assistant\n⟦It was sent.<|im_end|>⟧'
    )


@pytest.mark.parametrize("content", [None, "", "One moment."])
def test_content_may_be_there_or_not(content: str | None) -> None:
    call = spans({**ROW, "messages": [ASK, {**CALL, "content": content}, RESULT, ANSWER]})[0]
    assert call.endswith(f"⟦{content + chr(10) if content else ''}{SAID}<|im_end|>⟧")


def test_arguments_as_text_are_not_quoted_twice() -> None:
    """OpenAI gives them as a string; templates apply ``tojson``."""
    text = {**FUNCTION, "arguments": '{"number": 12}'}
    as_text = {
        **ROW,
        "messages": [ASK, {**CALL, "tool_calls": [{"type": "function", "function": text}]}, RESULT, ANSWER],
    }
    assert spans(as_text) == spans(ROW)
    bare = {**ROW, "messages": [ASK, {**CALL, "tool_calls": [text]}, RESULT, ANSWER]}
    assert spans(bare) == spans(ROW)
    odd = {**FUNCTION, "arguments": "number twelve"}
    broken = {**ROW, "messages": [ASK, {**CALL, "tool_calls": [odd]}, RESULT, ANSWER]}
    assert '"arguments": "number twelve"' in spans(broken)[0]


def test_rows_are_read_and_written() -> None:
    (example,) = read([ROW])
    assert example.dialogue.messages[1].content == ""
    assert example.dialogue.messages[1].extra["tool_calls"] == CALL["tool_calls"]
    assert read([to_row(example)])[0] == example
    for bad in ("find_order", [{"function": {"arguments": {}}}], ["find_order"]):
        with pytest.raises(HalignError, match="tool_calls"):
            read([{**ROW, "messages": [ASK, {**CALL, "tool_calls": bad}]}])
    with pytest.raises(HalignError, match="this message is empty"):
        read([{**ROW, "messages": [ASK, {"role": "assistant", "content": ""}]}])


def test_two_different_calls_are_two_replies() -> None:
    """Both have the same (empty) content."""
    other = {"content": "", "tool_calls": [{"function": {"name": "find_order", "arguments": {"number": 13}}}]}
    mine = {"content": "", "tool_calls": CALL["tool_calls"]}
    ranked = read([{"prompt": [ASK], "responses": [{**mine, "rank": 1}, {**other, "rank": 2}]}])
    assert len(to_pairs(ranked).examples) == 1
    pair = read([{"prompt": [ASK], "tools": [TOOL], "chosen": [mine], "rejected": [other]}])
    tok = tokenizer("tools")
    (item,) = Renderer(tok).render(pair, "pairs")
    assert [shown(p, tok).count("⟦<tool_call>") for p in item.paths] == [1, 1]
    assert len(to_singles(pair).examples) == 2
    talk = {"messages": [ASK, {**CALL, "alternatives": [{**other, "rank": 2}]}]}
    assert len(to_pairs(read([talk])).examples) == 1


@pytest.mark.parametrize("family", ["chatml", "llama3"])
def test_a_template_that_drops_calls_is_not_trained_on(family: str) -> None:
    tok = tokenizer(family)
    renderer = Renderer(tok)
    items = renderer.render(read([ROW]), "tokens")
    assert items == []  # neither the empty call, nor an answer that follows on nothing
    assert renderer.report.left_out == {"refused by the template": 2}
    (finding,) = [f for f in check_items(items, tok, renderer) if f.name == "left_out"]
    assert finding.level == "error"
    assert "renders nothing of the call of 'find_order': it does not know tool_calls" in finding.text
    with pytest.raises(HalignError, match="does not know tool_calls"):
        renderer.prompt(read([ROW])[0].dialogue[:3])


@pytest.mark.parametrize(("family", "unseen"), [("tools", 0), ("chatml", 1)])
def test_tools_that_no_template_writes_are_noted(family: str, unseen: int) -> None:
    tok = tokenizer(family)
    renderer = Renderer(tok)
    items = renderer.render(read([{"id": "c", "tools": [TOOL], "messages": [ASK, ANSWER]}]), "tokens")
    assert (len(items), renderer.report.tools_unseen) == (1, unseen)
    assert sum(f.name == "tools_unseen" for f in check_items(items, tok, renderer)) == unseen


def test_a_prefix_goes_before_a_call() -> None:
    tok = tokenizer("tools")
    renderer = Renderer(tok, response_prefix="Good: ")
    path = renderer.render(read([ROW]), "tokens")[0].paths[0]
    assert shown(path, tok).endswith(f"Good: ⟦\n{SAID}<|im_end|>⟧")


def test_a_run_learns_calls(tmp_path: Any) -> None:
    tok = tokenizer("tools")
    policy = Policy(make_llama(tok), tok, "memory")
    run = hl.train(
        policy,
        read([{**ROW, "id": f"c{i}"} for i in range(4)]),
        "sft",
        output=tmp_path / "run",
        learning_rate=1e-2,
        epochs=8,
        batch_items=4,
        tensorboard=False,
        quiet=True,
    )
    losses = [r["loss"] for r in run.metrics if r["split"] == "train"]
    assert losses[-1] < losses[0] / 2
