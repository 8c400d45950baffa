"""Folders of verdicts: what is written is what is read, and an interruption costs no more than its own line."""

import json

import pytest

from halign.errors import DataError, HalignError
from halign.judges import Verdict
from halign.judges.records import (
    ITEMS,
    VERDICTS,
    GradeRecord,
    Judged,
    JudgedItem,
    PairRecord,
    append,
    read_items,
    record_of,
    rewrite,
    to_row,
)

ITEM = JudgedItem("q1", "c1", [{"role": "user", "content": "Hé"}], {"m": "ja", "n": "nein"}, ["Be kind."], 1)
PAIR = PairRecord("q1", "c1", "adherence", "rules", "m", "n", Verdict.A, Verdict.BOTH, why=("x", "y"))
FAILED = PairRecord("q1", "c1", "adherence", "rules", "m", "n", Verdict.A, None, trouble="unparsable")
GRADE = GradeRecord("q1", "c1", "helpfulness", "llm", "m", 0.0, (0.0, 10.0), False, guardrail="Be kind.")


@pytest.mark.parametrize("record", [PAIR, FAILED, GRADE])
def test_a_record_is_read_as_it_was_written(record):
    assert record_of(json.loads(json.dumps(to_row(record)))) == record


def test_zero_and_false_are_values_and_none_is_not():
    row = to_row(GRADE)
    assert (row["value"], row["acceptable"]) == (0.0, False)
    assert "turn" not in row


def test_a_pair_without_both_verdicts_has_no_outcome():
    assert FAILED.outcome is None
    assert PAIR.outcome.advantage == 0.5


def test_a_torn_last_line_is_left_out_and_then_overwritten(tmp_path):
    append(tmp_path / ITEMS, [ITEM])
    append(tmp_path / VERDICTS, [PAIR, GRADE])
    with open(tmp_path / VERDICTS, "ab") as file:
        file.write(b'{"kind": "pa')
    assert Judged.read(tmp_path).records == [PAIR, GRADE]
    append(tmp_path / VERDICTS, [FAILED])
    read = Judged.read(tmp_path)
    assert read.records == [PAIR, GRADE, FAILED]
    assert (read.items, read.facts) == ({"q1": ITEM}, {})
    assert (read.pairs, read.grades) == ([PAIR, FAILED], [GRADE])
    assert read.items["q1"].dialogue.guardrails == ("Be kind.",)


def test_errors_name_file_and_line(tmp_path):
    with pytest.raises(HalignError, match="no verdicts"):
        Judged.read(tmp_path)
    append(tmp_path / VERDICTS, [PAIR])
    with open(tmp_path / VERDICTS, "ab") as file:
        file.write(b'{"kind": "vote"}\n')
    with pytest.raises(DataError, match=r"verdicts\.jsonl.*2.*vote"):
        Judged.read(tmp_path)


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path):
    """It is read as a row, so what was added next must not have cut it off."""
    file = tmp_path / ITEMS
    append(file, [ITEM])
    file.write_bytes(file.read_bytes()[:-1])
    assert list(read_items(file)) == ["q1"]
    append(file, [JudgedItem("q2", "c2", [], {})])
    assert list(read_items(file)) == ["q1", "q2"]


def test_half_a_character_is_written_and_read(tmp_path):
    """Endpoints cut replies in the middle of a surrogate pair, which has no UTF-8."""
    whole = JudgedItem("q1", "c1", [], {"m": "cut \ud83d", "n": "\u2028 Hé"})
    append(tmp_path / ITEMS, [whole])
    assert read_items(tmp_path / ITEMS) == {"q1": whole}
    rewrite(tmp_path / ITEMS, [whole])
    assert read_items(tmp_path / ITEMS) == {"q1": whole}
    assert [f.name for f in tmp_path.iterdir()] == [ITEMS]


def test_what_is_no_item_is_named_by_its_line(tmp_path):
    (tmp_path / ITEMS).write_text('{"id": 1}\n')
    with pytest.raises(DataError, match=r"items.jsonl:1"):
        read_items(tmp_path / ITEMS)
    (tmp_path / VERDICTS).touch()
    (tmp_path / ITEMS).unlink()
    (tmp_path / "judging.json").write_text('{"judge": ')
    with pytest.raises(DataError, match=r"judging.json"):
        Judged.read(tmp_path)
