"""What is translated before and after the answer, and what is left out."""

from __future__ import annotations

import pytest

from halign.builders import multilingual
from halign.builders.multilingual import BUILDER
from halign.builders.writers import EndpointWriter
from halign.errors import HalignError
from halign.llm import Endpoint
from tests.builders.helpers import Says, agent, run, user
from tests.llm.server import Server, last

TALK = {"id": "c", "messages": [user("Hi"), agent("Hello"), user("Who?"), agent("Ann")]}
GERMAN = {"language": "German"}


def writer(**changes):
    """Translates by putting "de:" before a text, and answers with the number of messages shown."""

    def words(prompt, k):
        text = prompt.messages[-1].content
        if text.startswith("Translate the text below into German"):
            text = text.partition("\n\n")[2]
            return changes.get(text, f"de:{text}")
        return changes.get("answer", f"answer {len(prompt)} to {text}")

    return Says(words)


def test_post_answering(tmp_path):
    says = writer()
    _, rows = run(BUILDER, tmp_path, [TALK], GERMAN, writer=says)
    assert [[m["content"] for m in r["messages"]] for r in rows] == [
        ["de:Hi", "answer 1 to de:Hi"],
        ["de:Hi", "de:Hello", "de:Who?", "answer 3 to de:Who?"],
    ]
    assert [r["turns"] for r in rows] == [[1], [3]]
    assert (rows[0]["language"], rows[0]["way"]) == ("German", "post_answering")
    assert len(says.asked) == 3 + 2  # each text is translated once
    assert rows[0]["lineage"]["replies"] == ["key de:Hi", "key answer 1 to de:Hi"]


def test_post_translating(tmp_path):
    settings = {**GERMAN, "way": "post_translating"}
    _, given = run(BUILDER, tmp_path, [TALK], settings, writer=writer())
    assert [[m["content"] for m in r["messages"]] for r in given] == [
        ["de:Hi", "de:Hello"],
        ["de:Hi", "de:Hello", "de:Who?", "de:Ann"],
    ]
    _, own = run(BUILDER, tmp_path, [TALK], {**settings, "answers": "written"}, "b.jsonl", writer=writer())
    assert [r["messages"][-1]["content"] for r in own] == ["de:answer 1 to Hi", "de:answer 3 to Who?"]


def test_prompts_without_an_answer(tmp_path):
    rows = [{"id": "p", "prompt": [user("Why?")]}]
    _, (row,) = run(BUILDER, tmp_path, rows, GERMAN, writer=writer())
    assert row["messages"] == [user("de:Why?"), agent("answer 1 to de:Why?")]
    with pytest.raises(HalignError, match=f"1 {multilingual.UNANSWERED}"):
        run(BUILDER, tmp_path, rows, {**GERMAN, "way": "post_translating"}, "b.jsonl", writer=writer())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Why?": " why?"}, multilingual.UNTRANSLATED),
        ({"Why?": ""}, multilingual.UNTRANSLATED),
        ({"Why?": "Warum ..."}, "replies that were cut off"),
    ],
)
def test_left_out(tmp_path, changes, why):
    rows = [{"id": w, "prompt": [user(w)]} for w in ("Why?", "How?")]
    report, built = run(BUILDER, tmp_path, rows, GERMAN, writer=writer(**changes))
    assert report.dropped == {why: 1}
    assert [r["conversation"] for r in built] == ["How?"]


def test_behind_an_endpoint(tmp_path):
    with Server(lambda body, before: f"de {last(body)[-4:]}") as server:
        _, rows = run(BUILDER, tmp_path, [TALK], GERMAN, writer=EndpointWriter(Endpoint(server.url, "m")))
        assert len(server.bodies) == 5
    assert rows[1]["messages"][2]["content"] == "de Who?"


def test_the_language_is_required(tmp_path):
    with pytest.raises(ValueError, match="language"):
        run(BUILDER, tmp_path, [TALK], writer=writer())
