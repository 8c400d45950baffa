"""Which queries depend on their context, by hand and by log-probability; what the writer is asked; which negatives stay."""

from __future__ import annotations

import pytest

from halign.builders import capo
from halign.builders.capo import BUILDER, Negative, Query, depending, verified
from halign.builders.contract import Made
from halign.builders.dependence import alone, follows_context, gains
from halign.builders.tools import Tools
from halign.builders.turns import turns
from halign.builders.writers import EndpointWriter, LocalWriter
from halign.curation.source import RowSource
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.judges.yes_no import EndpointYesNo
from halign.likelihood import as_path, make_renderer, path_logps
from halign.llm import Endpoint
from halign.readers import write_rows
from halign.sampling import TransformersSampler
from tests.builders.helpers import Says, Thinks, agent, part, run, user
from tests.llm.server import Server, last

TALK = {
    "id": "c",
    "guardrails": ["Be kind."],
    "messages": [
        {"role": "system", "content": "A shop."},
        user("Where is my order?"),
        agent("It left on Monday."),
        user("And when will it be here?"),
        agent("On Thursday."),
    ],
}
OTHER = {"id": "d", "messages": [user("Hi"), agent("Hello."), user("Bye"), agent("Goodbye.")]}
SINGLE = {"id": "s", "messages": [user("Hi"), agent("Hello.")]}
NEEDED = "does one have to know"


def judge(depends, better=1.0):
    """``depends``: last message -> P; ``better``: P(the data's reply is the better one), alike in both orders."""

    def chance(question):
        if NEEDED in question:
            return depends[part(question, "Last message:", "To understand")]
        own = part(question, "Reply 1:", "Reply 2:") in ("On Thursday.", "Goodbye.")
        return better if own else 1 - better

    return Thinks(chance)


def test_what_follows_a_context():
    of = Dialogue.of
    assert follows_context(of([user("a"), agent("b"), user("c")]))
    assert not follows_context(of([user("a")]))
    assert not follows_context(of([user("a"), user("b")]))
    assert not follows_context(of([user("a"), agent("b")]))
    d = of(TALK["messages"][:4], guardrails=("Be kind.",))
    assert [m.content for m in alone(d).messages] == ["A shop.", "And when will it be here?"]
    assert alone(d).guardrails == ("Be kind.",)


def test_the_judge_finds_the_queries(tmp_path):
    thinks = judge({"And when will it be here?": 0.9, "Bye": 0.5})
    report, rows = run(
        BUILDER, tmp_path, [TALK, OTHER, SINGLE], {"strategies": ["misunderstanding"]}, judge=thinks
    )
    (row,) = rows
    assert [m["content"] for m in row["prompt"]] == [m["content"] for m in TALK["messages"][:4]]
    assert row["chosen"] == [agent("On Thursday.")]
    assert row["rejected"] == [agent("It left on Monday.")]  # from another part of the conversation
    assert (row["strategy"], row["depends"]) == ("misunderstanding", 0.9)
    assert row["lineage"]["replies"] == ["judge 0.9", "judge 1.0", "judge 0.0"]
    assert report.dropped == {capo.BARE: 3, capo.FREE: 1}
    asked = next(q for q in thinks.asked if NEEDED in q)
    assert "assistant: It left on Monday." in asked
    assert "On Thursday" not in asked


def test_what_the_writer_is_asked(tmp_path):
    writer = Says(lambda prompt, k: f"{len(prompt)} {prompt.messages[-1].content[-25:]}")
    _, rows = run(BUILDER, tmp_path, [TALK], writer=writer)
    neglect, invent, mistake = writer.asked
    assert [m.content for m in neglect.messages] == ["A shop.", "And when will it be here?"]
    assert invent.messages[-1].content == f"And when will it be here?\n\n({capo.INVENT})"
    assert [m.content for m in invent.messages[:-1]] == ["A shop."]
    assert [m.content for m in mistake.messages[:-1]] == [m["content"] for m in TALK["messages"][:3]]
    assert mistake.messages[-1].content == f"And when will it be here?\n\n({capo.MISTAKE})"
    assert [r["strategy"] for r in rows] == ["neglect", "hallucination", "misunderstanding"]
    # the pair itself is asked as the data has it, whatever the writer was told
    assert all(r["prompt"][-1]["content"] == "And when will it be here?" for r in rows)
    assert all(r["guardrails"] == ["Be kind."] for r in rows)


def test_rules_alone(tmp_path):
    settings = {"strategies": ["neglect", "misunderstanding", "random"]}
    report, rows = run(BUILDER, tmp_path, [TALK, OTHER], settings)
    assert report.dropped == {capo.NO_WRITER: 2, capo.BARE: 2}
    found = {(r["conversation"], r["strategy"]): r["rejected"][0]["content"] for r in rows}
    assert found["c", "misunderstanding"] == "It left on Monday."
    assert found["d", "misunderstanding"] == "Hello."
    assert found["c", "random"] in ("Hello.", "Goodbye.")
    assert found["d", "random"] in ("It left on Monday.", "On Thursday.")


def test_one_strategy_a_query(tmp_path):
    rows = [{**OTHER, "id": f"{i}"} for i in range(12)]
    settings = {"strategies": ["misunderstanding", "neglect"], "each": "one"}
    _, built = run(BUILDER, tmp_path, rows, settings, writer=Says(lambda prompt, k: f"said {len(prompt)}"))
    assert len(built) == 12
    assert {r["strategy"] for r in built} == {"misunderstanding", "neglect"}


@pytest.mark.parametrize(
    ("words", "why"),
    [(" on THURSDAY.", capo.SAME), ("", capo.SAME), ("Later ...", "replies that were cut off")],
)
def test_negatives_that_will_not_do(tmp_path, words, why):
    writer = Says(lambda prompt, k: "No." if prompt.messages[-1].content == "Bye" else words)
    report, rows = run(BUILDER, tmp_path, [TALK, OTHER], {"strategies": ["neglect"]}, writer=writer)
    assert report.dropped == {why: 1, capo.BARE: 2}
    assert [r["conversation"] for r in rows] == ["d"]


@pytest.mark.parametrize(("better", "count"), [(0.6, 2), (0.5, 0), (0.4, 0)])
def test_the_judge_verifies(tmp_path, better, count):
    thinks = judge({"And when will it be here?": 0.9, "Bye": 0.9}, better)
    settings = {"strategies": ["misunderstanding"]}
    if not count:
        with pytest.raises(HalignError, match=f"2 {capo.NO_WORSE}"):
            run(BUILDER, tmp_path, [TALK, OTHER], settings, judge=thinks)
        return
    _, rows = run(BUILDER, tmp_path, [TALK, OTHER], settings, judge=thinks)
    assert len(rows) == count


def plain_gain(policy, prompt, reply):
    """Token by token, each prompt apart."""
    renderer = make_renderer(policy)
    whole, bare = (as_path(renderer, p, reply) for p in (prompt, alone(prompt)))
    with_it, without = (path_logps(policy, [p], separate=True)[0] for p in (whole, bare))
    assert len(with_it) == len(without)
    return float((with_it - without).mean())


def prompts():
    return [Dialogue.of(TALK["messages"][:4]), Dialogue.of(OTHER["messages"][:3])]


def test_gain_a_token(policy):
    asked = [
        (p, Message("assistant", w))
        for p, w in zip(prompts(), ("On Thursday.", "Goodbye, and thank you."), strict=True)
    ]
    assert gains(policy, asked) == pytest.approx([plain_gain(policy, p, r) for p, r in asked], abs=1e-4)


def test_by_log_probability(tmp_path, policy):
    """A local model tells the queries: those to whose reply the context brings more than the threshold."""
    rows = [{"id": n, "messages": t["messages"]} for n, t in (("c", TALK), ("d", OTHER))]
    replies = ("On Thursday.", "Goodbye.")
    own = [plain_gain(policy, p, Message("assistant", r)) for p, r in zip(prompts(), replies, strict=True)]
    settings = {"strategies": ["random"], "gain": sum(own) / 2, "skip_failed": True}
    tools = Tools(writer=LocalWriter(TransformersSampler(policy), "fingerprint"))
    write_rows(rows, tmp_path / "in.jsonl")
    queries = [
        Query(t, t.replies[0]) for t in turns(RowSource(tmp_path / "in.jsonl")) if follows_context(t.prompt)
    ]
    (query,) = depending(queries, BUILDER.settings(**settings), tools)
    assert query.turn.conversation == "cd"[own.index(max(own))]
    assert query.columns["gain"] == pytest.approx(max(own), abs=1e-4)
    # and of its negatives those stay to which the context brings less than to the reply
    texts = ["Hello.", "It left on Monday.", "No", "Thursday", "refund exchange", "Good", "On Thursday, bye."]
    brought = [plain_gain(policy, query.turn.prompt, Message("assistant", w)) for w in texts]
    expected = [w for w, g in zip(texts, brought, strict=True) if g < max(own)]
    made = Made()
    kept = verified([Negative(query, "random", w) for w in texts], BUILDER.settings(**settings), tools, made)
    assert [n.text for n in kept] == expected
    assert 0 < len(expected) < len(texts)
    assert made.dropped == {capo.NO_WORSE: len(texts) - len(expected)}


def test_behind_an_endpoint(tmp_path):
    with Server(
        lambda body, before: f"{len(body['messages'])} 2" if "number" not in last(body) else "1"
    ) as server:
        endpoint = Endpoint(server.url, "m")
        thinks = EndpointYesNo(endpoint, read="samples")
        # it says yes to everything: every query depends, and no reply is better than its negative
        with pytest.raises(HalignError, match=capo.NO_WORSE):
            run(BUILDER, tmp_path, [TALK], writer=EndpointWriter(endpoint), judge=thinks)
        _, rows = run(BUILDER, tmp_path, [TALK], name="b.jsonl", writer=EndpointWriter(endpoint))
    assert [r["rejected"][0]["content"] for r in rows] == ["2 2", "2 2", "4 2"]


@pytest.mark.parametrize("test", ["judge", "logps", "both"])
def test_tests_that_need_what_is_not_there(tmp_path, test):
    with pytest.raises(HalignError, match=f"test={test} needs"):
        run(BUILDER, tmp_path, [TALK], {"test": test})


def test_a_writer_that_follows_no_instructions_is_asked_the_query_alone(tmp_path):
    """Misunderstanding goes by rule then, and there is no hallucination; nobody is told to be wrong."""
    writer = Says(lambda p, k: "It depends.")
    settings = {"test": "none", "instructed": False}
    report, rows = run(BUILDER, tmp_path, [TALK], settings, writer=writer)
    (asked,) = writer.asked
    assert [m.content for m in asked.messages] == ["A shop.", "And when will it be here?"]
    found = {r["strategy"]: r["rejected"] for r in rows}
    assert {k: v[-1]["content"] if isinstance(v, list) else v for k, v in found.items()} == {
        "neglect": "It depends.",
        "misunderstanding": "It left on Monday.",
    }
    assert report.dropped[capo.NO_WRITER] == 1
