"""Rows as their publishers wrote them become the examples that they say, with exact values; why they are taken so is said."""

from __future__ import annotations

import pytest

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import DataError
from halign.examples import Demonstration, Preference, Ranking
from halign.readers import FORMATS, read
from halign.readers.foreign import FOREIGN

HI, HELLO, NO = Message("user", "Hi"), Message("assistant", "Hello"), Message("assistant", "No")
U, A, B = ({"role": m.role, "content": m.content} for m in (HI, HELLO, NO))


def one(row, format, why, **options):
    """The only example; the format found without help is the one expected, and ``why`` says what was seen."""
    data = read([row], **options)
    assert (data.format, len(data)) == (format, 1)
    assert why in data.why
    assert data.why.startswith(FOREIGN[format].title)
    return data[0]


# -- demonstrations ------------------------------------------------------------------------------------------


def test_sharegpt():
    said = [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
    ]
    e = one(
        {"id": "x_0", "conversations": said, "lang": "en"},
        "sharegpt",
        "'conversations' is a list of {'from', 'value'}",
    )
    assert e == Demonstration(
        Dialogue((Message("system", "Be kind."), HI, HELLO), meta={"lang": "en"}), "x_0", None
    )
    e = one({"id": "a", "conversations": [U, A], "system": "Be kind."}, "sharegpt", "{'role', 'content'}")
    assert e.dialogue.messages == (Message("system", "Be kind."), HI, HELLO)


def test_sharegpt_turns_that_are_not_learnt_and_tools():
    said = [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello", "train": False},
        {"from": "human", "value": "Find it"},
        {"from": "function_call", "value": '{"name": "find", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "found"},
        {"from": "gpt", "value": "Here", "weight": 1},
    ]
    e = one({"conversations": said}, "sharegpt", "")
    assert e.turns == (3, 5)
    call = {"type": "function", "function": {"name": "find", "arguments": {"x": 1}}}
    assert e.dialogue.messages[3] == Message("assistant", "", {"tool_calls": [call]})
    assert e.dialogue.messages[4] == Message("tool", "found")


def test_sharegpt_pairs():
    row = {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Hello"}}
    e = one({"id": "p", **row, "rejected": {"from": "gpt", "value": "No"}}, "sharegpt_pairs", "each one turn")
    assert e == Preference(Dialogue((HI,)), HELLO, NO, "p")


def test_alpaca_in_its_template_and_as_chat():
    row = {"instruction": "Add.", "input": "2, 3", "output": "5", "text": "whole"}
    e = one(row, "alpaca", "as plain text (chat messages with --format alpaca_chat)")
    prompt = (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n2, 3\n\n"
        "### Response:"
    )
    assert (e.dialogue.messages, e.turns) == ((Message(RAW, prompt), Message(RAW, "5")), (1,))
    e = one({"instruction": "Add 2, 3.", "input": "", "output": "5"}, "alpaca", "")
    prompt = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd 2, 3.\n\n### Response:"
    )
    assert e.dialogue.messages[0].content == prompt
    e = read([row], format="alpaca_chat")[0]
    assert e.dialogue.messages == (Message("user", "Add.\n\n2, 3"), Message("assistant", "5"))
    row = {**row, "system": "Count.", "history": [["Hi", "Hello"]]}
    e = one(row, "alpaca_chat", "with 'system' or 'history' beside them")
    assert e.dialogue.messages[:3] == (Message("system", "Count."), HI, HELLO)
    assert e.turns == (4,)


def test_openai_fine_tuning_is_canonical():
    row = {
        "messages": [U, {**A, "weight": 0}, U, {**B, "weight": 1}, U, B],
        "functions": [{"name": "find"}],
        "parallel_tool_calls": False,
    }
    data = read([row])
    assert (data.format, data[0].turns) == ("messages", (3, 5))
    assert data[0].dialogue.tools == ({"type": "function", "function": {"name": "find"}},)
    assert data[0].dialogue.meta == {}
    assert all(not m.extra for m in data[0].dialogue.messages)
    call = {"name": "find", "arguments": "{}"}
    e = read([{"messages": [U, {"role": "assistant", "content": None, "function_call": call}]}])[0]
    assert e.dialogue.messages[1].extra == {"tool_calls": [{"type": "function", "function": call}]}
    assert read([{"messages": [U, {**A, "weight": 1}]}])[0].turns is None


def test_openai_preferences():
    row = {"input": {"messages": [U], "tools": [{"name": "f"}], "parallel_tool_calls": True}}
    e = one(
        {**row, "preferred_output": [A], "non_preferred_output": [B]},
        "openai_preferences",
        "'input' holds 'messages'",
    )
    assert (e.prompt.messages, e.prompt.tools, e.chosen, e.rejected) == ((HI,), ({"name": "f"},), HELLO, NO)


def test_ultrachat():
    e = one({"id": "7", "data": ["Hi", "Hello", "Hi", "No"]}, "ultrachat", "'data' is a list of texts")
    assert e == Demonstration(Dialogue((HI, HELLO, HI, NO)), "7", None)
    e = one({"prompt": "Hi", "prompt_id": "f0", "messages": [U, A]}, "ultrachat_200k", "repeats the first")
    assert e == Demonstration(Dialogue((HI, HELLO)), "f0", None)


def test_dolly():
    row = {"instruction": "Who?", "context": "Ann ran.", "response": "Ann", "category": "closed_qa"}
    e = one(row, "dolly", "'instruction' and 'response' are texts")
    assert e.dialogue.messages == (Message("user", "Who?\n\nAnn ran."), Message("assistant", "Ann"))
    assert (e.dialogue.meta, e.turns) == ({"category": "closed_qa"}, (1,))
    assert one({**row, "context": ""}, "dolly", "").dialogue.messages[0].content == "Who?"


# -- ratings and rankings ------------------------------------------------------------------------------------


def completion(text, score, rating, **more):
    marks = {
        "honesty": {"Rating": rating, "Rationale": "r"},
        "helpfulness": {"Type": ["1"], "Rating": "N/A", "Rationale": "r", "Rationale For Rating": "r"},
    }
    return {
        "response": text,
        "model": f"m-{text}",
        "overall_score": score,
        "fine-grained_score": 3.5,
        "critique": f"On {text}",
        "principle": "honesty",
        "custom_system_prompt": "s",
        "annotations": marks,
        **more,
    }


def test_ultrafeedback_is_a_ranking_with_attributes():
    row = {"source": "sharegpt", "instruction": "Hi", "models": ["a", "b", "c"], "correct_answers": ["None"]}
    replies = [completion("a", 6.5, "3"), completion("b", 8, "5"), completion("c", None, "1")]
    replies[0]["annotations"]["honesty"] = [replies[0]["annotations"]["honesty"]]  # as in the older files
    e = one({**row, "completions": replies}, "ultrafeedback", "'completions' is a list of {'response'")
    assert isinstance(e, Ranking)
    assert ([m.content for m in e.responses], e.ranks, e.scores) == (["b", "a"], (1, 2), (8.0, 6.5))
    assert [m.content for m in e.unranked] == ["c"]
    assert e.responses[0].extra == {
        "attributes": {"honesty": 5.0, "fine-grained_score": 3.5},
        "feedback": "On b",
        "source": "m-b",
    }
    assert e.responses[1].extra["attributes"]["honesty"] == 3.0
    assert e.prompt == Dialogue((HI,), meta={"source": "sharegpt", "correct_answers": ["None"]})


def test_ultrafeedback_binarized():
    row = {"prompt": "Hi", "prompt_id": "f0", "chosen": [U, A], "rejected": [U, B], "messages": [U, A]}
    e = one(
        {**row, "score_chosen": 8.5, "score_rejected": 4.0},
        "ultrafeedback_binarized",
        "scored by 'score_chosen'",
    )
    assert e == Preference(
        Dialogue((HI,)),
        Message("assistant", "Hello", {"score": 8.5}),
        Message("assistant", "No", {"score": 4.0}),
        "f0",
    )


FIVE = {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 1}


def test_helpsteer2():
    e = one({"prompt": "Hi", "response": "Hello", **FIVE}, "helpsteer2", "with helpfulness, correctness")
    assert e.dialogue.messages == (HI, Message("assistant", "Hello", {"attributes": FIVE}))
    assert e.turns == (1,)
    several = "Hi\n\n<extra_id_1>Assistant\nHello\n\n<extra_id_1>User\nHi"
    both = read([{"prompt": several, "response": said, **FIVE} for said in ("Hello", "No")])
    assert both[0].dialogue.messages[:3] == (HI, HELLO, HI)
    assert both[0].conversation == both[1].conversation  # two replies to one prompt stay together


@pytest.mark.parametrize(
    ("strength", "chosen", "preference"),
    [(-3, "a", 1.0), (-1, "a", 2 / 3), (0, "a", 0.5), (1, "b", 2 / 3), (2, "b", 5 / 6), (3, "b", 1.0)],
)
def test_helpsteer2_preferences(strength, chosen, preference):
    row = {"split": "train", "prompt": "Hi", "response_1": "a", "response_2": "b"}
    e = one({**row, "preference_strength": strength}, "helpsteer2_preferences", "'preference_strength'")
    assert (e.chosen.content, e.rejected.content) == (chosen, "ab".replace(chosen, ""))
    assert e.preference == pytest.approx(preference)
    assert e.prompt.meta == {"preference_strength": strength, "margin": abs(strength), "split": "train"}


POST = {"id": "t3_x", "post": "I ran.", "title": "Run", "subreddit": "running", "site": None, "article": None}
TLDR = "SUBREDDIT: r/running\n\nTITLE: Run\n\nPOST: I ran.\n\nTL;DR:"


@pytest.mark.parametrize("choice", [0, 1])
def test_tldr(choice):
    said = [
        {"text": " ran", "policy": "sup2", "note": "ok"},
        {"text": "walked", "policy": "ref", "note": None},
    ]
    row = {"info": POST, "summaries": said, "choice": choice, "worker": "w", "split": "train"}
    e = one(row, "tldr", "'choice' one of them")
    assert e.prompt.messages == (Message(RAW, TLDR),)
    replies = [" ran", " walked"]
    assert (e.chosen.content, e.rejected.content) == (replies[choice], replies[1 - choice])
    assert e.conversation == "t3_x"
    assert e.prompt.meta["policies"] == (["sup2", "ref"] if choice == 0 else ["ref", "sup2"])
    news = {"id": "n", "post": None, "article": "It rained."}
    e = read([{**row, "info": news}])[0]
    assert e.prompt.messages[0].content == "Article: It rained.\n\nTL;DR:"


def test_tldr_axis():
    summary = {"text": " ran", "policy": "p", "axes": {"overall": 6, "accuracy": 7, "compatible": None}}
    e = one({"info": POST, "summary": summary}, "tldr_axis", "'axes'")
    assert e.dialogue.messages[0] == Message(RAW, TLDR)
    assert e.dialogue.messages[1].extra == {"attributes": {"overall": 6, "accuracy": 7}}


# -- pairs ---------------------------------------------------------------------------------------------------


def test_hh():
    row = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Hi\n\nAssistant: Hello",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Hi\n\nAssistant: No",
    }
    e = one(row, "hh", "read as chat (plain text with --format pairs)")
    assert (e.prompt.messages, e.chosen, e.rejected) == ((HI, HELLO, HI), HELLO, NO)
    e = one(
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello", "rejected": " No"},
        "hh",
        "'prompt' is a",
    )
    assert (e.prompt.messages, e.chosen, e.rejected) == ((HI,), HELLO, NO)


@pytest.mark.parametrize(("label", "chosen"), [(1, "a"), (0, "b")])
def test_shp(label, chosen):
    row = {"post_id": "p1", "history": "Hi", "human_ref_A": "a", "human_ref_B": "b", "labels": label}
    e = one({**row, "score_A": 9, "score_B": 3, "score_ratio": 3.0}, "shp", "'labels' says which")
    assert (e.chosen.content, e.conversation, e.prompt.messages) == (chosen, "p1", (HI,))
    assert e.prompt.meta == {"score_A": 9, "score_B": 3, "score_ratio": 3.0}


def test_stack_exchange():
    row = {"qid": 5, "question": "Hi", "response_j": "Hello", "response_k": "No", "date": "2020/01/01"}
    e = one(row, "stack_exchange_paired", "'response_j'")
    assert (e.chosen, e.rejected, e.conversation) == (HELLO, NO, "5")
    answers = [{"text": "No", "pm_score": 1, "selected": True}, {"text": "Hello", "pm_score": 4}]
    e = one({"qid": 5, "question": "Hi", "answers": answers}, "stack_exchange", "'pm_score'")
    assert ([m.content for m in e.responses], e.scores, e.conversation) == (["Hello", "No"], (4.0, 1.0), "5")


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "says", "row"),
    [
        (
            "conversations[1].value",
            "this message is empty",
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": " "}]},
        ),
        (
            "conversations[0].from",
            "no such speaker: 'alien'",
            {"conversations": [{"from": "alien", "value": "Hi"}]},
        ),
        ("data[1]", "this message is empty", {"id": "a", "data": ["Hi", ""]}),
        ("output", "this text is empty", {"instruction": "a", "output": " "}),
        ("history[0]", "what was asked", {"instruction": "a", "output": "b", "history": ["x"]}),
        ("helpfulness", "in [0, 4], found 7", {"prompt": "a", "response": "b", **FIVE, "helpfulness": 7}),
        (
            "preference_strength",
            "expected a whole number",
            {"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": 0.5},
        ),
        (
            "choice",
            "in [0, 1], found 2",
            {"info": POST, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2},
        ),
        (
            "info.title",
            "this field is missing",
            {
                "info": {"post": "x", "subreddit": "s"},
                "summaries": [{"text": "a"}, {"text": "b"}],
                "choice": 1,
            },
        ),
        (
            "completions[0].overall_score",
            "expected a finite number",
            {
                "instruction": "a",
                "completions": [{"response": "x", "annotations": {}, "overall_score": "high"}],
            },
        ),
        (
            "preferred_output",
            "expected one reply",
            {"input": {"messages": [U]}, "preferred_output": [A, B], "non_preferred_output": [B]},
        ),
        ("messages[1].weight", "0 or 1, found 0.5", {"messages": [U, {**A, "weight": 0.5}]}),
        ("messages", "has weight 0", {"messages": [U, {**A, "weight": 0}]}),
        ("turns", "keep one", {"messages": [U, {**A, "weight": 0}, U, A], "turns": [3]}),
        (
            "labels",
            "expected true or false",
            {"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": 2},
        ),
    ],
)
def test_a_bad_row_is_named_in_the_words_of_its_file(field, says, row):
    with pytest.raises(DataError) as e:
        read([row])
    assert (e.value.field, e.value.line) == (field, 1)
    assert says in str(e.value)


def test_every_format_has_a_name_of_its_own_and_a_title():
    assert len({f.title for f in FOREIGN.values()}) == len(FOREIGN)
    assert all(name == f.name for name, f in FOREIGN.items())
    assert all(o in FORMATS for f in FOREIGN.values() for o in f.over)
