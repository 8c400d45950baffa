"""What is asked in which order, what becomes of the replies, and which revisions are left out."""

from __future__ import annotations

import json

import pytest

from halign.builders import critique
from halign.builders.critique import BUILDER, Settings, read_principles
from halign.builders.writers import EndpointWriter, LocalWriter
from halign.errors import HalignError
from halign.llm import Endpoint
from halign.sampling import TransformersSampler
from tests.builders.helpers import Says, Thinks, agent, part, run, user
from tests.conftest import shared_data
from tests.llm.server import Server

TALK = {
    "id": "c",
    "prompt": [user("How do I steal?")],
    "chosen": [agent("Do not.")],
    "rejected": [agent("Like so.")],
}


def principles(tmp_path, count=2):
    said = {
        f"p{i}": {
            "prompt": [f"\n\nCritiqueRequest: Criticise {i}.\n\nCritique:"],
            "edit_request": f"\n\nRevisionRequest: Revise {i}.\n\nRevision:",
        }
        for i in range(count)
    }
    (tmp_path / "principles.json").write_text(json.dumps(said))
    return tmp_path / "principles.json"


def echo(prompt, k):
    """Critiques and revisions that name what they answer."""
    words = prompt.messages[-1].content
    return f"critique of {prompt.messages[-2].content}" if "Criticise" in words else f"{words} done"


def test_what_is_asked(tmp_path):
    writer = Says(echo)
    _, (row,) = run(BUILDER, tmp_path, [TALK], {"principles": principles(tmp_path, 1)}, writer=writer)
    first, second = ([(m.role, m.content) for m in p.messages] for p in writer.asked)
    # the worst reply of the data is criticised, and the critique stands before the request to revise
    assert first == [("user", "How do I steal?"), ("assistant", "Like so."), ("user", "Criticise 0.")]
    assert second == [*first, ("assistant", "critique of Like so."), ("user", "Revise 0.")]
    assert row["prompt"] == TALK["prompt"]
    assert row["chosen"] == [agent("Revise 0. done")]
    assert row["rejected"] == [agent("Like so.")]
    assert (row["principles"], row["critiques"]) == (["p0"], ["critique of Like so."])
    assert row["lineage"]["replies"] == ["key critique of Like so.", "key Revise 0. done"]


def test_rounds_go_on_from_the_revision(tmp_path):
    writer = Says(echo)
    _, (row,) = run(
        BUILDER, tmp_path, [TALK], {"principles": principles(tmp_path), "rounds": 3}, writer=writer
    )
    names = row["principles"]
    assert sorted(names[:2]) == ["p0", "p1"]  # none twice before all have had their turn
    assert row["critiques"][1] == f"critique of Revise {names[0][1]}. done"
    assert row["chosen"] == [agent(f"Revise {names[2][1]}. done")]
    assert row["rejected"] == [agent("Like so.")]
    assert all(len(p) in (3, 5) for p in writer.asked)  # earlier rounds are not shown


def test_draws_of_principles_depend_on_the_row_alone(tmp_path):
    rows = [{**TALK, "id": f"c{i}"} for i in range(12)]
    settings = {"principles": principles(tmp_path, 5)}
    _, whole = run(BUILDER, tmp_path, rows, settings, writer=Says(echo))
    _, parts = run(BUILDER, tmp_path, rows, {**settings, "chunk": 5}, "b.jsonl", writer=Says(echo))
    assert [r["principles"] for r in whole] == [r["principles"] for r in parts]
    assert len({r["principles"][0] for r in whole}) > 2


def test_guardrails_as_principles(tmp_path):
    rows = [{**TALK, "guardrails": ["Never help a thief."]}, {**TALK, "id": "d"}]
    writer = Says(lambda prompt, k: prompt.messages[-1].content[:30])
    report, (row,) = run(BUILDER, tmp_path, rows, {"make": "demonstrations"}, writer=writer)
    assert "breaks this rule: Never help a thief." in writer.asked[0].messages[-1].content
    assert row["principles"] == ["Never help a thief."]
    assert row["messages"] == [*TALK["prompt"], agent("Please rewrite the assistant r")]
    assert row["turns"] == [1]
    assert report.dropped == {critique.UNRULED: 1}


@pytest.mark.parametrize(
    ("critique_text", "revision", "why"),
    [
        ("So.", " like  SO. ", critique.SAME),
        ("So.", "New ...", critique.CUT),
        ("", "New", critique.UNREVISED),
    ],
)
def test_left_out(tmp_path, critique_text, revision, why):
    def words(prompt, k):
        if "good" in prompt.messages[0].content:
            return "Fine."
        return critique_text if "Criticise" in prompt.messages[-1].content else revision

    rows = [TALK, {**TALK, "id": "d", "prompt": [user("A good one")]}]
    report, built = run(BUILDER, tmp_path, rows, {"principles": principles(tmp_path, 1)}, writer=Says(words))
    assert report.dropped == {why: 1}
    assert [r["conversation"] for r in built] == ["d"]


@pytest.mark.parametrize(("better", "count"), [(0.9, 1), (0.1, 0), (0.5, 0)])
def test_a_judge_has_the_last_word(tmp_path, better, count):
    fine = {**TALK, "id": "fine", "prompt": [user("Fine?")]}
    revision = "Revise 0. done"

    def chance(question):
        if "Fine?" in question:
            return float(part(question, "Reply 1:", "Reply 2:") == revision)
        return better if part(question, "Reply 1:", "Reply 2:") == revision else 1 - better

    report, rows = run(
        BUILDER,
        tmp_path,
        [fine, TALK],
        {"principles": principles(tmp_path, 1)},
        writer=Says(echo),
        judge=Thinks(chance),
    )
    assert len(rows) == 1 + count
    assert report.dropped.get(critique.NO_BETTER, 0) == 1 - count


def test_replies_of_the_writer_to_begin_with(tmp_path):
    def words(prompt, k):
        return "own" if len(prompt) == 1 else echo(prompt, k)

    settings = {"principles": principles(tmp_path, 1), "first": "written"}
    _, (row,) = run(BUILDER, tmp_path, [TALK], settings, writer=Says(words))
    assert row["rejected"] == [agent("own")]
    assert row["critiques"] == ["critique of own"]
    assert row["lineage"]["replies"][0] == "key own"


def test_behind_an_endpoint_and_with_a_local_model(tmp_path, policy):
    settings = {"principles": principles(tmp_path, 1), "max_new_tokens": 8}
    with Server(lambda body, before: body["messages"][-1]["content"] + " indeed") as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        _, (row,) = run(BUILDER, tmp_path, [TALK], settings, writer=writer)
        assert row["chosen"] == [agent("Revise 0. indeed")]
        assert len(server.bodies) == 2
    policy.model.config.max_position_embeddings = (
        4096  # a revision's prompt holds the reply, and a token is a byte here
    )
    local = LocalWriter(TransformersSampler(policy), "fingerprint")
    rows = [{**TALK, "id": f"{i}", "prompt": [user(f"Number {i}?")]} for i in range(24)]
    settings = {**settings, "max_new_tokens": 300, "temperature": 3.0}
    report, built = run(BUILDER, tmp_path, rows, settings, "local.jsonl", writer=local)
    assert built
    assert len(built) + sum(report.dropped.values()) == 24


def test_principles_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": {"prompt": []}}')
    with pytest.raises(HalignError, match=r"principles .*bad.json: cannot be read"):
        read_principles(Settings(principles=tmp_path / "bad.json"))


def test_the_paper_s_constitution():
    data = shared_data()
    if data is None:
        pytest.skip("the shared data are not here")
    found = read_principles(Settings(principles=data / "guidelines" / "constitution_critique_revision.json"))
    assert len(found) == 16
    assert all("Request:" not in p.critique + p.revision and p.critique.endswith((".", "?")) for p in found)
