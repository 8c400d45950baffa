"""CSV, packed files, folders, the hub; and characters that are not what they should be."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import datasets
import pyarrow as pa
import pytest

from halign.checks import remarks
from halign.dialogue import Message
from halign.errors import DataError, HalignError
from halign.readers import read, stream
from halign.readers.characters import looks_like, mojibake

ROWS = [
    {"id": "a", "prompt": "Q: Größe?\nA:", "completion": ' "L", sagt er; 42', "label": True, "score": 0.5},
    {"id": "b", "prompt": "[Vers 1]", "completion": "[1, 2]", "label": False},
]
TABLE = (
    'id,prompt,completion,label,score\r\na,"Q: Größe?\nA:"," ""L"", sagt er; 42",1,0.5\r\n\r\n'
    'b,[Vers 1],"[1, 2]",false,\r\n'
)


def test_csv_is_read_like_json(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(TABLE.encode())
    data = read(path)
    assert data == read(ROWS)
    assert "a table separated by commas" in data.why
    for name, pack in (("b.csv.gz", gzip.compress), ("c.csv.bz2", bz2.compress), ("d.csv.xz", lzma.compress)):
        (tmp_path / name).write_bytes(pack(b"\xef\xbb\xbf" + TABLE.encode()))
        assert read(tmp_path / name) == data
    (tmp_path / "e.csv.zst").write_bytes(pa.compress(TABLE.encode(), "zstd", asbytes=True))
    assert read(tmp_path / "e.csv.zst") == data
    for separator, name in ((";", "f.csv"), ("\t", "g.csv"), ("\t", "h.tsv"), ("|", "i.csv")):
        text = f"id{separator}text\nx{separator}Hello, you\ny{separator}Yes\n"
        (tmp_path / name).write_text(text)
        assert [e.dialogue.messages[0].content for e in read(tmp_path / name)] == ["Hello, you", "Yes"]
    (tmp_path / "j.csv").write_text("sep=;\ntext;id\na,b;x\n")
    assert read(tmp_path / "j.csv")[0].dialogue.messages[0].content == "a,b"
    (tmp_path / "k.csv").write_text("text\nHello there\n")
    assert len(read(tmp_path / "k.csv")) == 1


def test_lists_and_objects_are_json_in_their_cells(tmp_path):
    chat = [{"role": "user", "content": "Hi"}]
    row = {
        "prompt": json.dumps(chat),
        "completion": '{"x": 1}',
        "guardrails": '["Be kind."]',
        "meta": '{"n": 1}',
    }
    quoted = ",".join('"' + v.replace('"', '""') + '"' for v in row.values())
    (tmp_path / "a.csv").write_text(",".join(row) + "\n" + quoted + "\n")
    e = read(tmp_path / "a.csv")[0]
    assert e.dialogue.messages == (Message("user", "Hi"), Message("assistant", '{"x": 1}'))
    assert (e.dialogue.guardrails, e.dialogue.meta) == (("Be kind.",), {"n": 1})


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("id,text\na,b,c\n", 2, "3 cells, the header has 2"),
        ("id,text\na,\"x\ny\"\nb\n", 4, "1 cells, the header has 2"),
        ("id,text,text\na,b,c\n", 1, "two columns are called 'text'"),
        ("id,\na,b\n", 1, "column 2 has no name"),
        ("x" * 200 + ",y\na,b\n", 1, "this is no column's name"),
        ("", 1, "no rows"),
        ("a;b,c\n1;2,3\n", 1, "cannot tell what separates the cells"),
        ("prompt,completion,label\na,b,good\n", 2, "label: expected true or false"),
        ("id,text\na,b\x00\n", 2, "a NUL"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong(tmp_path, text, line, says):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) as e:
        read(tmp_path / "a.csv")
    assert e.value.line == line
    assert says in str(e.value)


def test_parquet_with_nested_columns(tmp_path):
    rows = [{"info": {"id": "t", "post": "I ran.", "title": "Run", "subreddit": "r"}, "choice": 1,
             "summaries": [{"text": " a", "policy": "p"}, {"text": " b", "policy": "q"}]}]  # fmt: skip
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == read(rows)


def test_a_folder_of_files_is_one_source_and_its_splits_stay_apart(tmp_path):
    for name, texts in (("train-00000-of-00002", "ab"), ("train-00001-of-00002", "c"), ("test", "d")):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    assert [e.dialogue.messages[0].content for e in read(tmp_path, split="train")] == ["a", "b", "c"]
    assert len(read(tmp_path, split="test")) == 1
    with pytest.raises(HalignError, match="has the splits test, train: say which"):
        read(tmp_path)
    (tmp_path / "train-00001-of-00002.jsonl").write_text('{"text": "c"}\n{"text": ""}\n')
    with pytest.raises(DataError, match=r"train-00001-of-00002.jsonl:2: text: this text is empty"):
        read(tmp_path, split="train")


def test_streams_of_datasets_and_the_hub(tmp_path, monkeypatch):
    data = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}] * 3)
    assert len(read(data.to_iterable_dataset())) == 3
    asked = []

    def load(name, config, split, streaming):
        asked.append((name, config, split, streaming))
        if name == "no/where":
            raise ConnectionError("no network\nmore")
        parts = datasets.IterableDatasetDict(
            {"train": data.to_iterable_dataset(), "test": data.to_iterable_dataset()}
        )
        return parts if split is None else parts[split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read("hub:o/n:c@train").source == "hub:o/n:c@train"
    assert read("hub:o/n", split="test") == read(data)
    assert asked == [("o/n", "c", "train", True), ("o/n", None, "test", True)]
    with pytest.raises(HalignError, match="has the splits train, test"):
        read("hub:o/n")
    with pytest.raises(
        HalignError, match=r"hub:no/where: cannot be read from the hub \(ConnectionError: no network\)"
    ):
        read("hub:no/where")
    with pytest.raises(HalignError, match="says another split"):
        read("hub:o/n@train", split="test")


# -- characters ----------------------------------------------------------------------------------------------

GERMAN = {"text": "Größe, Übergrößenträger"}


def test_other_encodings_are_named_and_read_when_told(tmp_path):
    line = json.dumps(GERMAN, ensure_ascii=False) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "ok"}\n' + line.encode("cp1252"))
    with pytest.raises(
        DataError, match=r"a.jsonl:2: not UTF-8 at byte 12; looks like cp1252: --encoding cp1252"
    ):
        read(path)
    assert [e.line for e in read(path, skip_bad=True).skipped] == [2]
    assert read(path, encoding="cp1252")[1].dialogue.messages[0].content == GERMAN["text"]
    path.write_bytes(line.encode("utf-16"))
    with pytest.raises(
        DataError, match=r"a.jsonl:1: UTF-16, says its byte-order mark; read it with --encoding utf-16"
    ):
        read(path)
    assert read(path, encoding="utf-16") == read([GERMAN])
    (tmp_path / "b.json").write_bytes(json.dumps([GERMAN], ensure_ascii=False, indent=1).encode("latin-1"))
    with pytest.raises(DataError, match=r"b.json:3: not UTF-8 .* looks like cp1252"):
        read(tmp_path / "b.json")
    (tmp_path / "c.csv").write_bytes("id,text\na,Größe und mehr\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"c.csv:2: not UTF-8 .* looks like cp1252"):
        read(tmp_path / "c.csv")
    assert read(tmp_path / "c.csv", encoding="latin-1")[0].dialogue.messages[0].content == "Größe und mehr"
    with pytest.raises(HalignError, match="no such encoding"):
        read(path, encoding="utf-9")
    with pytest.raises(HalignError, match="has no effect"):
        read([GERMAN], encoding="cp1252")
    path.write_bytes("好".encode() * 3)
    with pytest.raises(DataError, match=r"a.jsonl:1: not ascii"):
        read(path, encoding="ascii")


def test_what_is_not_western_is_not_called_so():
    assert looks_like("naïve – “café”".encode("cp1252")) == "cp1252"
    assert looks_like(b"a caf\xe9 \x81 and more words") == "latin-1"
    for text, encoding in (("Привет, как дела", "cp1251"), ("こんにちは、元気ですか", "shift_jis")):
        assert looks_like(b'{"text": "' + text.encode(encoding) + b'"}') is None
    assert looks_like("é and ".encode() + b"\xe9 and more") is None  # half of it is UTF-8


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (r'{"text": "half \ud83d of it"}', r"text: character 5 is a lone surrogate (\ud83d)"),
        ('{"text": ' + "[" * 100_000, "nested too deep"),
    ],
)  # fmt: skip
def test_halves_of_characters_are_bad_rows(tmp_path, line, says):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00 \\\\u0000"}\n' + line + "\n")
    with pytest.raises(DataError) as e:
        read(tmp_path / "a.jsonl")
    assert e.value.line == 2
    assert says in str(e.value)


def test_a_nul_is_read_as_it_is_and_remarked_on(tmp_path):
    """Sampled replies may hold one; what was written has to be read again."""
    (tmp_path / "a.jsonl").write_text(r'{"prompt": "a", "completion": "b\u0000c"}' + "\n")
    (example,) = read(tmp_path / "a.jsonl")
    assert example.dialogue.messages[-1].content == "b\x00c"
    assert any("NUL" in remark for remark in remarks([example]))


def test_broken_characters_in_python_objects():
    with pytest.raises(DataError, match=r"list:1: messages\[0\].content: character 0 is a lone surrogate"):
        read([{"messages": [{"role": "user", "content": "\ud83d"}]}])


def test_mojibake_is_seen_and_left_alone():
    for text in ("Größe", "don’t", "“a”", "😀", "à la carte", "Ünï"):
        garbled = "".join(
            bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b)
            for b in text.encode()
        )
        assert mojibake(garbled) is not None, text
        assert mojibake(text) is None
    assert mojibake("Größe") is None
    assert mojibake("Â©") == ("Â©", "©")
    assert read([{"text": "GrÃ¶ÃŸe"}])[0].dialogue.messages[0].content == "GrÃ¶ÃŸe"


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream_reads_as_it_is_asked_and_says_what_read_says(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": ""}\n{"id": "c", "text": "z"}\n')
    rows = stream(path)
    assert (next(rows).conversation, rows.format, rows.why) == ("a", "text", "it has 'text'")
    with pytest.raises(DataError, match=r"a.jsonl:2: text: this text is empty"):
        next(rows)
    rows = stream(path, skip_bad=True)
    assert list(rows) == list(read(path, skip_bad=True))
    assert [e.line for e in rows.skipped] == [2]

    def endless():
        while True:
            yield {"text": "x"}

    assert next(stream(endless())).dialogue.messages[0].content == "x"
