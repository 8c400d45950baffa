"""What SPIN tells apart, what of earlier rounds it learns again, and where it leads."""

from __future__ import annotations

import yaml

from halign.loops import run
from halign.loops.spin import spin
from halign.models import load
from halign.readers import read
from halign.run_folder import RunFolder
from tests.loops.answering import COMMON, Says, demonstrations
from tests.loops.groups import group, words


def test_the_data_is_chosen_every_reply_rejected_but_the_same() -> None:
    made = spin([group("x", "good", own="good", name="a"), group("y", own=" good ", name="b")])
    assert words(made.examples) == [("good", "x"), (" good ", "y")]
    assert [e.preference for e in made.examples] == [1.0, 1.0]
    assert made.dropped == {"pairs of two replies with the same words": 1}


def test_the_policy_comes_to_speak_as_the_data_does(answering, tmp_path) -> None:
    """The reward only watches: all answers in the data are yes."""
    ran = run(
        "spin",
        load(answering),
        demonstrations(32, "yes", start=200),
        reward=Says(),
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        rounds=2,
        **COMMON,
    )
    assert ran.last["gain_low"] > 0.1
    assert "drawn_reward" not in ran.last
    at = [tmp_path / "run" / "rounds" / str(n) for n in (1, 2)]
    data = [read(folder / "data.jsonl") for folder in at]
    for folder, rounds in zip(at, (data[:1], data), strict=True):
        recorded = yaml.safe_load((folder / "run" / "config.yaml").read_text())
        assert len(recorded["data"]) == len(rounds)
        learnt = sum(r["items"] for r in RunFolder(folder / "run").metrics())
        assert learnt == sum(map(len, rounds))  # one epoch: its own examples, and those of the round before
