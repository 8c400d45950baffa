"""Every form of a row becomes the example it says, with exact values."""

from __future__ import annotations

import pytest

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Preference, Ranking, Rating
from halign.readers import read, read_prompts, write_jsonl

USER = {"role": "user", "content": "My mug broke."}
ASK = {"role": "assistant", "content": "May I have the order number?"}
PAY = {"role": "assistant", "content": "You get your money back."}
U, A, P = (
    Message("user", "My mug broke."),
    Message("assistant", ASK["content"]),
    Message("assistant", PAY["content"]),
)


def one(row, **options):
    data = read([row], **options)
    assert len(data) == 1
    return data[0]


def test_messages_are_a_demonstration_of_every_turn():
    e = one({"id": "c", "messages": [USER, ASK], "guardrails": ["Be kind."], "domain": "shop", "weight": 2})
    assert e == Demonstration(Dialogue((U, A), ("Be kind.",), meta={"domain": "shop"}), "c", None, 2.0)


def test_messages_with_turns_teach_only_those():
    assert one({"id": "c", "messages": [USER, ASK, USER, PAY], "turns": [3]}).turns == (3,)


@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: [m], lambda m: m["content"], lambda m: [m["content"]]]
)
def test_replies_may_be_a_list_a_message_or_a_string(wrap):
    e = one({"id": "c", "prompt": [USER], "chosen": wrap(ASK), "rejected": wrap(PAY)})
    assert e == Preference(Dialogue((U,)), A, P, "c")


def test_pair_takes_its_optional_numbers():
    row = {
        "id": "c",
        "prompt": [USER],
        "chosen": ASK,
        "rejected": PAY,
        "preference": 0.75,
        "violates": "No refunds.",
    }
    e = one({**row, "chosen_win_rate": 0.9, "rejected_win_rate": 0.2, "weight": 0.5, "margin": 3})
    assert (e.preference, e.chosen_win_rate, e.rejected_win_rate, e.weight) == (0.75, 0.9, 0.2, 0.5)
    assert e.violates == "No refunds."
    assert e.prompt.meta == {"margin": 3}


def test_plain_pair_is_raw_text():
    e = one({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."})
    assert e.prompt.messages == (Message(RAW, "The sky is"),)
    assert (e.chosen, e.rejected) == (Message(RAW, " blue."), Message(RAW, " green."))


def test_pair_without_prompt_shares_its_first_messages():
    e = one({"chosen": [USER, ASK, USER, ASK], "rejected": [USER, ASK, USER, PAY]})
    assert e.prompt.messages == (U, A, U)
    assert (e.chosen, e.rejected) == (A, P)


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is black.", "The sky is"),  # no word is cut in half
        (
            "\n\nHuman: Hi\n\nAssistant: I am A",
            "\n\nHuman: Hi\n\nAssistant: I am B",
            "\n\nHuman: Hi\n\nAssistant:",
        ),
    ],
)
def test_plain_pair_without_prompt_is_cut_where_a_reply_or_word_begins(chosen, rejected, prompt):
    e = one({"chosen": chosen, "rejected": rejected}, format="pairs")
    assert e.prompt.messages == (Message(RAW, prompt),)
    assert (e.chosen.content, e.rejected.content) == (chosen[len(prompt) :], rejected[len(prompt) :])


def test_ranking_by_rank_is_sorted_best_first_and_keeps_ties_in_order():
    said = [
        {"content": "c", "rank": 2},
        {"content": "a", "rank": 1},
        {"content": "b", "rank": 2, "source": "x"},
    ]
    e = one({"id": "c", "prompt": [USER], "responses": said})
    assert e == Ranking(
        Dialogue((U,)),
        (Message("assistant", "a"), Message("assistant", "c"), Message("assistant", "b", {"source": "x"})),
        (1, 2, 2),
        "c",
    )


def test_ranking_by_score_has_ranks_from_scores():
    said = [{"content": "a", "score": 0.5}, {"content": "b", "score": 2}, {"content": "c", "score": 0.5}]
    e = one({"prompt": [USER], "responses": [*said, {"content": "d", "score": -1}]})
    assert [m.content for m in e.responses] == ["b", "a", "c", "d"]
    assert e.ranks == (1, 2, 2, 4)
    assert e.scores == (2.0, 0.5, 0.5, -1.0)


@pytest.mark.parametrize("kind", ["rank", "score"])
def test_a_partial_ranking_keeps_what_nobody_placed_apart(kind, tmp_path):
    said = [{"content": "x", kind: None}, {"content": "b", kind: 1}, {"content": "a", kind: 2}]
    e = one({"id": "c", "prompt": [USER], "responses": said})
    assert {m.content for m in e.responses} == {"a", "b"}
    assert [m.content for m in e.unranked] == ["x"]
    write_jsonl([e], tmp_path / "again.jsonl")
    assert list(read(tmp_path / "again.jsonl")) == [e]


@pytest.mark.parametrize(("label", "good"), [(True, True), (False, False), (1, True), (0, False)])
@pytest.mark.parametrize("name", ["completion", "response"])
def test_single(name, label, good):
    assert one({"id": "c", "prompt": [USER], name: ASK, "label": label}) == Rating(
        Dialogue((U,)), A, good, "c"
    )


def test_prompt_and_completion_teach_the_completion():
    e = one({"prompt": [USER], "completion": [ASK]})
    assert (e.dialogue.messages, e.turns) == ((U, A), (1,))
    e = one({"prompt": "2+2=", "completion": "4"})
    assert (e.dialogue.messages, e.turns) == ((Message(RAW, "2+2="), Message(RAW, "4")), (1,))
    tool = {"role": "tool", "content": "{}"}
    assert one({"prompt": [USER], "completion": [ASK, tool, PAY]}).turns == (1, 3)


def test_text():
    e = one({"text": "Once upon a time"})
    assert (e.dialogue.messages, e.turns) == ((Message(RAW, "Once upon a time"),), None)


def test_conversation_with_alternatives():
    other = {"content": PAY["content"], "rank": 2, "violates": "No refunds."}
    row = {
        "id": "c",
        "guardrails": ["No refunds."],
        "messages": [USER, {**ASK, "alternatives": [other]}, USER, ASK],
    }
    dialogue = Dialogue((U, A, U, A), ("No refunds.",))
    assert one(row) == Conversation(dialogue, "c", {1: (Alternative(P, rank=2, violates="No refunds."),)})


def test_a_conversation_without_alternatives_stays_one_in_its_file():
    data = read([{"id": "a", "messages": [USER, {**ASK, "alternatives": [{**PAY, "label": False}]}]},
                 {"id": "b", "messages": [USER, ASK]}])  # fmt: skip
    assert data[0].alternatives[1][0].label is False
    assert data[1] == Conversation(Dialogue((U, A)), "b", {})


def test_guardrails_may_stand_in_another_column_or_in_one_text():
    row = {"messages": [USER, ASK], "policy": "Be kind.\n\nBe brief.\n"}
    e = one(row, guardrails="policy")
    assert (e.dialogue.guardrails, e.dialogue.meta) == (("Be kind.", "Be brief."), {})
    assert one(row).dialogue.guardrails == ()


def test_tools_nulls_text_parts_and_tool_calls():
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}], "name": None}
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    e = one({"messages": [parts, call, ASK], "tools": '[{"name": "f"}]', "prompt": None})
    assert e.dialogue.tools == ({"name": "f"},)
    assert e.dialogue.messages[:2] == (
        Message("user", "ab"),
        Message("assistant", "", {"tool_calls": [{"name": "f"}]}),
    )


# -- which conversation a row is from ------------------------------------------------------------------------


def names(rows, **options):
    return [e.conversation for e in read(rows, **options)]


def pair(prompt, **more):
    return {"prompt": prompt, "chosen": ASK, "rejected": PAY, **more}


def test_conversation_column_id_and_pattern():
    assert names([pair([USER], id="x-a", conversation="c")]) == ["c"]
    assert read([pair([USER], id="x-a", conversation="c")])[0].prompt.meta == {"id": "x-a"}
    assert names([pair([USER], id=7)]) == ["7"]
    assert names([pair([USER], id="x-a", dialog="d")], conversation="dialog") == ["d"]
    assert names([pair([USER], id="star-10-4")], conversation_pattern=r"^(star-\d+)-") == ["star-10"]
    assert names([pair([USER], id="star-10-4")], conversation_pattern=r"star-\d+") == ["star-10"]


def test_ids_of_turns_are_grouped_only_if_the_prompts_continue_each_other():
    nested = [
        pair([USER], id="star-10-1"),
        pair([USER, ASK, USER], id="star-10-3"),
        pair([USER], id="star-11-1"),
    ]
    data = read(nested)
    assert [e.conversation for e in data] == ["star-10", "star-10", "star-11"]
    assert data[0].prompt.meta == {"id": "star-10-1"}
    other = {"role": "user", "content": "Hello"}
    assert names([pair([USER], id="hh-0"), pair([other], id="hh-1")]) == ["hh-0", "hh-1"]
    assert names([pair([USER], id="hh-0"), pair([USER], id="hh-1")]) == ["hh-0", "hh-1"]
    assert names(nested, conversation="id") == ["star-10-1", "star-10-3", "star-11-1"]


def test_without_a_name_rows_that_open_alike_are_one_conversation():
    a, b, c = names([pair([USER]), pair([USER, ASK, USER]), pair([{"role": "user", "content": "Hello"}])])
    assert a == b != c
    whole = names([{"messages": [USER, ASK]}, {"messages": [USER, PAY]}])
    assert whole[0] != whole[1]


# -- prompts -------------------------------------------------------------------------------------------------


def test_prompts_alone_are_read_by_read_prompts_only():
    rows = [{"id": "c", "prompt": [USER], "guardrails": ["Be kind."]}]
    assert read_prompts(rows) == [Dialogue((U,), ("Be kind.",), meta={"conversation": "c"})]
    with pytest.raises(HalignError, match=r"read_prompts\(\)"):
        read(rows)


def test_prompts_of_other_formats_are_distinct():
    assert [d.messages for d in read_prompts([pair([USER], id="a"), pair([USER], id="a")])] == [(U,)]
    found = read_prompts([{"id": "c", "messages": [USER, ASK, USER, PAY]}])
    assert [d.messages for d in found] == [(U,), (U, A, U)]
