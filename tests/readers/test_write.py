"""What is written reads back as equal examples."""

from __future__ import annotations

import gzip
import json

import pytest

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Preference, Ranking, Rating
from halign.readers import read, to_row, write_jsonl, write_rows

U, A, B = (
    Message("user", "Hi"),
    Message("assistant", "Hello", {"name": "Ann"}),
    Message("assistant", "Go away"),
)
FULL = Dialogue(
    (Message("system", "S"), U), ("Be kind.", "Be brief."), ({"name": "f"},), {"label": 3, "id": "x"}
)
RAW = Dialogue.of("The sky is")
BLUE, GREEN = Message("raw", " blue"), Message("raw", " green")

EXAMPLES = {
    "messages": [
        Demonstration(FULL + A, "c1"),
        Demonstration(FULL + A + U + B, "c2", (4,), 0.5),
    ],
    "text": [Demonstration(RAW, "c1")],
    "completions": [Demonstration(RAW + BLUE, "c1", (1,))],
    "pairs": [
        Preference(FULL, A, B, "c1", 0.7, 0.9, 0.1, 2.0, "Be kind."),
        Preference(RAW, BLUE, GREEN, "c2"),
        Preference(FULL, A, B, "c3", preference=0.0),
    ],
    "rankings": [
        Ranking(FULL, (A, B), (1, 2), "c1"),
        Ranking(FULL, (A, B, Message("assistant", "Hm")), (1, 2, 2), "c2", (1.0, 0.5, 0.5), 3.0),
        Ranking(RAW, (BLUE, GREEN), (1, 1), "c3"),
    ],
    "singles": [Rating(FULL, A, True, "c1", 0.25, 2.0), Rating(RAW, GREEN, False, "c2")],
    "conversations": [
        Conversation(
            FULL + A + U + B,
            "c1",
            {
                2: (
                    Alternative(B, rank=2, violates="Be kind."),
                    Alternative(Message("assistant", "?"), rank=3),
                )
            },
            2.0,
        ),
        Conversation(FULL + A, "c2", {2: (Alternative(B, score=0.5),)}),
        Conversation(FULL + A, "c3", {2: (Alternative(B, label=False),)}),
        Conversation(FULL + A, "c4", {}),
    ],
    "conversations without alternatives": [Conversation(FULL + A, "c4", {})],
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_round_trip(tmp_path, kind, name):
    examples = EXAMPLES[kind]
    assert write_jsonl(examples, tmp_path / name) == len(examples)
    again = read(tmp_path / name)
    assert list(again) == examples
    assert again.fingerprint == read(examples).fingerprint


def test_canonical_rows():
    assert to_row(Preference(Dialogue((U,)), A, B, "c")) == {
        "conversation": "c",
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello", "name": "Ann"}],
        "rejected": [{"role": "assistant", "content": "Go away"}],
    }
    row = to_row(Conversation(Dialogue((U, B), ("Be kind.",)), "c", {1: (Alternative(A, rank=2),)}))
    assert row["id"] == "c"
    assert row["guardrails"] == ["Be kind."]
    assert row["messages"][1]["alternatives"] == [{"content": "Hello", "name": "Ann", "rank": 2}]


def test_scores_that_contradict_the_order_are_refused():
    with pytest.raises(HalignError, match="not sorted by its scores"):
        to_row(Ranking(FULL, (A, B), (1, 2), "c", (0.0, 1.0)))


def test_gzip_is_the_same_bytes_whatever_the_name(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl(EXAMPLES["pairs"], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).splitlines()) == 3


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.jsonl"
    write_rows([{"a": 1}], path)

    def rows():
        yield {"a": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(rows(), path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
