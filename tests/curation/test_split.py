"""No conversation in two parts, shares met, strata spread, and alike prompts together."""

from __future__ import annotations

import random

import pytest

from halign.curation.source import RowSource
from halign.curation.split import split
from halign.errors import HalignError
from halign.lineage import trace
from halign.readers import write_rows
from tests.curation.plainly import rows_of, talk

SHARES = {"train": 0.8, "feedback": 0.1, "test": 0.1}


def pairs(conversation, turns, **more):
    """Turns of one conversation as rows of their own: ids name conversation and turn, prompts continue each other."""
    said = []
    for k in range(turns):
        said = [*said, {"role": "user", "content": f"{conversation} says {k}"}]
        yield {"id": f"{conversation}-{k}", "prompt": said, "chosen": f"good {k}", "rejected": "bad", **more}
        said = [*said, {"role": "assistant", "content": f"good {k}"}]


def run(tmp_path, rows, shares=SHARES, **settings):
    write_rows(rows, tmp_path / "in.jsonl")
    made = split(RowSource(tmp_path / "in.jsonl"), tmp_path / "parts", shares, **settings)
    return made, {name: rows_of(tmp_path / "parts" / f"{name}.jsonl") for name in shares}


def test_no_conversation_in_two_parts_though_ids_name_turns(tmp_path):
    rng = random.Random(0)
    rows = [r for i in range(100) for r in pairs(f"talk{i}", rng.randint(1, 6))]
    made, parts = run(tmp_path, rows)
    where = {name: {r["id"].rsplit("-", 1)[0] for r in part} for name, part in parts.items()}
    assert sum(len(w) for w in where.values()) == 100
    assert {n: len(w) for n, w in where.items()} == made.conversations
    assert sum(made.rows.values()) == len(rows)
    for name, share in SHARES.items():
        assert abs(made.rows[name] - share * len(rows)) <= 6
    assert sorted(r["id"] for part in parts.values() for r in part) == sorted(r["id"] for r in rows)
    assert trace(tmp_path / "parts" / "test.jsonl", 1)[-1].state == "as it was"


def test_seeds(tmp_path):
    rows = [talk(f"Question {i}", f"c{i}") for i in range(40)]
    write_rows(rows, tmp_path / "in.jsonl")
    found = []
    for i, seed in enumerate((0, 0, 1)):
        split(RowSource(tmp_path / "in.jsonl"), tmp_path / str(i), {"a": 0.5, "b": 0.5}, seed=seed)
        found.append({r["id"] for r in rows_of(tmp_path / str(i) / "a.jsonl")})
        assert len(found[-1]) == 20
    assert found[0] == found[1] != found[2]


def test_strata_are_spread_alike(tmp_path):
    rows = [talk(f"Question {i}", f"c{i}", domain="bank" if i % 4 else "hotel") for i in range(400)]
    made, _ = run(tmp_path, rows, stratify="domain")
    assert made.strata == {
        "train": {"bank": 240, "hotel": 80},
        "feedback": {"bank": 30, "hotel": 10},
        "test": {"bank": 30, "hotel": 10},
    }
    small = [
        talk(f"Question {i}", f"c{i}", domain=f"d{i // 2}") for i in range(100)
    ]  # two of each: no share fits
    write_rows(small, tmp_path / "small.jsonl")
    made = split(
        RowSource(tmp_path / "small.jsonl"), tmp_path / "small", {"a": 0.5, "b": 0.5}, stratify="domain"
    )
    assert made.rows == {"a": 50, "b": 50}
    assert set(made.strata["a"].values()) == {1}


def test_alike_prompts_stay_together(tmp_path):
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randint(0, 999)}" for _ in range(60)) for _ in range(60)]
    rows = [
        talk(t.replace(t.split()[20 * k], "x", 1), f"c{i}.{k}", f"reply {k}")
        for k in range(3)
        for i, t in enumerate(texts)
    ]
    made, parts = run(tmp_path, rows, together=True)
    where = {r["id"]: name for name, part in parts.items() for r in part}
    assert made.joined == 120
    assert all(where[f"c{i}.0"] == where[f"c{i}.1"] == where[f"c{i}.2"] for i in range(60))
    assert abs(made.rows["test"] - 18) <= 3


def test_errors(tmp_path):
    rows = [talk(f"Question {i}", f"c{i}") for i in range(2)]
    for shares, says in (
        ({"a": 0.5, "b": 0.4}, "sum to 1"),
        ({"a": 1.5, "b": -0.5}, "above 0"),
        ({"../a": 1.0}, "no name for a file"),
        (SHARES, "2 conversations cannot be divided into 3 parts"),
    ):
        with pytest.raises(HalignError, match=says):
            run(tmp_path, rows, shares)
    with pytest.raises(HalignError, match=r"in.jsonl:1: no column 'domain' .*; the row has id, messages"):
        run(tmp_path, rows, {"a": 0.5, "b": 0.5}, stratify="domain")
    assert not (tmp_path / "parts").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]
    run(tmp_path, rows, {"a": 0.5, "b": 0.5})
    with pytest.raises(HalignError, match="exists and is not empty"):
        run(tmp_path, rows, {"a": 0.5, "b": 0.5})


def test_bad_rows_and_empty_files_are_errors(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\nnot json\n{"prompt": "c", "completion": "d"}\n')
    with pytest.raises(HalignError, match=r"bad.jsonl:2: not JSON"):
        list(RowSource(path))
    source = RowSource(path, skip_bad=True)
    assert [r.number for r in source] == [1, 3]
    assert len(source.skipped) == 1
    path.write_text("")
    with pytest.raises(HalignError, match=r"bad.jsonl: no rows"):
        list(RowSource(path))


def test_a_table_of_text_is_written_with_its_lists(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(
        'id,prompt,completion,guardrails\na,Hi,Hello,"[""Be kind.""]"\nb,Bye,Bye,"[""Be kind.""]"\n'
    )
    split(RowSource(path), tmp_path / "parts", {"a": 0.5, "b": 0.5})
    assert [r["guardrails"] for n in "ab" for r in rows_of(tmp_path / "parts" / f"{n}.jsonl")] == [
        ["Be kind."]
    ] * 2
