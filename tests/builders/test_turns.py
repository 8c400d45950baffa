"""What a row answers at a turn, and which rows have no answer that is right."""

from __future__ import annotations

import pytest

from halign.builders import capo, chain_of_thought, multilingual, r_tuning
from halign.builders.turns import turns
from halign.curation.source import RowSource
from halign.readers import write_rows
from tests.builders.helpers import Says, agent, run, user

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
