"""Files of every kind give the same examples; damaged ones say where."""

from __future__ import annotations

import gzip
import json

import datasets
import pytest

from halign.errors import DataError, HalignError
from halign.readers import read, write_jsonl

ROWS = [
    {
        "id": f"c{i}",
        "prompt": [{"role": "user", "content": f"Question {i}? Größe\u2028ok"}],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    for i in range(50)
]


@pytest.fixture
def files(tmp_path):
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\r\n")
    )  # BOM, blank lines
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.json").write_text(json.dumps(ROWS))
    (tmp_path / "d.json").write_bytes(lines)
    (tmp_path / "e.json").write_text(json.dumps({"train": ROWS}))
    (tmp_path / "f.jsonl").write_bytes(gzip.compress(lines))  # gzip by content, not by name
    data = datasets.Dataset.from_list(ROWS)
    data.to_parquet(tmp_path / "g.parquet")
    data.save_to_disk(tmp_path / "h")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "i")
    return tmp_path


def test_every_container_gives_the_same_examples_and_fingerprint(files):
    want = read(ROWS)
    for path in sorted(p for p in files.iterdir()):
        got = read(path)
        assert got == want, path
        assert got.fingerprint == want.fingerprint
        assert got.source == str(path)
    data = datasets.Dataset.from_list(ROWS)
    assert read(data) == read(datasets.DatasetDict({"train": data}), split="train") == want
    assert read(want) is want
    assert read(list(want)) == want


def test_fingerprint_follows_content_order_and_options():
    want = read(ROWS).fingerprint
    assert read(ROWS[::-1]).fingerprint != want
    assert read(ROWS)[:49].fingerprint == read(ROWS[:49]).fingerprint != want
    rows = [{**r, "policy": ["Be kind."]} for r in ROWS]
    assert read(rows).fingerprint != read(rows, guardrails="policy").fingerprint


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + json.dumps(ROWS[0]) + "\n\n{\n")
    with pytest.raises(DataError, match=r"a.jsonl:4: not JSON: .* at column"):
        read(path)
    data = read(path, skip_bad=True)
    assert len(data) == 1
    assert [e.line for e in data.skipped] == [4]


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(ROWS[0]).encode() + b'\n{"text": "gr\xfc\xdfe"}\n')
    with pytest.raises(DataError, match=r"a.jsonl:2: not UTF-8 at byte 12"):
        read(path)


def test_a_truncated_gzip_file_is_never_skipped(files):
    path = files / "b.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-30])
    for skip in (False, True):
        with pytest.raises(DataError, match="cut short or damaged") as e:
            read(path, skip_bad=skip)
        assert e.value.line is not None


def test_a_damaged_parquet_or_json_file(files):
    (files / "g.parquet").write_bytes((files / "g.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match=r"g.parquet: not a whole parquet file"):
        read(files / "g.parquet")
    (files / "c.json").write_text('[{"a": 1},\n {"b": }]')
    with pytest.raises(DataError, match=r"c.json:2: not JSON"):
        read(files / "c.json")
    (files / "c.json").write_text("3")
    with pytest.raises(DataError, match="expected a list of rows"):
        read(files / "c.json")


def test_splits(tmp_path):
    data = datasets.Dataset.from_list(ROWS)
    both = datasets.DatasetDict({"train": data, "test": data.select(range(3))})
    both.save_to_disk(tmp_path / "d")
    assert len(read(tmp_path / "d", split="test")) == 3
    with pytest.raises(HalignError, match="has the splits train, test: say which with split="):
        read(tmp_path / "d")
    with pytest.raises(HalignError, match=r"no split 'tst' .did you mean 'test'"):
        read(both, split="tst")
    write_jsonl(read(ROWS), tmp_path / "a.jsonl")
    for source in (tmp_path / "a.jsonl", ROWS, data):
        with pytest.raises(HalignError, match="split='test' has no effect"):
            read(source, split="test")


def test_paths_that_lead_nowhere(files):
    with pytest.raises(HalignError, match=r"no such file \(did you mean 'a.jsonl'\?\)"):
        read(files / "aa.jsonl")
    with pytest.raises(HalignError, match="no such file, and no folder"):
        read(files / "x" / "a.jsonl")
    with pytest.raises(HalignError, match=r"files of several kinds .* name one of its files: a\.jsonl"):
        read(files)
    (files / "a.xlsx").write_text("a,b")
    with pytest.raises(HalignError, match=r"cannot tell the kind of file from '.xlsx'"):
        read(files / "a.xlsx")
    with pytest.raises(HalignError, match="cannot read a int"):
        read(3)
