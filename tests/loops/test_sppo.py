"""Win rates by hand, what is learnt of them, and where it leads."""

from __future__ import annotations

import pytest

from halign.loops import run
from halign.loops.sppo import Settings, sppo
from halign.models import load
from halign.readers import read
from tests.loops.answering import COMMON, TRAIN, Says, demonstrations
from tests.loops.groups import group, words

BEATS = {(0, 1): 0.7, (0, 2): 0.2, (1, 2): 0.4}
RATES = [(0.5 + 0.7 + 0.2) / 3, (0.3 + 0.5 + 0.4) / 3, (0.8 + 0.6 + 0.5) / 3]


def test_win_rates_count_itself_as_one_half() -> None:
    assert group("a", "b", "c", beats=BEATS).win_rates() == pytest.approx(RATES)


def test_best_and_worst_keep_their_win_rates() -> None:
    made = sppo([group("a", "b", "c", beats=BEATS), group("a", "b", beats={(0, 1): 0.5})])
    (pair,) = made.examples
    assert words([pair]) == [("c", "b")]
    assert (pair.chosen_win_rate, pair.rejected_win_rate) == pytest.approx((RATES[2], RATES[1]))
    assert made.dropped == {"prompts whose replies win alike": 1}


def test_all_replies_are_ranked_by_win_rate_those_drawn_twice_once() -> None:
    beats = {(0, 1): 0.9, (1, 2): 0.1}
    made = sppo([group("a", "b", "a", beats=beats)], replies="all")
    (ranking,) = made.examples
    assert [m.content for m in ranking.responses] == ["a", "b"]
    assert ranking.scores == pytest.approx(((0.5 + 0.9 + 0.5) / 3, (0.1 + 0.5 + 0.1) / 3))
    assert ranking.ranks == (1, 2)
    assert made.dropped == {"replies that were drawn twice": 1}
    with pytest.raises(Exception, match="does not learn from rankings"):
        Settings(replies="all").config()
    Settings(replies="all", objective="sppo_all").config()


@pytest.mark.parametrize(("replies", "objective"), [("best_worst", "sppo"), ("all", "sppo_all")])
def test_it_raises_the_win_rate(replies, objective, answering, tmp_path) -> None:
    ran = run(
        "sppo",
        load(answering),
        demonstrations(32, start=200),
        preferences=Prefers(),
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        rounds=2,
        samples=4,
        replies=replies,
        objective=objective,
        **{**COMMON, "train": {**TRAIN, "beta": 0.1}},
    )
    assert ran.metrics[0]["win_rate"] == 0.5
    assert ran.last["win_rate_low"] > 0.6
    assert len(read(tmp_path / "run" / "rounds" / "1" / "data.jsonl")) == ran.metrics[1]["examples"]


class Prefers:
    """Replies that say yes beat all others."""

    def prefers(self, comparisons):
        gaps = [_yes(a) - _yes(b) for _, a, b in comparisons]
        return [0.5 + 0.45 * gap for gap in gaps]


def _yes(reply: str) -> float:
    return Says().score([], [reply])[0]
