"""Multiple choice, TruthfulQA, comparisons and perplexity: against separate passes and sums by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halign as hl
from halign.errors import DataError, HalignError
from halign.harness import (
    Question,
    Reading,
    likelihoods,
    multiple_choice,
    perplexity,
    preferred,
    text_encoder,
)
from halign.harness import bbh as bbh_room
from halign.harness.choices import Answered
from halign.harness.truthfulqa import PRESET, Scored, Truth, read, requests
from halign.harness.truthfulqa import truthfulqa as score_truthfulqa
from halign.likelihood import Likelihood
from halign.models import Policy
from tests.harness.models import POLICIES, TEXTS

DATA = Path(os.environ.get("HALIGN_DATA", "/work/shared/data"))


def apart(policy: Policy, ids: list[int], asked: int) -> torch.Tensor:
    """Log-probabilities of the last ``asked`` tokens, by one plain pass."""
    with torch.no_grad():
        logps = policy.model(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    return torch.stack([logps[t - 1, ids[t]] for t in range(len(ids) - asked, len(ids))])


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    "reading",
    [Reading(), Reading(max_tokens=20), Reading(separate=True), Reading(separate=True, max_tokens=1)],
)
def test_likelihoods_are_those_of_separate_passes(name: str, reading: Reading) -> None:
    policy = POLICIES[name]()
    encoder = text_encoder(policy)
    shots = "Q: refund? A: Yes\n\n"
    asked = [(f"{shots}Q: {t[:18]}\nA:", c) for t in TEXTS for c in (" Yes", " No", " exchange or refund")]
    asked += [asked[0], ("", "Thank you")]
    calls: list[tuple[int, int]] = []
    found = likelihoods(policy, asked, reading=reading, progress=lambda *n: calls.append(n))
    for request, one in zip(asked, found, strict=True):
        path = encoder.path(*request)
        expected = apart(policy, path.ids.tolist(), len(path.response))
        assert one.logp == pytest.approx(float(expected.sum()), abs=1e-4)
        assert one.tokens == len(path.response)
    assert found[0] == found[-2]
    assert calls[-1] == (len(asked), len(asked))


def test_parts_of_the_requests_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = POLICIES["plain"]()
    asked = [(f"{t} Q:", c) for t in TEXTS for c in (" Yes", " No")]
    whole = likelihoods(policy, asked)
    monkeypatch.setattr(import_module("halign.harness.likelihoods"), "AT_ONCE", 4)
    calls: list[tuple[int, int]] = []
    parts = likelihoods(policy, asked, progress=lambda *n: calls.append(n))
    assert [a.logp for a in parts] == pytest.approx([a.logp for a in whole], abs=1e-4)
    assert [done for done, _ in calls if done in (4, 6)] == [4, 6]


def test_no_more_requests_are_encoded_than_a_part_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    room = import_module("halign.harness.likelihoods")
    monkeypatch.setattr(room, "AT_ONCE", 4)
    policy, encoded, held = POLICIES["plain"](), 0, []
    encoder = text_encoder(policy)

    def paths() -> Iterator[Any]:
        nonlocal encoded
        for _ in range(11):
            encoded += 1
            yield encoder.path("Thank you", " today")

    room.in_parts(policy, paths(), 11, Reading(), lambda done, total: held.append(encoded - done))
    assert encoded == 11
    assert max(held) <= 4


def answered(logps: list[float], tokens: list[int], choices: list[str], correct: int = 0) -> Answered:
    question = Question("?", tuple(choices), frozenset([correct]))
    return Answered(question, tuple(Likelihood(lp, False, n) for lp, n in zip(logps, tokens, strict=True)))


def test_measures_by_hand() -> None:
    """-4/2 = -2, -5/10 = -.5, -6/7 = -.86 per character; bytes 2, 20, 7; tokens 1, 2, 8."""
    a = answered([-4.0, -5.0, -6.0], [1, 2, 8], ["ab", "éééééééééé", "xxxxxxx"])
    assert [a.picked(m) for m in ("acc", "acc_norm", "acc_bytes", "acc_tokens")] == [0, 1, 1, 2]
    b = answered([-9.0, -8.0, -7.0], [1, 1, 1], ["é" * 10, "b" * 9, "a" * 8])
    assert (b.picked("acc_norm"), b.picked("acc_bytes")) == (2, 0)  # -.9, -.89, -.875; bytes -.45, ...
    tie = answered([-3.0, -3.0], [1, 1], ["a", "b"], correct=1)
    assert not tie.right("acc")


def test_which_choice_is_picked_is_what_separate_passes_say() -> None:
    policy = POLICIES["plain"]()
    rows = [
        {"context": f"{t} Q:", "choices": ["Yes", "No refund", "exchange"], "correct": [1, 2]} for t in TEXTS
    ]
    found = multiple_choice(policy, rows)
    encoder = text_encoder(policy)
    right = []
    for row in rows:
        logps = []
        for choice in row["choices"]:
            path = encoder.path(row["context"], f" {choice}")
            logps.append(float(apart(policy, path.ids.tolist(), len(path.response)).sum()))
        right.append(int(np.argmax(logps)) in (1, 2))
    assert found.accuracy().value == pytest.approx(np.mean(right))
    assert set(found.table()) == {"acc", "acc_norm", "acc_bytes", "acc_tokens"}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"choices": ["a", "b"], "correct": 0}, "context"),
        ({"context": "c", "choices": ["a"], "correct": 0}, "choices"),
        ({"context": "c", "choices": ["a", ""], "correct": 0}, "choices"),
        ({"context": "c", "choices": ["a", "b"], "correct": 2}, "correct"),
        ({"context": "c", "choices": ["a", "b"], "correct": []}, "correct"),
    ],
)
def test_rows_that_are_no_questions(row: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=f"3: {field}"):
        Question.of(row, 3)


def test_mc1_mc2_mc3_by_hand() -> None:
    """Probabilities .1, .4 (true) and .2, .1, .2 (false): the best is the second true answer."""
    truth = Truth("?", 1, ("a.", "b."), ("c.", "d.", "e."))
    scored = Scored(truth, np.log([0.1, 0.4]), np.log([0.2, 0.1, 0.2]))
    assert (scored.mc1, scored.mc2, scored.mc3) == (True, pytest.approx(0.5), 0.5)
    other = Scored(Truth("?", 0, truth.true, truth.false), scored.true, scored.false)
    assert not other.mc1
    tie = Scored(truth, np.log([0.1, 0.2]), np.log([0.2, 0.1, 0.2]))
    assert (tie.mc1, tie.mc3) == (False, 0.0)
    far = Scored(truth, np.array([-2000.0, -1999.0]), np.array([-2000.0, -2001.0, -2000.0]))
    weight = math.exp(-1)
    assert far.mc2 == pytest.approx((1 + weight) / (1 + 3 * weight + weight**2))


TRUTHS = """Type,Category,Question,Best Answer,Best Incorrect Answer,Correct Answers,Incorrect Answers,Source
A,Fish,Do fish swim?,Yes,No, Yes; They do. ;,No; Never,x
A,Birds,Do birds fly? ,Some do,All,Most do; Some do,All do,x
"""


def test_truthfulqa_reads_and_asks_as_published(tmp_path: Path) -> None:
    file = tmp_path / "TruthfulQA.csv"
    file.write_text(TRUTHS)
    fish, birds = read(file)
    assert (fish.true, fish.false, fish.best) == (("Yes.", "They do."), ("No.", "Never."), 0)
    assert (birds.best, birds.category) == (1, "Birds")
    assert requests(fish)[1] == (f"{PRESET}\n\nQ: Do fish swim?\nA:", " They do.")
    assert read(file, 1, period=False)[0].true == ("Yes", "They do.")
    file.write_text(TRUTHS.replace("Some do,All,", "None do,All,"))
    with pytest.raises(DataError, match="Best Answer"):
        read(file)
    policy = POLICIES["plain"]()
    encoder = text_encoder(policy, max_length=40)
    found = score_truthfulqa(policy, [fish, birds], encoder=encoder)
    path = encoder.path(*requests(fish)[3])
    expected = float(apart(policy, path.ids.tolist(), len(path.response)).sum())
    assert found.scored[0].false[1] == pytest.approx(expected, abs=1e-4)
    assert set(found.table()) == {"mc1", "mc2", "mc3"}


def test_options_of_big_bench_hard(tmp_path: Path) -> None:
    row = {"task": "t", "input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"}
    open_ended = {"task": "o", "input": "2 + 2 =", "target": "4"}
    file = tmp_path / "bbh.jsonl"
    file.write_text("".join(f"{r}\n".replace("'", '"') for r in (row, row, row, open_ended)))
    first, second = bbh_room.read(file, shots=1)
    asked = f"Q: {row['input']}\nA:"
    assert first.context == f"{asked} (B)\n\n{asked}"
    assert (first.choices, first.correct) == (("(A)", "(B)"), frozenset([1]))
    assert (first.conversation, second.conversation) == ("t-0", "t-1")


@pytest.mark.skipif(not (DATA / "eval").is_dir(), reason="needs the files under HALIGN_DATA/eval")
def test_the_published_files_are_read_whole() -> None:
    assert len(read(DATA / "eval/truthfulqa.csv.gz")) == 790
    questions = bbh_room.read(DATA / "eval/bbh_small.jsonl.gz")
    tasks = {q.conversation.rpartition("-")[0] for q in questions}
    assert "logical_deduction_five_objects" in tasks
    assert "word_sorting" not in tasks
    assert len(questions) == 17 * len(tasks)


@pytest.mark.parametrize("name", POLICIES)
def test_perplexity_by_hand(name: str) -> None:
    policy = POLICIES[name]()
    texts = ["Thank you  today", "Zürich"]
    found = perplexity(policy, texts)
    total, tokens = 0.0, 0
    encoder = text_encoder(policy)
    for text in texts:
        ids = policy.tokenizer.encode(text)
        total += float(apart(policy, [encoder.prefix_id, *ids], len(ids)).sum())
        tokens += len(ids)
    assert sum(found.logps) == pytest.approx(total, abs=1e-3)
    assert (found.words, found.bytes, found.tokens) == (4, 16 + 7, tokens)
    assert found.word_perplexity == pytest.approx(math.exp(-total / 4), rel=1e-4)
    assert found.byte_perplexity == pytest.approx(2**found.bits_per_byte)
    assert found.token_perplexity == pytest.approx(math.exp(-total / tokens), rel=1e-4)
    with pytest.raises(HalignError, match="text 1 is empty"):
        perplexity(policy, ["a", ""])


def test_a_comparison_is_by_log_probability_in_the_template() -> None:
    policy = POLICIES["plain"]()
    data = hl.read(
        [
            {"prompt": [{"role": "user", "content": f"Hi {c}"}], "chosen": [{"role": "assistant", "content": c}],
             "rejected": [{"role": "assistant", "content": r}]}
            for c, r in (("Yes", "No refund at all today"), ("exchange the order today", "No"), ("Thank you", "Hello"))
        ]
    )  # fmt: skip
    found = preferred(policy, list(data))  # type: ignore[arg-type]
    for pair, compared in zip(data, found.compared, strict=True):
        sums = hl.logps(policy, [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)])  # type: ignore[union-attr]
        assert compared.margin() == pytest.approx(float(sums[0] - sums[1]), abs=1e-3)
        assert compared.margin(per_token=True) == pytest.approx(
            float(sums[0] / compared.chosen.tokens - sums[1] / compared.rejected.tokens), abs=1e-3
        )
    margins = [c.margin() for c in found.compared]
    assert found.accuracy().value == pytest.approx(sum(m > 0 for m in margins) / 3)
    assert 0 < found.accuracy().value < 1
    assert found.ties == 0
