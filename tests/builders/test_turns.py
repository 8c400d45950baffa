"""What a row answers at a turn, and which rows have no answer that is right."""

from __future__ import annotations

import pytest

from halign.builders import Tools, build, capo, chain_of_thought, find, multilingual, r_tuning, rlaif
from halign.builders.turns import turns
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.readers import read, write_rows
from tests.builders.helpers import Says, Thinks, agent, part, run, user

ASKED = [user("Where is it?"), agent("In Rome."), user("And what is 1+1?")]
RATED = [
    {"conversation": "good", "prompt": ASKED, "completion": [agent("1+1. #### 2")], "label": True},
    {"conversation": "bad", "prompt": ASKED, "completion": [agent("1+2. #### 3")], "label": False},
]


def test_the_answer_of_a_row_is_its_best_reply_unless_that_is_bad(tmp_path):
    rows = [
        *RATED,
        {"conversation": "pair", "prompt": ASKED, "chosen": [agent("a")], "rejected": [agent("b")]},
        {
            "conversation": "doubted",
            "prompt": ASKED,
            "chosen": [agent("a")],
            "rejected": [agent("b")],
            "preference": 0.2,
        },
    ]
    found = []
    for row in rows:
        write_rows([row], tmp_path / "in.jsonl")
        (turn,) = turns(RowSource(tmp_path / "in.jsonl"))
        found.append((turn.answer and turn.answer.content, [m.content for m in turn.replies]))
    assert found == [
        ("1+1. #### 2", ["1+1. #### 2"]),
        (None, ["1+2. #### 3"]),
        ("a", ["a", "b"]),
        ("b", ["b", "a"]),
    ]


@pytest.mark.parametrize(
    ("builder", "settings"),
    [
        (capo.BUILDER, {"strategies": ("misunderstanding",), "test": "none"}),
        (chain_of_thought.BUILDER, {}),
        (multilingual.BUILDER, {"language": "German", "way": "post_translating"}),
        (r_tuning.BUILDER, {"match": "number"}),
    ],
)
def test_a_reply_that_is_said_to_be_bad_teaches_nothing(tmp_path, builder, settings):
    writer = (
        {} if builder.name in ("capo", "chain_of_thought") else {"writer": Says(lambda d, k: "Auf Deutsch 2")}
    )
    _, rows = run(builder, tmp_path, RATED, settings, **writer)
    assert [r["conversation"] for r in rows] == ["good"]


ALPACA = {"instruction": "Name a river.", "input": "", "output": "The Rhine."}


@pytest.mark.parametrize(
    "name",
    [
        "chain_of_thought",
        "critique",
        "interactive_translation",
        "multilingual",
        "parrot_ask",
        "r_tuning",
        "self_chat",
    ],
)
def test_builders_of_chats_refuse_plain_text(tmp_path, name):
    """Alpaca's columns are read in its template, as plain text: no topic, no question and no turn of a chat."""
    builder = find(name)
    settings = {"language": "German"} if "language" in builder.settings.model_fields else {}
    with pytest.raises(
        HalignError, match=rf"{name}: row 1 of .* is plain text .read as alpaca.*--format alpaca_chat"
    ):
        run(builder, tmp_path, [ALPACA], settings, writer=Says(lambda d, k: "Yes."))


def test_the_topic_of_a_task_is_its_instruction(tmp_path):
    write_rows([ALPACA], tmp_path / "in.jsonl")
    writer = Says(lambda d, k: "[Human] Which?\n[AI] The Rhine.")
    source = RowSource(tmp_path / "in.jsonl", format="alpaca_chat")
    builder = find("self_chat")
    build(builder, source, tmp_path / "out.jsonl", builder.settings(), Tools(writer=writer))
    assert "\nTopic: Name a river.\n" in writer.asked[0].messages[0].content


def test_replies_written_to_plain_text_are_plain_text(tmp_path):
    written = iter(["The Rhine.", "A rhyme."])
    judge = Thinks(lambda q: 1.0 if part(q, "Reply 1:", "Reply 2:") == "The Rhine." else 0.0)
    writer = Says(lambda d, k: next(written))
    _, (row,) = run(
        rlaif.BUILDER,
        tmp_path,
        [{"prompt": "A river:"}],
        {"candidates": "written"},
        writer=writer,
        judge=judge,
    )
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("A river:", "The Rhine.", "A rhyme.")
    assert read(tmp_path / "out.jsonl")[0].chosen.content == "The Rhine."
