"""Which rows are dropped, against every pair compared with plain sets; and what is written."""

from __future__ import annotations

import random

import pytest

from halign.curation.dedupe import ALIKE, SAME, dedupe
from halign.curation.minhash import normal
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.lineage import read_header, row_hash
from halign.readers import read, write_rows
from tests.curation.plainly import changed, plain, rows_of, talk


def run(tmp_path, rows, **settings):
    write_rows(rows, tmp_path / "in.jsonl")
    outcome, _ = dedupe(RowSource(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", dropped=True, **settings)
    kept = [r["id"] for r in rows_of(tmp_path / "out.jsonl")]
    return outcome, kept, rows_of(tmp_path / "out.dropped.jsonl")


@pytest.fixture(scope="module")
def many():
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randint(0, 400)}" for _ in range(50)) for _ in range(120)]
    for share in (0.0, 0.01, 0.03, 0.08, 0.2):
        texts += [changed(t, share, rng) for t in texts[:60]]
    rng.shuffle(texts)
    return [talk(t, f"c{i}", reply="Yes.") for i, t in enumerate(texts)]


def greedy(rows, threshold):
    """id of every dropped row -> is the text the same; all pairs compared, in file order."""
    kept, dropped = [], {}
    for row in rows:
        words = normal("\n".join(m["content"] for m in row["messages"]))
        mine = plain(" ".join(words))
        if any(words == w for w, _ in kept):
            dropped[row["id"]] = True
        elif any(len(mine & s) / len(mine | s) >= threshold for _, s in kept):
            dropped[row["id"]] = False
        else:
            kept.append((words, mine))
    return dropped


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_drops_what_comparing_all_pairs_drops(tmp_path, many, threshold):
    """Recall and precision of the near-duplicates found, against brute force; at most one pair in 100 may be missed."""
    expected = greedy(many, threshold)
    _, kept, dropped = run(tmp_path, many, threshold=threshold)
    found = {r["id"]: r["dropped"]["why"] == SAME for r in dropped}
    assert len(kept) + len(found) == len(many)
    assert len(expected) > 60
    both = found.keys() & expected.keys()
    assert len(both) >= 0.99 * len(expected)
    assert len(both) >= 0.99 * len(found)
    sets = {r["number"]: plain("\n".join(m["content"] for m in r["messages"])) for r in _numbered(many)}
    for r in dropped:
        mine, other = sets[r["lineage"]["row"]], sets[r["dropped"]["like"]]
        assert len(mine & other) / len(mine | other) == pytest.approx(r["dropped"]["similarity"], abs=1e-4)
        assert r["dropped"]["similarity"] >= threshold - 1e-4
        assert f"c{r['dropped']['like'] - 1}" in kept


def _numbered(rows):
    return [{**r, "number": i} for i, r in enumerate(rows, 1)]


def test_the_words_count_and_the_first_is_kept(tmp_path):
    rows = [talk("Where is my parcel?", "a"), talk("where is MY parcel", "b"), talk("Where is it?", "c")]
    outcome, kept, dropped = run(tmp_path, rows)
    assert kept == ["a", "c"]
    assert dropped[0]["dropped"] == {"why": SAME, "like": 1, "similarity": 1.0}
    assert (outcome.read, outcome.kept, dict(outcome.dropped)) == (3, 2, {SAME: 1})


def test_the_best_is_kept_and_ties_go_to_the_first(tmp_path):
    rows = [talk("Where is my parcel?", n, grade=g) for n, g in (("a", 2), ("b", 4.5), ("c", 4.5))]
    assert run(tmp_path, rows, best=True)[1] == ["b"]
    assert run(tmp_path, [{**r, "mine": -r["grade"]} for r in rows], best=True, score="mine")[1] == ["a"]
    with pytest.raises(HalignError, match="no row has a number in nothing"):
        run(tmp_path, rows, best=True, score="nothing")


def test_rows_of_one_conversation_are_alike_by_nature(tmp_path):
    """Turns 1 and 2 of one conversation share most of their words; with ``within`` the second goes."""
    start = [{"role": "user", "content": " ".join(f"w{i}" for i in range(80))}]
    more = [*start, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    pairs = [
        {"id": f"talk-{k}", "prompt": p, "chosen": f"Good {k}.", "rejected": "Bad."}
        for k, p in ((1, start), (3, more))
    ]
    assert run(tmp_path, pairs)[1] == ["talk-1", "talk-3"]
    assert run(tmp_path, pairs, within=True)[1] == ["talk-1"]
    assert run(tmp_path, [pairs[0], {**pairs[1], "id": "other"}])[1] == ["talk-1"]


def test_by_prompt_response_or_both(tmp_path):
    rows = [
        talk("Where is it?", "a", "Here."),
        talk("Where is it?", "b", "There."),
        talk("Who is it?", "c", "Here."),
    ]
    assert run(tmp_path, rows, by="prompt")[1] == ["a", "c"]
    assert run(tmp_path, rows, by="response")[1] == ["a", "b"]
    assert run(tmp_path, rows, by="dialogue")[1] == ["a", "b", "c"]
    assert run(tmp_path, [{"id": str(i), "prompt": f"p{i % 2}"} for i in range(4)], by="prompt")[1] == [
        "0",
        "1",
    ]


def test_chains_do_not_swallow(tmp_path):
    """a ~ b ~ c, but not a ~ c: b goes, and c stays, as it is like no row that is kept."""
    words = [f"w{i}" for i in range(100)]
    b, c = [*words[:93], *"abcdefg"], ["h", "i", "j", "k", "l", "m", "n", *words[7:93], *"abcdefg"]
    rows = [talk(" ".join(t), n) for n, t in (("a", words), ("b", b), ("c", c))]
    assert run(tmp_path, rows, by="prompt")[1] == ["a", "c"]
    assert run(tmp_path, rows[1:], by="prompt")[1] == ["b"]


def test_texts_without_words_are_only_the_same_if_they_are(tmp_path):
    rows = [{"id": str(i), "prompt": p, "completion": p} for i, p in enumerate(("?", "!", "?", "…"))]
    assert run(tmp_path, rows)[1] == ["0", "1", "3"]


def test_only_the_same_words_at_threshold_one(tmp_path, many):
    _, _, dropped = run(tmp_path, many, threshold=1.0)
    assert {r["dropped"]["why"] for r in dropped} == {SAME}
    assert len(dropped) == sum(greedy(many, 2.0).values())
    with pytest.raises(HalignError, match="threshold: 0 is not above 0"):
        run(tmp_path, many, threshold=0)


def test_rows_stay_as_they_are_and_say_where_they_are_from(tmp_path):
    rows = [talk("Where?", "a", grade=3, colour="red"), talk("Where?", "b"), talk("Who?", "c", policy=["x"])]
    run(tmp_path, rows)
    out = rows_of(tmp_path / "out.jsonl")
    steps = read_header(tmp_path / "out.jsonl")
    for row, number in zip(out, (1, 3), strict=True):
        mine = row.pop("lineage")
        assert row == rows[number - 1]
        assert (mine["row"], mine["id"], mine["sha256"]) == (number, row["id"], row_hash(row))
        step = steps[mine["step"]]
        assert (step.builder, step.settings["threshold"]) == ("dedupe", 0.8)
        assert step.file == str(tmp_path / "in.jsonl")
    assert [e.dialogue.meta["lineage"]["row"] for e in read(tmp_path / "out.jsonl")] == [1, 3]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_clusters_are_counted(tmp_path):
    rows = [talk("Where is it?", "a"), talk("Who?", "b"), *(talk("Where is it?", f"d{i}") for i in range(3))]
    write_rows(rows, tmp_path / "in.jsonl")
    _, found = dedupe(RowSource(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
    assert found.clusters == {1: 3}
    assert ALIKE != SAME
