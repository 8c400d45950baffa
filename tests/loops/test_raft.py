"""Which replies RAFT imitates; that doing so raises the reward."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.loops import run
from halign.loops.raft import Settings, raft
from halign.models import load
from halign.readers import read
from tests.loops.answering import COMMON, Says, demonstrations
from tests.loops.groups import group

GROUPS = [
    group("a0", "a1", "a2", rewards=(0.1, 0.3, 0.2), name="a"),
    group("b0", "b1", "b2", rewards=(0.9, 0.8, 0.9), name="b"),
    group("c0", "c1", "c2", rewards=(0.0, 0.0, 0.0), name="c"),
]


def imitated(made) -> list[str]:
    return [d.dialogue.messages[-1].content for d in made.examples]


def test_the_best_of_each_prompt_the_first_drawn_of_equal_ones() -> None:
    made = raft(GROUPS, samples=3)
    assert imitated(made) == ["a1", "b0", "c0"]
    assert made.dropped == {"replies that are not among the best": 6}
    (first, *_) = made.examples
    assert (first.conversation, first.turns) == ("a", (1,))
    assert [m.role for m in first.dialogue.messages] == ["user", "assistant"]


def test_the_best_of_the_round_whoever_asked() -> None:
    assert imitated(raft(GROUPS, samples=3, keep="top")) == ["b0", "b1", "b2"]  # a third of nine
    assert imitated(raft(GROUPS, samples=3, keep="top", share=4 / 9)) == ["a1", "b0", "b1", "b2"]
    assert imitated(raft(GROUPS, samples=3, keep="top", share=0.01)) == ["b0"]
    even = [group("a0", "a1", rewards=(1, 1), name="a"), group("b0", "b1", rewards=(1, 1), name="b")]
    assert imitated(raft(even, samples=2, keep="top")) == ["a0", "b0"]  # not both of the first prompt


def test_share_needs_top() -> None:
    with pytest.raises(ValueError, match="keep=top"):
        Settings(share=0.5)


def test_demonstrations_make_no_pairs() -> None:
    with pytest.raises(HalignError, match="objective=dpo does not learn from demonstrations"):
        Settings(objective="dpo").config()


def test_it_raises_the_reward(answering, tmp_path) -> None:
    ran = run(
        "raft",
        load(answering),
        demonstrations(32, start=200),
        reward=Says(),
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        samples=4,
        rounds=2,
        **COMMON,
    )
    start, _, last = ran.metrics
    assert last["gain_low"] > 0.2
    assert start["reward"] < 0.5 < last["reward"]
    assert last["best_reward"] > last["drawn_reward"]
    kept = read(tmp_path / "run" / "rounds" / "1" / "data.jsonl")
    assert len(kept) == 32
    says = Says().score([], [d.dialogue.messages[-1].content for d in kept])
    assert sum(says) / 32 == pytest.approx(ran.metrics[1]["best_reward"])
