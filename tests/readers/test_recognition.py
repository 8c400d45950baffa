"""No guess: a format is found and said why, or the error says what was seen and the way out."""

from __future__ import annotations

import json

import pytest

from halign.dialogue import Message
from halign.errors import DataError, HalignError
from halign.readers import read, read_prompts
from halign.readers.columns import Columns, parse_columns

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def test_canonical_formats_say_why():
    assert (
        read([{"prompt": "a", "completion": "b", "label": 1}]).why
        == "it has 'prompt', 'completion' and 'label'"
    )
    data = read([{"messages": [USER, BOT]}])
    assert (data.format, data.why, data[:1].why) == ("messages", "it has 'messages'", "it has 'messages'")


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"conversations": TALK, "messages": [USER, BOT]}, ("'sharegpt'", "'messages'")),
        ({"conversations": TALK, "instruction": "a", "output": "b"}, ("'sharegpt'", "'alpaca'")),
        ({"instruction": "a", "context": "b", "response": "c", "output": "d"}, ("'alpaca'", "'dolly'")),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "responses": []}, ("'pairs'", "'rankings'")),
    ],
)
def test_two_formats_that_fit_are_both_named(row, names):
    with pytest.raises(DataError, match="more than one format fits") as e:
        read([row])
    assert all(name in str(e.value) for name in (*names, "format= (--format)"))


def test_format_decides_between_two():
    row = {"id": "a", "conversations": TALK, "messages": [USER, {**BOT, "content": "Other"}]}
    for format, said in (("sharegpt", "Hello"), ("messages", "Other")):
        data = read([row], format=format)
        assert data[0].dialogue.messages[1].content == said
        assert (data.format, data.why) == (format, f"{format}: as format= says")
    with pytest.raises(DataError, match=r"list:1: conversations: this field is missing"):
        read([{"messages": [USER, BOT]}], format="sharegpt")


def test_no_format_names_the_columns_the_nearest_and_a_way_out():
    with pytest.raises(DataError) as e:
        read([{"prompt": "Hi", "response_1": "a", "response_2": "b", "preference_strengt": 1, "id": "x"}])
    said = str(e.value)
    assert "nothing to train on" in said  # a prompt, with columns that no format knows
    assert "helpsteer2_preferences (lacks 'preference_strength' (did you mean 'preference_strengt'?))" in said
    with pytest.raises(DataError) as e:
        read([{"question": "Hi", "human_ref_A": "a", "human_ref_B": "b", "history": "h"}])
    said = str(e.value)
    assert "the columns question, human_ref_A, human_ref_B, history make no known format" in said
    assert "shp (lacks 'labels')" in said
    assert "--columns user=question,assistant=human_ref_A" in said


def test_a_later_row_that_shows_another_format_is_not_read_as_the_first():
    plain = {"chosen": "The sky is blue", "rejected": "The sky is green"}
    talk = {side: f"\n\nHuman: Hi\n\nAssistant: {side}" for side in ("chosen", "rejected")}
    with pytest.raises(DataError, match=r"list:2: this row looks like 'hh' .* rows before it like 'pairs'"):
        read([plain, talk])
    with pytest.raises(DataError, match=r"list:2: chosen: this transcript does not open with 'Human:'"):
        read([talk, plain])
    assert len(read([plain, talk], format="pairs")) == 2


def test_a_format_stays_where_rows_lack_some_columns():
    data = read(
        [{"instruction": "a", "input": "b", "output": "c"}, {"instruction": "a", "output": "c", "lang": "en"}]
    )
    assert (len(data), data.format) == (2, "alpaca")
    assert data[1].dialogue.meta == {"lang": "en"}


def test_foreign_rows_take_the_shared_columns():
    row = {
        "id": "a",
        "conversations": TALK,
        "policy": ["Be kind."],
        "weight": 2,
        "meta": {"n": 1},
        "source": "x",
    }
    e = read([row], guardrails="policy")[0]
    assert (e.weight, e.dialogue.guardrails, e.conversation) == (2.0, ("Be kind.",), "a")
    assert e.dialogue.meta == {"n": 1, "source": "x"}
    e = read([{**row, "talk": "t-7-2"}], conversation="talk", conversation_pattern=r"^(t-\d+)")[0]
    assert (e.conversation, e.dialogue.meta["id"]) == ("t-7", "a")


# -- column mapping ------------------------------------------------------------------------------------------


def test_columns_are_found_where_they_are_said_to_be():
    row = {"id": 1, "q": {"text": "Hi"}, "answers": [{"t": "Hello"}, {"t": "No"}], "junk": "x", "a.b": "dot"}
    mapping = {"user": "q.text", "chosen": "answers[0].t", "rejected": "answers[-1].t"}
    e = read([row], columns=mapping)[0]
    assert e.prompt.messages == (Message("user", "Hi"),)
    assert (e.chosen.content, e.rejected.content) == ("Hello", "No")
    assert e.prompt.meta == {"junk": "x", "a.b": "dot"}
    e = read([row], columns={"system": "junk", "user": "q.text", "assistant": "a.b"})[0]
    assert [m.role for m in e.dialogue.messages] == ["system", "user", "assistant"]
    assert e.dialogue.messages[2].content == "dot"  # a column of that very name
    assert read([{"question": "a", "best": "b"}], columns={"prompt": "question", "completion": "best"})[
        0
    ].turns == (1,)
    prompts = read_prompts([{"question": "Hi"}], columns={"user": "question"})
    assert prompts[0].messages == (Message("user", "Hi"),)


def test_columns_may_make_a_foreign_row_and_come_from_a_table(tmp_path):
    (tmp_path / "a.csv").write_text('task,gold,extra\nAdd,5,"{""good"": ""true""}"\n')
    data = read(tmp_path / "a.csv", columns={"instruction": "task", "output": "gold"})
    assert data.format == "alpaca"
    data = read(tmp_path / "a.csv", columns={"prompt": "task", "completion": "gold", "label": "extra.good"})
    assert (data.format, data[0].desirable, data[0].response.content) == ("singles", True, "5")


@pytest.mark.parametrize(
    ("mapping", "error", "says"),
    [
        ({"promt": "q"}, HalignError, "no format knows 'promt' (did you mean 'prompt'?)"),
        ({"prompt": "q["}, HalignError, "cannot read 'q['"),
        ({"prompt": "[0]"}, HalignError, "does not begin with a column"),
        ({"assistant": "q"}, HalignError, "'assistant' needs 'user'"),
        ({"user": "q", "prompt": "q"}, HalignError, "makes 'prompt'"),
        ({"text": "qq"}, DataError, "list:1: qq: there is no 'qq' here (did you mean 'q'?)"),
        ({"text": "l[2]"}, DataError, "list:1: l[2]: there is no item [2]: this is a list of 2"),
        ({"text": "q.x"}, DataError, "list:1: q.x: there is no 'x' here: this is a string"),
    ],
)
def test_mappings_that_do_not_fit(mapping, error, says):
    with pytest.raises(error) as e:
        read([{"q": "a", "l": [1, 2]}], columns=mapping)
    assert says in str(e.value)


def test_the_command_lines_form_of_a_mapping():
    assert parse_columns("a=b.c[0] , d=e") == {"a": "b.c[0]", "d": "e"}
    for wrong in ("a", "a=", "=b", "a=b,a=c"):
        with pytest.raises(HalignError, match="--columns"):
            parse_columns(wrong)
    assert Columns({"text": "t"})({"t": None}) == {"text": None}


def test_a_json_file_of_one_row_whose_values_are_lists(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps({"prompt": [USER], "chosen": [BOT], "rejected": [{**BOT, "content": "No"}]})
    )
    assert len(read(tmp_path / "a.json")) == 1
