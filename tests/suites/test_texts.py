"""Overlap with references, and comparisons by likelihood, against other ways to the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halign.errors import HalignError
from halign.evaluate.overlap import corpus, rouge, sentence_chrf
from halign.suites import Job, evaluate
from tests.suites.test_core import Parrot

REPLIES = ["the cat sat on the mat today", "my order has not arrived yet", "thank you very much indeed"]
REFERENCES = ["the cat sat on a mat today", "the order has not arrived so far", "thank you very much indeed"]


def test_corpus_scores_are_sacrebleus_own():
    import sacrebleu

    for name, own in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        found = corpus(name, REPLIES, REFERENCES, "abc", resamples=200)
        assert found.value == pytest.approx(own(REPLIES, [REFERENCES]).score)
        assert found.low <= found.value <= found.high
    assert sentence_chrf(REPLIES[0], REFERENCES[0]) == pytest.approx(
        sacrebleu.sentence_chrf(REPLIES[0], [REFERENCES[0]]).score
    )


def test_corpus_intervals_are_those_of_resampled_conversations():
    import sacrebleu

    clusters = ["a", "a", "b"]
    found = corpus("chrf", REPLIES, REFERENCES, clusters, resamples=50, seed=3)
    drawn = np.random.default_rng(3).integers(2, size=(50, 2))
    parts = [[0, 1], [2]]
    values = []
    for row in drawn:
        at = [i for c in row for i in parts[c]]
        values.append(sacrebleu.corpus_chrf([REPLIES[i] for i in at], [[REFERENCES[i] for i in at]]).score)
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high))
    with pytest.raises(ValueError):
        corpus("bleu", [], [], [])


def test_rouge_by_hand():
    # two of three words in common and in order; one of two pairs
    found = rouge("the cat sat", "the cat ran")
    assert found["rouge1"] == pytest.approx(200 / 3)
    assert found["rougeL"] == pytest.approx(200 / 3)
    assert found["rouge2"] == pytest.approx(50.0)


def test_overlap_takes_every_reply_of_the_data_as_a_reference(tmp_path):
    rows = [
        {
            "id": f"c{i}",
            "messages": [
                {"role": "user", "content": "thank you"},
                {"role": "assistant", "content": "thank you!"},
                {"role": "user", "content": "the order has not arrived"},
                {"role": "assistant", "content": "the order has not arrived!"},
            ],
        }
        for i in range(2)
    ]
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = evaluate(Parrot(), ["overlap"], output=tmp_path / "out", job=Job(data=file)).suites[0]
    assert found.questions == 4
    assert found.measures["BLEU, corpus"].value == pytest.approx(100.0)
    assert found.measures["rougeL"].value == pytest.approx(100.0)
    assert found.measures["chrF, corpus"].clusters == 2


def test_the_likelier_response_is_the_one_that_logps_says(policy, tmp_path):
    import halign as hl

    rows = [
        {"input": f"Hello {i}", "target_scores": {f"Yes {i}": 1, f"No no {i}": 0}, "category": "x"}
        for i in range(4)
    ]
    file = tmp_path / "hhh.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = evaluate(policy, ["hhh"], output=tmp_path / "out", job=Job(data=file))
    asked = [([{"role": "user", "content": r["input"]}], text) for r in rows for text in r["target_scores"]]
    logps = hl.logps(policy, asked, separate=True).reshape(4, 2)
    right = (logps[:, 0] > logps[:, 1]).float().mean().item()
    assert found.suites[0].measures["likelier, in all"].value == right
    again = evaluate(policy, ["hhh"], output=tmp_path / "out", job=Job(data=file))
    assert again.suites == found.suites
    with pytest.raises(HalignError, match="model in this process"):
        evaluate(Parrot(), ["hhh"], output=tmp_path / "other", job=Job(data=file))


def test_rankings_give_a_comparison_for_every_two_responses_of_different_rank(policy, tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "Hello"}],
        "responses": [{"content": c, "rank": r} for c, r in (("a", 1), ("b", 2), ("c", 2))],
    }
    file = tmp_path / "rankings.jsonl"
    file.write_text(json.dumps(row) + "\n")
    found = evaluate(policy, ["hhh"], output=tmp_path / "out", job=Job(data=file)).suites[0]
    assert found.questions == 2
