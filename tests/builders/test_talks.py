"""Conversations that models have with themselves or each other: self_chat and parrot_ask."""

from __future__ import annotations

import json

import pytest

from halign.builders import parrot_ask, self_chat
from halign.builders.parrot_ask import AskingRenderer, exchanged
from halign.builders.self_chat import conversation
from halign.builders.writers import EndpointWriter, LocalWriter
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.llm import Endpoint
from halign.models import RENDERING
from halign.render import Renderer
from halign.sampling import TransformersSampler
from tests.builders.helpers import Says, agent, run, user
from tests.llm.server import Server


def topic(name, **more):
    return {"id": name, "prompt": [user(f"About {name}?")], **more}


@pytest.mark.parametrize(
    ("text", "finished", "said"),
    [
        ("[Human] a\n[AI] b\nmore\n[Human]: c\n[AI] d", True, ["a", "b\nmore", "c", "d"]),
        ("Here it is:\n[AI] Hi!\n[Human] a\n[AI] b", True, ["a", "b"]),  # begins with the human
        ("[Human] a\n[AI] b\n[Human] c", True, ["a", "b"]),  # nobody answers
        ("[Human] a\n[AI] b\n[Human] c\n[AI] d and", False, ["a", "b"]),  # cut off
        ("[Human] a\n[AI] b\n[Human] c\n[Human] d\n[AI] e", True, ["a", "b"]),  # no longer take turns
        ("[Human] a\n[AI]\n[Human] c\n[AI] d", True, []),
        ("We [Human]s and [AI]s", True, []),  # within a line nobody begins to speak
    ],
)
def test_transcripts(text, finished, said):
    found = conversation(text, finished)
    assert [m.content for m in found] == said
    assert [m.role for m in found] == ["user", "assistant"] * (len(said) // 2)


def test_self_chat(tmp_path):
    talks = {
        "About a?": "[Human] a1\n[AI] a2\n[Human] a3\n[AI] a4",
        "About b?": "[Human] b1\n[AI] b2",
        "About c?": "no",
    }
    writer = Says(lambda p, k: next(v for t, v in talks.items() if f"Topic: {t}" in p.messages[0].content))
    rows = [topic("a", guardrails=["Be kind."]), topic("b"), topic("c")]
    report, (row,) = run(self_chat.BUILDER, tmp_path, rows, {"least": 2}, writer=writer)
    assert row["messages"] == [user("a1"), agent("a2"), user("a3"), agent("a4")]
    assert row["guardrails"] == ["Be kind."]
    assert "- Be kind." in writer.asked[0].messages[0].content
    assert "rules" not in writer.asked[1].messages[0].content
    assert report.dropped == {self_chat.SHORT: 2}
    assert report.tallies == {"exchanges": 2}
    assert len(row["lineage"]["replies"]) == 1


def test_a_conversation_s_topic_is_its_first_query(tmp_path):
    rows = [{"id": n, "messages": [user(f"{n} first"), agent("x"), user("second"), agent("y")]} for n in "ab"]
    writer = Says(lambda p, k: "[Human] q\n[AI] r")
    _, built = run(self_chat.BUILDER, tmp_path, rows, writer=writer)
    assert [
        f"Topic: {n} first\n" in p.messages[0].content for n, p in zip("ab", writer.asked, strict=True)
    ] == [True] * 2
    assert [r["conversation"] for r in built] == ["a", "b"]


def test_roles_are_exchanged():
    dialogue = Dialogue.of([{"role": "system", "content": "s"}, user("a"), agent("b")], guardrails=("g",))
    found = exchanged(dialogue)
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", parrot_ask.PLAY),
        ("user", parrot_ask.OPENING),
        ("assistant", "a"),
        ("user", "b"),
    ]
    assert found.guardrails == ()


def playing(asks):
    """A writer of both parts: answers count the messages shown, queries come from ``asks`` (their number, from 1)."""

    def words(prompt, k):
        if prompt.messages[0].content != parrot_ask.PLAY:
            return f"answer {len(prompt)}"
        return asks(prompt.messages[2].content, len(prompt) // 2 - 1)

    return Says(words)


def test_both_parts_by_the_writer(tmp_path):
    writer = playing(lambda first, n: {"About b?": "END.", "About c?": "about C?"}.get(first, f"query {n}"))
    report, rows = run(
        parrot_ask.BUILDER, tmp_path, [topic(n) for n in "abc"], {"exchanges": 3}, writer=writer
    )
    assert rows[0]["messages"] == [
        *(user("About a?"), agent("answer 1")),
        *(user("query 1"), agent("answer 3")),
        *(user("query 2"), agent("answer 5")),
    ]
    assert rows[0]["turns"] == [1, 3, 5]
    assert len(rows[0]["lineage"]["replies"]) == 5
    assert [len(r["messages"]) for r in rows] == [6, 2, 2]  # b has nothing more to ask, c repeats itself
    assert report.tallies == {"exchanges": 5}


def test_where_nobody_answers(tmp_path):
    def words(prompt, k):
        if prompt.messages[0].content == parrot_ask.PLAY:
            return "more"
        last = prompt.messages[-1].content
        return "cut ..." if last in ("About a?", "more") else "fine"

    report, rows = run(parrot_ask.BUILDER, tmp_path, [topic("a"), topic("b")], writer=Says(words))
    assert [r["messages"] for r in rows] == [
        [user("About b?"), agent("fine")]
    ]  # the query without an answer goes as well
    assert report.dropped == {parrot_ask.SILENT: 1}


def test_both_behind_an_endpoint(tmp_path):
    def script(body, before):
        first = body["messages"][0]["content"]
        return f"q{len(body['messages'])}" if first == parrot_ask.PLAY else f"a{len(body['messages'])}"

    with Server(script) as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        _, (row,) = run(parrot_ask.BUILDER, tmp_path, [topic("a")], {"exchanges": 2}, writer=writer)
    assert [m["content"] for m in row["messages"]] == ["About a?", "a1", "q4", "a3"]


def test_a_model_that_asks(tmp_path, policy):
    """The asker is shown the conversation as it is, up to the user's turn, and writes that."""
    policy.save(tmp_path / "asker")
    (tmp_path / "asker" / RENDERING).write_text(
        json.dumps(Renderer(policy.tokenizer, roles=("user",)).settings)
    )
    settings = parrot_ask.Settings(asker=tmp_path / "asker", exchanges=2, max_new_tokens=200, temperature=5.0)
    asker = parrot_ask.prepare(settings)
    renderer = asker.sampler.renderer
    assert isinstance(renderer, AskingRenderer)
    dialogue = Dialogue.of([user("Hi"), agent("Hello")])
    assert policy.tokenizer.decode(renderer.prompt(dialogue)).endswith("Hello<|im_end|>\n<|im_start|>user\n")
    rows = [topic(f"{i}") for i in range(6)]
    given = settings.model_dump()
    _, built = run(parrot_ask.BUILDER, tmp_path, rows, given, writer=Says(lambda p, k: f"answer {len(p)}"))
    talks = [r["messages"] for r in built]
    assert max(map(len, talks)) == 4
    asked = next(t for t in talks if len(t) == 4)[2]
    assert asked["role"] == "user"
    assert asked["content"]


def test_a_model_that_was_not_trained_to_ask(tmp_path, policy_folder):
    with pytest.raises(HalignError, match="was not trained on users' turns"):
        parrot_ask.prepare(parrot_ask.Settings(asker=policy_folder))


def test_with_a_local_model(tmp_path, policy):
    writer = LocalWriter(TransformersSampler(policy), "fingerprint")
    settings = {"exchanges": 1, "max_new_tokens": 200}
    _, rows = run(parrot_ask.BUILDER, tmp_path, [topic(f"{i}") for i in range(6)], settings, writer=writer)
    assert all([m["role"] for m in r["messages"]] == ["user", "assistant"] for r in rows)
