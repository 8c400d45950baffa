"""Contamination made by hand, and by brute force; and the real test sets that stand in two places."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from halign.curation.decontaminate import HeldOut, decontaminate, read_tests
from halign.curation.minhash import normal
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.readers import write_rows
from tests.builders.helpers import agent, user
from tests.curation.plainly import changed, rows_of, talk

DATA = Path(os.environ.get("HALIGN_DATA", "/work/shared/data"))
LONG = "Janet's ducks lay 16 eggs per day, she eats three for breakfast every morning and bakes muffins for her friends"
SHORT = "how do I kill a running Python process quickly"  # 9 words
TINY = "who are you"


def run(tmp_path, rows, tests=(LONG, SHORT, TINY), **settings):
    write_rows(rows, tmp_path / "in.jsonl")
    write_rows(
        [{"question": t, "category": "maths", "n": i} for i, t in enumerate(tests)], tmp_path / "test.jsonl"
    )
    against = [tmp_path / "test.jsonl"]
    _, matches, found = decontaminate(
        RowSource(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", against, dropped=True, **settings
    )
    kept = [r["id"] for r in rows_of(tmp_path / "out.jsonl")]
    return kept, {n: (m.how, m.row) for n, m in matches}, found[str(against[0])]


def test_by_hand(tmp_path):
    words = LONG.split()
    rows = [
        talk("Say: " + " ".join(words[3:16]).upper() + "!", "thirteen"),
        talk("Say: " + " ".join(words[3:15]) + " so", "twelve"),
        talk("Tell me, " + SHORT + "?", "inside"),
        talk("Who are you?", "tiny"),
        talk("Tell me who are you and why", "tiny inside"),
        talk("Hello", "in a reply", LONG),
        talk("maths", "no question"),
        talk(" ".join([*words[:9], "supper", *words[10:]]), "near"),
    ]
    kept, found, (texts, tests) = run(tmp_path, rows, threshold=0.5)
    assert kept == ["twelve", "tiny inside", "no question"]
    assert found == {
        1: ("the same 13 words", 1),
        3: ("a short text whole", 2),
        4: ("a message is the text", 3),
        6: ("a message is the text", 1),
        8: ("nearly the same", 1),
    }
    assert (texts, tests) == (3, 3)
    first = rows_of(tmp_path / "out.dropped.jsonl")[0]["dropped"]
    assert first["words"] == " ".join(normal(" ".join(words[3:16])))
    assert (first["file"], first["row"]) == ("test.jsonl", 1)
    kept, _, _ = run(tmp_path, rows, threshold=1.0)
    assert "near" in kept


def test_every_run_against_brute_force():
    """Random texts over few words: a text is found if and only if it holds a run of a test, for runs of 4 and at least 3."""
    rng = random.Random(0)
    tests = HeldOut(run=4, least=3, threshold=1.0)
    asked = [[rng.choice("abcdef") for _ in range(rng.randint(1, 9))] for _ in range(24)]
    for i, words in enumerate(asked):
        tests.add(" ".join(words), "t", i)
    held = {tuple(w[i : i + min(4, len(w))]) for w in asked if len(w) >= 3 for i in range(max(1, len(w) - 3))}
    found = missed = 0
    for _ in range(1500):
        words = [rng.choice("abcdef") for _ in range(rng.randint(1, 10))]
        runs = {tuple(words[i : i + n]) for n in (3, 4) for i in range(len(words) - n + 1)}
        expected = bool(runs & held) or words in asked
        assert (tests.find(" ".join(words)) is not None) == expected
        found, missed = found + expected, missed + (not expected)
    assert min(found, missed) > 100


def test_rejected_and_alternative_responses_count(tmp_path):
    pair = {"id": "p", "prompt": "Hi", "chosen": "Hello", "rejected": f"Well: {LONG}"}
    assert run(tmp_path, [pair, {**pair, "id": "q", "rejected": "No"}])[0] == ["q"]
    turn = {"role": "assistant", "content": "Hello", "alternatives": [{"content": LONG, "rank": 2}]}
    talks = [
        {"id": n, "messages": [{"role": "user", "content": "Hi"}, t]}
        for n, t in (("a", turn), ("b", {**turn, "alternatives": []}))
    ]
    assert run(tmp_path, talks)[0] == ["b"]


def test_common_phrases_are_ignored(tmp_path):
    rows = [talk(f"Number {i}: {LONG}", f"c{i}") for i in range(4)] + [talk(f"So, {SHORT}", "d")]
    assert run(tmp_path, rows, common=3, threshold=1.0)[0] == ["c0", "c1", "c2", "c3"]
    with pytest.raises(HalignError, match="nothing would be left of 5 rows"):
        run(tmp_path, rows, common=4)


def test_common_texts_of_a_conversation_are_ignored(tmp_path):
    """Everybody says "Hello", and every agent of a desk its lines; only what is rare says that a test was read."""
    line = "I am sorry, but I am only able to help you with your bank account, {}."
    write_rows(
        [{"messages": [user("Hello"), agent(line.format("Zoe")), user(SHORT), agent("Why?")]}],
        tmp_path / "talks.jsonl",
    )
    rows = [talk("Hello", f"c{i}", line.format(name)) for i, name in enumerate(("Ann", "Bob", "Cy", "Di"))]
    rows += [talk(SHORT, "read", line.format("Ed"))]
    write_rows(rows, tmp_path / "rows.jsonl")
    source, out = RowSource(tmp_path / "rows.jsonl"), tmp_path / "kept.jsonl"
    against = [tmp_path / "talks.jsonl"]
    with pytest.raises(HalignError, match=r"nothing would be left of 5 rows.*--common 10"):
        decontaminate(source, out, against)
    _, matches, _ = decontaminate(source, out, against, common=4)  # five rows have the line
    assert [(number, m.how, m.words) for number, m in matches] == [
        (5, "a message is the text", SHORT.lower())
    ]
    assert [r["id"] for r in rows_of(out)] == [
        "c0",
        "c1",
        "c2",
        "c3",
    ]  # of a talk "Hello" and "Why?" ask nothing
    with pytest.raises(HalignError, match=r"nothing would be left of 5 rows"):
        decontaminate(source, out, against, common=5)


def test_errors(tmp_path):
    rows = [talk("Hi", "a")]
    with pytest.raises(
        HalignError, match=r"test.jsonl: no text in colour; it has question, category, n: name one"
    ):
        run(tmp_path, rows, columns=["colour"])
    with pytest.raises(HalignError, match="1 <= least <= run"):
        run(tmp_path, rows, run=5)
    assert run(tmp_path, [talk("maths", "m"), *rows], columns=["category"])[0] == ["a"]


@pytest.mark.skipif(not (DATA / "eval").is_dir(), reason="needs the files under HALIGN_DATA/eval")
@pytest.mark.parametrize(
    ("train", "test", "share"),
    [
        ("preferences/nc_alpaca_eval_rankings_test", "eval/nc_alpaca_eval.jsonl.gz", 1.0),
        ("preferences/nc_alpaca_eval_rankings_test", "instructions/user_oriented.jsonl.gz", None),
        ("preferences/xstest_rankings_test", "eval/gsm8k_test.jsonl.gz", 0.0),
        ("preferences/nc_alpaca_eval_rankings_test", "eval/vicuna_bench_questions.jsonl", None),
    ],
)
def test_sets_that_stand_in_two_places(tmp_path, train, test, share):
    """What SOURCES.md says stands in two sets, against plain equality of prompts."""
    source = RowSource(DATA / f"{train}.jsonl.gz")
    prompts = [" ".join(normal(row.dialogue.messages[-1].content)) for row in source]
    if share == 1.0:
        with pytest.raises(HalignError, match=f"nothing would be left of {len(prompts)} rows"):
            decontaminate(source, tmp_path / "out.jsonl", [DATA / test], threshold=1.0)
        return
    outcome, matches, _ = decontaminate(source, tmp_path / "out.jsonl", [DATA / test], threshold=1.0)
    dropped = {n for n, _ in matches}
    assert outcome.kept + len(dropped) == len(prompts)
    tests = HeldOut()
    read_tests([DATA / test], tests)
    equal = {i for i, p in enumerate(prompts, 1) if p in tests.whole}
    assert equal <= dropped
    assert share is None or len(dropped) == share * len(prompts)
    assert share == 0.0 or len(equal) >= 5


def test_near_duplicates_are_found_at_the_threshold(tmp_path):
    rng = random.Random(3)
    texts = [" ".join(f"w{rng.randint(0, 9999)}" for _ in range(80)) for _ in range(30)]
    rows = [talk(changed(t, 0.3, rng), f"c{i}") for i, t in enumerate(texts)]  # no run of 13 survives in most
    rows += [
        talk(" ".join(w if k % 12 else f"y{k}" for k, w in enumerate(t.split(), 1)), f"n{i}")
        for i, t in enumerate(texts)
    ]
    kept, found, _ = run(tmp_path, rows, texts, threshold=0.5)
    assert {how for how, _ in found.values()} <= {"nearly the same", "the same 13 words"}
    assert not [i for i in kept if i.startswith("n")]
    assert all(found[31 + i][1] == i + 1 for i in range(30))
