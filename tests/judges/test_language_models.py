"""The pairwise labeller and the direct scorer against a server that plays a judge with known probabilities."""

from __future__ import annotations

import math
import re

import pytest

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.judges import DirectScorer, Label, Labels, PairwiseLabeller
from halign.llm import Client, Endpoint, Failure
from tests.llm.server import Fault, Server, completion, last


def prompt(i=0):
    return Dialogue.of(
        [{"role": "user", "content": f"Question {i}"}],
        guardrails=("Be kind.",),
        meta={"conversation": f"c{i}"},
    )


def logs(**probabilities):
    return {k.strip("_"): math.log(p) for k, p in probabilities.items()}


def quality(text):
    return float(re.search(r"quality ([\d.]+)", text)[1])


def replies_of(body):
    """The two replies shown, in order."""
    return re.search(r"Reply 1:\n(.*?)\n\nReply 2:\n(.*?)\n\nWhich", last(body), re.DOTALL).groups()


def judge(bias=0.0, given=True):
    """A judge that says 1 with probability sigmoid(difference of qualities) + bias, in logprobs or in words."""

    def script(body, before):
        first, second = (quality(r) for r in replies_of(body))
        p = 1 / (1 + math.exp(second - first)) + bias
        if given and body.get("logprobs"):
            half = {"1": math.log(p * 0.9), " 2": math.log((1 - p) * 0.9), "Both": math.log(0.1)}
            return completion("1", top=[half])
        return "1" if p > 0.5 else "Reply 2"

    return script


A, B = ["quality 2.0", "quality 0.0", "quality 1.0"], ["quality 0.0", "quality 0.1", "quality 1.0"]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_both_orders_are_averaged_so_that_position_bias_cancels():
    with Server(judge(bias=0.1)) as server:
        labels = PairwiseLabeller(Endpoint(server.url, "m")).label([prompt(i) for i in range(3)], A, B)
    assert [x.preference for x in labels.labels] == pytest.approx([sigmoid(2), sigmoid(-0.1), 0.5])
    assert labels.labels[0].first == pytest.approx(sigmoid(2) + 0.1)
    assert labels.labels[0].second == pytest.approx(sigmoid(2) - 0.1)
    assert [x.agrees for x in labels.labels] == [True, False, False]  # 0.575 against 0.375; 0.6 against 0.4
    assert labels.disagreement == pytest.approx(2 / 3)
    assert labels.position_bias == pytest.approx(0.1)
    assert (labels.by_logprobs, labels.by_samples) == (6, 0)
    assert "disagree on 66.7%" in str(labels)
    assert server.asked.total() == 5  # two equal replies make one question of two
    assert {b["max_tokens"] for b in server.bodies} == {4}
    assert "Be kind." in last(server.bodies[0])


def test_labels_become_preferences_with_the_better_reply_chosen():
    with Server(judge()) as server:
        labeller = PairwiseLabeller(Endpoint(server.url, "m"))
        prompts = [prompt(i) for i in range(3)]
        examples = labeller.label(prompts, A, B).preferences(prompts, A, B)
    assert [e.preference for e in examples] == pytest.approx([sigmoid(2), sigmoid(0.1), 0.5])
    assert [e.chosen.content for e in examples[:2]] == ["quality 2.0", "quality 0.1"]
    assert examples[1].rejected == Message("assistant", "quality 0.0")
    assert [e.conversation for e in examples] == ["c0", "c1", "c2"]
    assert examples[0].prompt is prompts[0]


@pytest.mark.parametrize("refuses", [False, True], ids=["ignores the wish", "refuses the wish"])
def test_without_logprobs_the_verdict_is_read_from_words(refuses):
    inner = judge(given=False)

    def script(body, before):
        return Fault(400) if refuses and body.get("logprobs") else inner(body, before)

    with Server(script) as server:
        labels = PairwiseLabeller(Endpoint(server.url, "m")).label([prompt()], ["quality 2"], ["quality 1"])
        assert labels.labels == [Label(1.0, 1.0)]
        assert (labels.by_logprobs, labels.by_samples) == (0, 2)
        assert server.asked.total() == 3  # one to find out
        assert server.bodies[-1]["temperature"] == 0
        with pytest.raises(HalignError, match="read = 'words'"):
            PairwiseLabeller(Endpoint(server.url, "m"), read="words").label([prompt()], ["x"], ["y"])


def test_logprobs_that_must_be_there_fail_where_they_are_not():
    with Server(judge(given=False)) as server:
        labeller = PairwiseLabeller(Endpoint(server.url, "m"), read="logprobs")
        (label,) = labeller.label([prompt()], ["quality 2"], ["quality 1"]).labels
    assert isinstance(label, Failure)
    assert 'read="samples"' in str(label)
    assert "pair 0" in str(label)


def test_draws_are_shares():
    words = iter(["1", "1", "2", "1", "2", "2", "1", "2"])
    with Server(lambda b, n: next(words)) as server:
        labeller = PairwiseLabeller(Endpoint(server.url, "m", concurrency=1), read="samples", samples=4)
        (label,) = labeller.label([prompt()], ["x"], ["y"]).labels
    assert label == Label(0.75, 0.75)  # three of four said the first; then three of four the second
    assert len({b["seed"] for b in server.bodies}) == 4
    assert {b["temperature"] for b in server.bodies} == {1.0}


def test_a_pair_that_is_not_judged_in_both_orders_fails_alone():
    inner = judge()

    def script(body, before):
        if replies_of(body)[0] == "quality 0.1":
            return Fault(400, body="too long")
        return inner(body, before)

    with Server(script) as server:
        labels = PairwiseLabeller(Endpoint(server.url, "m")).label([prompt(i) for i in range(3)], A, B)
    assert [isinstance(x, Failure) for x in labels.labels] == [False, True, False]
    assert labels.labels[1].index == 1
    assert "pair 1" in str(labels.labels[1])
    prompts = [prompt(i) for i in range(3)]
    assert [e.conversation for e in labels.preferences(prompts, A, B)] == ["c0", "c2"]
    assert "1 failed" in str(labels)


def test_an_evasive_judge_is_not_forced():
    with Server(lambda b, n: completion("Both", top=[logs(Both=0.9, _1=0.1)])) as server:
        (label,) = PairwiseLabeller(Endpoint(server.url, "m")).label([prompt()], ["x"], ["y"]).labels
    assert isinstance(label, Failure)
    assert "no one number from 1 to 2: 'Both'" in str(label)


def test_a_dry_run_of_the_judge_counts_both_orders():
    with Server() as server:
        labeller = PairwiseLabeller(Client(Endpoint(server.url, "m", input_price=1, output_price=1)))
        found = labeller.dry_run([prompt(), prompt(1)], ["x", "x"], ["y", "y"])
        assert (found.calls, found.reply_tokens) == (4, 16)
        assert not server.asked
        with pytest.raises(HalignError, match="2 prompts, 1 and 2 replies"):
            labeller.label([prompt(), prompt(1)], ["x"], ["y", "y"])


def test_nothing_to_judge_is_no_error():
    assert Labels([], 0, 0).disagreement == 0
    with Server() as server:
        assert PairwiseLabeller(Endpoint(server.url, "m")).label([], [], []).labels == []


def score(script, **settings):
    with Server(script) as server:
        result = DirectScorer(Endpoint(server.url, "m", concurrency=1), **settings).score([prompt()], ["x"])
    return result, server


def test_a_score_is_the_expectation_over_the_score_tokens():
    top = {"8": math.log(0.5), "7": math.log(0.25), "10": math.log(0.05), "The": math.log(0.2)}
    result, _ = score(lambda b, n: completion("8", top=[top]))
    assert result.scores == [pytest.approx((8 * 0.5 + 7 * 0.25 + 10 * 0.05) / 0.8)]
    assert (result.by_logprobs, result.by_samples) == (1, 0)


def test_white_space_before_the_score_is_passed_over():
    top = [{" ": -0.1}, {"9": math.log(0.6), "5": math.log(0.4)}]
    result, _ = score(lambda b, n: completion(" 9", top=top))
    assert result.scores == [pytest.approx(9 * 0.6 + 5 * 0.4)]


def test_a_ten_of_two_tokens_is_told_from_a_one():
    top = [{"1": math.log(0.4), "9": math.log(0.6)}, {"0": math.log(0.75), "<end>": math.log(0.25)}]
    result, _ = score(lambda b, n: completion("10", top=top))
    assert result.scores == [pytest.approx(10 * 0.3 + 1 * 0.1 + 9 * 0.6)]


def test_where_a_one_cannot_be_told_from_a_ten_words_decide():
    words = iter(["10", "9/10", "10", "1", "ten?", "10", "10", "10"])

    def script(body, before):
        if body.get("logprobs"):
            return completion("9", top=[{"9": math.log(0.6), "1": math.log(0.4)}])
        return next(words)

    result, server = score(script)
    assert result.scores == [pytest.approx((6 * 0 + 10 * 5 + 9 + 1) / 7)]  # one of the eight named no number
    assert (result.by_logprobs, result.by_samples) == (0, 1)
    assert "from words: 1" in str(result)
    assert server.asked.total() == 9
