"""Pairs of own replies, labelled; and where learning them leads."""

from __future__ import annotations

import pytest

from halign.errors import HalignError
from halign.loops import run
from halign.loops.online_dpo import Settings, online_dpo
from halign.models import load
from halign.readers import read
from tests.loops.answering import COMMON, Says, demonstrations
from tests.loops.groups import group, words


def test_the_likelier_reply_is_chosen() -> None:
    groups = [
        group("a", "b", beats={(0, 1): 0.3}),
        group("c", "d", beats={(0, 1): 0.8}),
        group("e", "f", beats={(0, 1): 0.5}),
        group("g", "g", beats={}),
        group("h", beats={}),
    ]
    made = online_dpo(groups)
    assert words(made.examples) == [("b", "a"), ("c", "d")]
    assert [e.preference for e in made.examples] == [1.0, 1.0]
    assert made.dropped == {"pairs that tie": 3}
    assert [e.preference for e in online_dpo(groups, labels="soft").examples] == pytest.approx([0.7, 0.8])
    sure = online_dpo(groups, at_least=0.75)
    assert words(sure.examples) == [("c", "d")]
    assert sure.dropped["pairs less sure than 0.75"] == 1


def test_of_more_than_two_the_extremes_or_all() -> None:
    three = group("a", "b", "c", beats={(0, 1): 0.7, (0, 2): 0.2, (1, 2): 0.4})
    assert words(online_dpo([three]).examples) == [("c", "b")]
    assert words(online_dpo([three], which="all").examples) == [("a", "b"), ("c", "a"), ("c", "b")]


def test_soft_labels_need_somebody_who_reads_them() -> None:
    with pytest.raises(HalignError, match="labels=soft would have no effect: dpo"):
        Settings(labels="soft").config()
    Settings(labels="soft", objective="psi_po").config()


def test_it_raises_the_reward(answering, tmp_path) -> None:
    ran = run(
        "online_dpo",
        load(answering),
        demonstrations(32, start=200),
        reward=Says(),
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        rounds=2,
        samples=3,
        **COMMON,
    )
    assert ran.last["gain_low"] > 0.2
    for pair in read(tmp_path / "run" / "rounds" / "2" / "data.jsonl"):
        assert "yes" in pair.chosen.content
        assert "yes" not in pair.rejected.content
