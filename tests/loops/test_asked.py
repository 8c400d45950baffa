"""Which prompts a loop finds in its data, and in which round it asks them."""

from __future__ import annotations

import pytest

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Conversation, Demonstration, Preference, Ranking, Rating
from halign.loops.asked import asked, fingerprint, of_round

U, A = Message("user", "u"), Message("assistant", "a")
PROMPT = Dialogue((U,))


def found(*examples):
    return [(len(one.prompt), one.own and one.own.content) for one in asked(examples)]


def test_every_agent_turn_of_a_dialogue_is_a_prompt() -> None:
    two = Dialogue((U, A, Message("user", "v"), Message("assistant", "b")))
    assert found(Conversation(two, "c")) == [(1, "a"), (3, "b")]
    assert found(Demonstration(two, "c", (3,))) == [(3, "b")]
    assert found(Demonstration(two[:3], "c")) == [(1, "a"), (3, None)]
    assert found(Demonstration(two[:3], "c", ())) == [(3, None)]
    assert found(Demonstration(Dialogue((A, U)), "c")) == [
        (2, None)
    ]  # nothing was said before the first turn


def test_responses_are_the_good_ones() -> None:
    x, y = Message("assistant", "x"), Message("assistant", "y")
    assert found(Preference(PROMPT, x, y, "c")) == [(1, "x")]
    assert found(Preference(PROMPT, x, y, "c", preference=0.2)) == [(1, "y")]
    assert found(Ranking(PROMPT, (y, x), (1, 2), "c")) == [(1, "y")]
    assert found(Rating(PROMPT, x, False, "c"), Rating(PROMPT, y, True, "c")) == [(1, "y")]
    assert found(Rating(PROMPT, x, True, "c"), Rating(PROMPT, x, True, "d")) == [(1, "x"), (1, "x")]


def test_a_prompt_without_a_good_response_is_left_out_where_one_is_needed() -> None:
    bad, good = Rating(PROMPT, A, False, "bad"), Rating(PROMPT, A, True, "good")
    assert [one.conversation for one in asked([bad, good], answered=True)] == ["good"]
    with pytest.raises(HalignError, match="none of 1 prompts has a response"):
        asked([bad], answered=True)
    with pytest.raises(HalignError, match="no prompts"):
        asked([])


def test_no_prompt_comes_again_before_all_have_had_their_turn() -> None:
    rounds = [of_round(10, 4, n, seed=3) for n in range(1, 6)]
    flat = [i for some in rounds for i in some]
    assert all(len(set(some)) == 4 for some in rounds)
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert rounds[2] == of_round(10, 4, 3, seed=3) != of_round(10, 4, 3, seed=4)
    assert of_round(3, None, 2, seed=0) == of_round(3, 5, 1, seed=1) == [0, 1, 2]


def test_the_fingerprint_knows_prompts_answers_and_what_judges_see() -> None:
    one = asked([Demonstration(Dialogue((U, A)), "c")])
    others = [
        asked([Demonstration(Dialogue((U, Message("assistant", "z"))), "c")]),
        asked([Demonstration(Dialogue((U, A), guardrails=("Be kind.",)), "c")]),
        asked([Demonstration(Dialogue((U, A), meta={"facts": 1}), "c")]),
        one * 2,
    ]
    assert len({fingerprint(one), *map(fingerprint, others)}) == 5
