"""Labels by hand: what each order says, the mean, which reply is chosen, and what is left out."""

from __future__ import annotations

import math

import pytest

from halign.builders import rlaif
from halign.builders.rlaif import BUILDER
from halign.errors import HalignError
from halign.judges.yes_no import EndpointYesNo, LocalYesNo
from halign.likelihood import logps
from halign.llm import Endpoint
from halign.readers import read
from tests.builders.helpers import Says, Thinks, agent, part, run, user
from tests.llm.server import Server, completion, last

PAIR = {"id": "p", "prompt": [user("Who?")], "chosen": [agent("Ann")], "rejected": [agent("Bob")]}


def table(chances):
    """A judge: (first reply, second reply) -> P(yes)."""
    return Thinks(
        lambda q: chances[
            part(q, "Reply 1:", "Reply 2:"), part(q, "Reply 2:", "Is reply 1 better than reply 2?")
        ]
    )


def test_the_mean_of_both_orders(tmp_path):
    # P(Bob better): shown second 1 - .3 = .7, shown first .9; the mean .8. A wrong sign gives .2 or .6, one order alone .7 or .9.
    report, rows = run(BUILDER, tmp_path, [PAIR], judge=table({("Ann", "Bob"): 0.3, ("Bob", "Ann"): 0.9}))
    (row,) = rows
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Bob", "Ann")
    assert row["preference"] == pytest.approx(0.8)
    assert row["lineage"]["replies"] == ["judge 0.3", "judge 0.9"]
    (example,) = read(tmp_path / "out.jsonl")
    assert example.preference == pytest.approx(0.8)
    assert report.tallies["the data's own order found"] == 0
    assert report.tallies["orders disagree"] == 0


def test_what_is_said_of_the_judge(tmp_path):
    # the first favoured both times: P(Ann better) = (.9 + 1 - .6) / 2 = .65, from orders that disagree
    judge = table({("Ann", "Bob"): 0.9, ("Bob", "Ann"): 0.6})
    report, rows = run(BUILDER, tmp_path, [PAIR], judge=judge)
    assert rows[0]["chosen"][0]["content"] == "Ann"
    assert rows[0]["preference"] == pytest.approx(0.65)
    assert report.tallies["orders disagree"] == 1
    assert report.tallies["the reply shown first favoured in both orders"] == 1
    assert "the orders disagree on 100.0%, in 1 of 1" in report.notes[0]
    assert "100.0% of the pairs" in report.notes[1]


@pytest.mark.parametrize(
    ("chances", "settings", "why"),
    [
        ((0.9, 0.9), {}, rlaif.CLOSE),
        ((0.9, 0.6), {"agreeing": True}, rlaif.TORN),
        ((0.75, 0.25), {"over": 0.75}, rlaif.CLOSE),
        ((None, 0.25), {"skip_failed": True}, rlaif.UNANSWERED),
    ],
)
def test_left_out(tmp_path, chances, settings, why):
    judge = table({("Ann", "Bob"): chances[0], ("Bob", "Ann"): chances[1], ("x", "y"): 1.0, ("y", "x"): 0.0})
    fine = {**PAIR, "id": "q", "chosen": [agent("x")], "rejected": [agent("y")]}
    report, rows = run(BUILDER, tmp_path, [PAIR, fine], settings, judge=judge)
    assert report.dropped == {why: 1}
    assert [r["conversation"] for r in rows] == ["q"]
    assert "preference" not in rows[0]  # certain


def test_every_pair_of_a_ranking(tmp_path):
    order = {"a": 3, "b": 2, "c": 1}
    judge = Thinks(
        lambda q: float(order[part(q, "Reply 1:", "Reply 2:")] > order[part(q, "Reply 2:", "Is reply")])
    )
    responses = [{"content": c, "rank": r} for r, c in enumerate("cab", 1)]
    _, rows = run(BUILDER, tmp_path, [{"prompt": [user("?")], "responses": responses}], judge=judge)
    found = {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows}
    assert found == {("a", "b"), ("a", "c"), ("b", "c")}


def test_replies_that_the_writer_draws(tmp_path):
    rows = [
        {"id": "c", "messages": [user("1"), agent("own"), user("2"), agent("own")]},
        {"id": "d", "messages": [user("3"), agent("own")]},
    ]
    words = {"1": ("good", "bad"), "2": ("same", " Same"), "3": ("good", "cut ...")}
    writer = Says(lambda prompt, k: words[prompt.messages[-1].content][k])
    judge = Thinks(lambda q: 0.75 if part(q, "Reply 1:", "Reply 2:") == "good" else 0.25)
    report, built = run(BUILDER, tmp_path, rows, {"candidates": "written"}, writer=writer, judge=judge)
    (row,) = built
    assert [len(p) for p in writer.asked] == [1, 3, 1]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("good", "bad")
    assert row["lineage"]["replies"] == ["key good", "key bad", "judge 0.75", "judge 0.25"]
    assert report.dropped == {rlaif.SAME: 1, rlaif.ALONE: 1, "replies that were cut off": 1}


def test_a_writer_is_missed(tmp_path):
    with pytest.raises(HalignError, match="candidates=written needs a writer"):
        run(BUILDER, tmp_path, [PAIR], {"candidates": "written"}, judge=Thinks(lambda q: 1.0))


def test_behind_an_endpoint(tmp_path):
    def script(body, before):
        ann_first = last(body).index("Ann") < last(body).index("Bob")
        one, two = (0.6, 0.2) if ann_first else (0.1, 0.7)  # of .8, what is left lies elsewhere
        top = {"1": math.log(one), "2": math.log(two)}
        return completion("1", top=[dict(sorted(top.items(), key=lambda t: -t[1]))])

    with Server(script) as server:
        _, rows = run(BUILDER, tmp_path, [PAIR], judge=EndpointYesNo(Endpoint(server.url, "m")))
    assert rows[0]["preference"] == pytest.approx((0.6 / 0.8 + 0.7 / 0.8) / 2)
    assert rows[0]["chosen"][0]["content"] == "Ann"
    assert len(rows[0]["lineage"]["replies"]) == 2


def test_with_a_local_model(tmp_path, policy):
    """Against log-probabilities of the two answers, asked one by one."""
    judge = LocalYesNo(policy, least_mass=0.0)
    _, rows = run(BUILDER, tmp_path, [PAIR], judge=judge)
    p = []
    for a, b in (("Ann", "Bob"), ("Bob", "Ann")):
        question = rlaif._question(read([PAIR])[0].prompt, a, b, BUILDER.settings().criteria)
        words = f"{question}\n\nAnswer with one number and nothing else: 1 for yes, 2 for no."
        one, two = logps(policy, [([user(words)], answer) for answer in "12"], separate=True).tolist()
        p.append(math.exp(one) / (math.exp(one) + math.exp(two)))
    expected = (p[0] + 1 - p[1]) / 2
    assert rows[0]["preference"] == pytest.approx(max(expected, 1 - expected), abs=1e-5)
    assert (rows[0]["chosen"][0]["content"] == "Ann") == (expected > 0.5)
