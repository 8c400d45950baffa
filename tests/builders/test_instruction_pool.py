"""The pool against rouge-score on every pair, and ROUGE-L by hand."""

from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from halign.builders.instruction_pool import InstructionPool

WORDS = (
    "write",
    "name",
    "list",
    "a",
    "the",
    "poem",
    "story",
    "of",
    "about",
    "three",
    "rivers",
    "old",
    "new",
    "sea",
)


def plainly(pool, text, threshold):
    """Every pair by the library."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return next((p for p in pool if scorer.score(p, text)["rougeL"].fmeasure >= threshold), None)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 1.0])
def test_as_the_library_on_every_pair(threshold):
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(150)]
    pool, plain = InstructionPool(threshold=threshold), []
    for text in texts:
        expected = plainly(plain, text, threshold)
        assert pool.alike(text) == expected
        assert pool.add(text) == (expected is None)
        plain += [text] * (expected is None)
    assert pool.texts == plain
    assert 10 < len(plain) < 150


def test_by_hand():
    # "a b c d" and "a c b d e": longest common subsequence a b d (or a c d) = 3, F = 6 / 9
    pool = InstructionPool(["a b c d"], threshold=0.66)
    assert pool.alike("a c b d e") == "a b c d"
    assert InstructionPool(["a b c d"], threshold=0.67).alike("a c b d e") is None
    # all tokens are shared, but in the reverse order only one of them is a common subsequence: F = 2 / 8
    assert InstructionPool(["a b c d"], threshold=0.3).alike("d c b a") is None


def test_the_threshold_itself_is_too_like():
    # LCS 7 of 10 and 10 tokens: F = .7 exactly, which the paper ("less than 0.7") leaves out
    one, other = "a b c d e f g h i j", "a b c d e f g x y z"
    assert not InstructionPool([one]).add(other)
    assert InstructionPool([one]).add(other + " w")


def test_case_and_punctuation_do_not_count():
    assert not InstructionPool(["Write a poem!"]).add("write, a POEM")


def test_seeds_are_taken_as_they_are():
    assert len(InstructionPool(["same words", "same words"])) == 2
