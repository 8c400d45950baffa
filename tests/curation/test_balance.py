"""Length bias, correlations and label shares, by hand."""

from __future__ import annotations

import pytest

from halign.curation.balance import Balance
from halign.readers import read


def of(rows):
    balance = Balance()
    for example in read(rows):
        balance.add(example)
    return balance


def pair(name, chosen, rejected, **more):
    return {"id": name, "prompt": "Hi", "chosen": "x " * chosen, "rejected": "y " * rejected, **more}


def test_how_often_the_better_one_is_longer():
    """Gaps +2, -1, 0, and of a pair turned round +3: two of three that differ."""
    found = of([pair("a", 3, 1), pair("b", 1, 2), pair("c", 2, 2), pair("d", 1, 4, preference=0.2)])
    assert found.gaps.tolist() == [2, -1, 0, 3]
    assert found.longer.value == pytest.approx(2 / 3)
    assert (found.longer.n, found.longer.clusters) == (3, 3)
    assert found.rows()[0] == ("the better response, in words", "2 longer, 1 equal, 1 shorter; mean +1.0")
    assert of([pair("a", 3, 1, preference=0.5)]).rows() == []


def test_rankings_give_every_pair_that_is_told_apart():
    """Words 1, 3, 2 with ranks 1, 2, 2: 1 before 3 and before 2; the tie gives none."""
    responses = [{"content": "a", "rank": 1}, {"content": "a b c", "rank": 2}, {"content": "a b", "rank": 2}]
    assert of([{"prompt": "Hi", "responses": responses}]).gaps.tolist() == [-2, -1]


def test_scores_and_length():
    """Words 1, 2, 4, 8 with scores 1, 2, 3, 4: rank correlation 1; r = 11.5 / sqrt(5 * 28.75)."""
    rows = [{"prompt": "Hi", "responses": [{"content": "w " * 2**i, "score": i + 1} for i in range(4)]}]
    r, rho = of(rows).correlation
    assert rho == pytest.approx(1)
    assert r == pytest.approx(11.5 / (5 * 28.75) ** 0.5)
    even = [{"prompt": "Hi", "responses": [{"content": f"w{i}", "score": i} for i in range(4)]}]
    assert of(even).correlation is None


def test_labels_by_turn_and_guardrail():
    user, agent = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    rows = [
        {"prompt": [user], "completion": "one two", "label": True, "guardrails": ["A"]},
        {"prompt": [user], "completion": "one", "label": False, "guardrails": ["A", "B"]},
        {"prompt": [user, agent, user], "completion": "one two three four", "label": True},
    ]
    found = of(rows)
    assert dict(found.rows())["labelled good"] == "2 of 3 (66.7%); 3.0 words if good, 1.0 words if bad"
    assert dict(found.rows())["labelled good, by agent turn"] == "1: 50% of 2, 2: 100% of 1"
    assert found.guardrails() == [("A", 2, "50% of 2", 0), ("B", 1, "0% of 1", 0)]


def test_alternatives_and_what_they_break():
    turn = {
        "role": "assistant",
        "content": "a b",
        "alternatives": [{"content": "c", "rank": 2, "violates": "A"}, {"content": "d e", "rank": 1}],
    }
    found = of([{"id": "x", "guardrails": ["A"], "messages": [{"role": "user", "content": "Hi"}, turn]}])
    assert found.gaps.tolist() == [1]
    assert found.guardrails() == [("A", 1, "–", 1)]
    assert of([pair("a", 1, 2, violates="B")]).guardrails() == [("B", 0, "–", 1)]


def test_the_interval_is_clustered_by_the_conversation_that_is_named():
    """Four pairs of two conversations, however their rows are called."""
    balance = Balance()
    for i, example in enumerate(read([pair(f"t{i}", 2 + i % 2, 1) for i in range(4)])):
        balance.add(example, f"talk{i // 2}")
    assert (balance.longer.n, balance.longer.clusters) == (4, 2)
