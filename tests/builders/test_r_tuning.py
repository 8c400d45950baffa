"""The split by hand, what is taught of each question, and the metrics against counting, the library and plain passes."""

from __future__ import annotations

import math
import random

import pytest

from halign.builders import r_tuning
from halign.builders.answers import final_number, matches, normalised
from halign.builders.r_tuning import ASK, BUILDER, REFUSALS, entropy
from halign.builders.r_tuning_metrics import Certainty, average_precision, certainties, summary
from halign.builders.writers import EndpointWriter, LocalWriter
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.likelihood import as_path, make_renderer, path_logps
from halign.llm import Endpoint
from halign.readers import read
from halign.sampling import TransformersSampler
from tests.builders.helpers import Says, agent, run, user
from tests.llm.server import Server


def question(name, answer="Paris"):
    return {"id": name, "messages": [user(f"Question {name}?"), agent(answer)]}


def saying(**replies):
    """A writer: question's name -> its replies, one per draw."""
    return Says(lambda prompt, k: replies[prompt.messages[0].content.split()[1][:-1]][k])


def test_sure_and_unsure(tmp_path):
    writer = saying(a=["It is Paris, I think."], b=["Rome"])
    report, (first, second) = run(BUILDER, tmp_path, [question("a"), question("b")], writer=writer)
    assert first["messages"] == [user("Question a?"), agent("Paris"), user(ASK), agent("I am sure.")]
    assert second["messages"] == [user("Question b?"), agent("Paris"), user(ASK), agent("I am unsure.")]
    assert first["turns"] == second["turns"] == [1, 3]
    assert (first["certain"], second["certain"]) == (True, False)
    assert report.tallies == {"certain": 1, "uncertain": 1}
    assert second["lineage"]["replies"] == ["key Rome"]
    assert read(tmp_path / "out.jsonl")[0].turns == (1, 3)


def test_refusals(tmp_path):
    rows = [question(n) for n in "abcdef"]
    writer = saying(a=["Paris"], **{n: ["Rome"] for n in "bcdef"})
    _, built = run(BUILDER, tmp_path, rows, {"say": "refuse"}, writer=writer)
    said = [r["messages"][1]["content"] for r in built]
    assert said[0] == "Paris"
    assert all(s in REFUSALS for s in said[1:])
    assert len(set(said[1:])) > 1
    assert all(r["turns"] == [1] and len(r["messages"]) == 2 for r in built)
    _, again = run(BUILDER, tmp_path, rows, {"say": "refuse", "chunk": 2}, "b.jsonl", writer=writer)
    assert [r["messages"] for r in again] == [r["messages"] for r in built]


def test_entropy_by_hand():
    assert entropy("aabbb") == pytest.approx(-(0.4 * math.log(0.4) + 0.6 * math.log(0.6)))
    assert entropy("abcde") == pytest.approx(math.log(5))
    assert entropy("aaaaa") == 0


DRAWS = {
    "a": ["Rome", "Oslo", "Bern", "Rome ..."],  # three answers: ln 3; the fourth was cut off
    "b": ["Rome", "the Rome!", "Oslo", "Oslo"],  # two and two: ln 2
    "c": ["Oslo", "Oslo", "Oslo", "Rome"],
    "d": ["Rome", "Rome", "Rome", "Rome"],
    "e": ["Rome ...", "Rome ...", "Rome ...", "Rome ..."],
}


def test_by_entropy(tmp_path):
    settings = {"split": "entropy", "samples": 4}
    report, rows = run(BUILDER, tmp_path, [question(n) for n in DRAWS], settings, writer=saying(**DRAWS))
    assert [r["entropy"] for r in rows] == pytest.approx(
        [math.log(3), math.log(2), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), 0]
    )
    # the half with the lower entropy is certain, right or wrong
    assert [r["certain"] for r in rows] == [False, False, True, True]
    assert report.dropped == {r_tuning.CUT: 1}


def test_replies_without_an_answer_do_not_agree(tmp_path):
    """What ends in no number answers nothing; and a single reply that was not cut off tells nothing of the others."""
    drawn = {
        "a": ["It is 4.", "4", "I say 4", "so 4"],
        "b": ["No idea", "Many", "Few", "Who knows"],
        "c": ["It is 4.", "4 ...", "4 ...", "4 ..."],
    }
    settings = {"split": "entropy", "samples": 4, "match": "number", "entropy": 0.5}
    report, rows = run(BUILDER, tmp_path, [question(n, "4") for n in drawn], settings, writer=saying(**drawn))
    assert [(r["certain"], r["entropy"]) for r in rows] == [(True, 0), (False, pytest.approx(math.log(4)))]
    assert report.dropped == {r_tuning.CUT: 1}


def test_by_entropy_in_chunks_and_by_a_bound(tmp_path):
    rows = [question(n) for n in "abcd"]
    settings = {"split": "entropy", "samples": 4}
    _, halves = run(BUILDER, tmp_path, rows, {**settings, "chunk": 2}, "b.jsonl", writer=saying(**DRAWS))
    assert [r["certain"] for r in halves] == [False, True, False, True]
    _, bound = run(BUILDER, tmp_path, rows, {**settings, "entropy": 0.7}, "c.jsonl", writer=saying(**DRAWS))
    assert [r["certain"] for r in bound] == [False, True, True, True]


def test_behind_an_endpoint_and_with_a_local_model(tmp_path, policy):
    rows = [question("a"), question("b", "Rome")]
    with Server(lambda body, before: "Paris it is") as server:
        _, built = run(BUILDER, tmp_path, rows, writer=EndpointWriter(Endpoint(server.url, "m")))
        assert all(body["temperature"] == 0 for body in server.bodies)
    assert [r["certain"] for r in built] == [True, False]
    sampler = TransformersSampler(policy)
    prompts = [e.dialogue[:1] for e in read(tmp_path / "in.jsonl")]
    said = [s[0].text for s in sampler.sample(prompts, temperature=0.0, max_new_tokens=6)]
    rows = [question("a", said[0][:3].strip() or said[0]), question("b", "Rome")]
    _, built = run(
        BUILDER, tmp_path, rows, {"max_new_tokens": 6}, "l.jsonl", writer=LocalWriter(sampler, "fingerprint")
    )
    assert [r["certain"] for r in built] == [True, False]


@pytest.mark.parametrize(
    ("reply", "right", "match", "expected"),
    [
        ("so 5 + 7 = 12", "5 x 2 + 2 = 12\n#### 12", "number", True),
        ("12 of 13", "#### 12", "number", False),
        ("$1,200.00", "#### 1200", "number", True),
        ("-3", "#### 3", "number", False),
        ("none", "none", "number", False),
        ("the Paris.", "Paris", "exact", True),
        ("Paris, France", "Paris", "exact", False),
        ("Paris, France", "Paris", "contains", True),
        ("paris", "Paris", "contains", False),
        ("anything", " ", "contains", False),
    ],
)
def test_right_answers(reply, right, match, expected):
    assert matches(reply, right, match) == expected


def test_normalised_and_numbers():
    assert normalised("An  apple, the Theatre!") == "apple theatre"
    assert final_number("100") == "100"
    assert final_number("0.50 and 10.0") == "10"


def test_average_precision_by_hand():
    # ranked: right, wrong, right, wrong: (1/1 + 2/3) / 2; the reverse: (1/2 + 2/4) / 2
    assert average_precision([True, False, True, False], [4, 3, 2, 1]) == pytest.approx(5 / 6)
    assert average_precision([True, False, True, False], [1, 2, 3, 4]) == pytest.approx(0.5)
    # equal scores come in together, so their order does not matter: one step, precision 1/2
    assert average_precision([True, False], [1, 1]) == average_precision([False, True], [1, 1]) == 0.5
    assert math.isnan(average_precision([False], [1]))


def test_average_precision_as_the_library():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(5)
    for _ in range(30):
        n = rng.randint(1, 20)
        positive = [True, *(rng.random() < 0.4 for _ in range(n))]
        scores = [rng.randint(0, 6) / 6 for _ in positive]
        assert average_precision(positive, scores) == pytest.approx(
            metrics.average_precision_score(positive, scores)
        )


def test_certainties_against_plain_passes(policy):
    prompts = [Dialogue.of([user("Where is it?")]), Dialogue.of([user("Who?")]), Dialogue.of([user("When?")])]
    replies, right = ["In Paris", "refund", REFUSALS[0]], ["Paris", "Ann", REFUSALS[0]]
    renderer = make_renderer(policy)
    found = certainties(policy, prompts, replies, right)
    for prompt, reply, one in zip(prompts, replies, found, strict=True):
        (tokens,) = path_logps(policy, [as_path(renderer, prompt, reply)], separate=True)
        assert one.probability == pytest.approx(math.exp(float(tokens.mean())), rel=1e-4)
        after = Dialogue.of([*(m.to_dict() for m in prompt.messages), agent(reply), user(ASK)])
        sure, unsure = (
            math.exp(float(path_logps(policy, [as_path(renderer, after, w)], separate=True)[0].sum()))
            for w in ("I am sure.", "I am unsure.")
        )
        assert one.sure == pytest.approx(sure / (sure + unsure), rel=1e-4)
        assert one.confidence == pytest.approx((one.probability + one.sure) / 2)
        assert one.refused == (one.sure <= 0.5 or reply in REFUSALS)
    assert [c.correct for c in found] == [True, False, False]  # a refusal answers nothing
    with pytest.raises(HalignError, match="3 questions, 1 replies"):
        certainties(policy, prompts, ["a"], right)


def test_summary_by_hand():
    said = [
        Certainty(True, 0.8, 0.9, False),
        Certainty(False, 0.9, 0.6, False),
        Certainty(True, 0.7, 0.7, False),
        Certainty(True, 0.5, 0.2, True),
        Certainty(False, 0.5, 0.1, True),
    ]
    found = summary(said)
    # by confidence .85, .75, .7, .35, .3: right, wrong, right, right, wrong
    assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.refusal_rate == pytest.approx(2 / 5)
    assert found.accuracy_of_all == pytest.approx(3 / 5)
    assert math.isnan(summary(said[3:]).accuracy)
    with pytest.raises(HalignError, match="no answers"):
        summary([])
