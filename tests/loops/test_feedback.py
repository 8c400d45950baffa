"""Which pairs a feedback set gives, what is dropped and why, and where they lead."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.loops import run
from halign.loops.feedback import against_own, feedback
from halign.loops.groups import OWN
from halign.models import load
from halign.readers import read
from tests.loops.answering import COMMON, Says, demonstrations
from tests.loops.groups import group, words


def test_only_where_the_response_is_better() -> None:
    groups = [
        group("worse", own="good", beats={(OWN, 0): 0.9}),
        group("better", own="good", beats={(OWN, 0): 0.1}),
        group("as good", own="good", beats={(OWN, 0): 0.5}),
        group("good", own="good ", beats={}),
    ]
    assert [against_own(g) for g in groups] == [[(OWN, 0)], [(OWN, 0)], [(OWN, 0)], []]
    made = feedback(groups)
    assert words(made.examples) == [("good", "worse")]
    assert made.dropped == {
        "replies that the response is not better than": 2,
        "pairs of two replies with the same words": 1,
    }
    assert feedback(groups, labels="soft").examples[0].preference == pytest.approx(0.9)
    assert len(feedback(groups, above=0.4).examples) == 2


def test_it_learns_from_the_good_responses_only(answering, tmp_path) -> None:
    """Half of the set's responses are yes, the others no; the judge wants yes."""
    data = demonstrations(24, "yes", start=200) + demonstrations(24, "no", start=300)
    ran = run(
        "feedback",
        load(answering),
        data,
        reward=Says(),
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        **COMMON,
    )
    assert ran.last["gain_low"] > 0.1
    made = read(tmp_path / "run" / "rounds" / "1" / "data.jsonl")
    assert {p.chosen.content for p in made} == {"yes"}
    assert ran.last["examples"] == len(made)
    assert sum(ran.last["dropped"].values()) + len(made) == 48


def test_a_set_without_responses_is_refused(answering, tmp_path) -> None:
    from halign.examples import Demonstration
    from tests.loops.answering import question

    with pytest.raises(HalignError, match="none of 1 prompts has a response"):
        run(
            "feedback",
            load(answering),
            [Demonstration(question(1), "q")],
            reward=Says(),
            output=tmp_path / "run",
        )
