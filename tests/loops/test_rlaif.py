"""RLAIF against a server that plays a judge with known probabilities: soft labels, a spent budget, no reply paid twice."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from halign.judges import PairwiseLabeller
from halign.llm import BudgetSpent, Client, Endpoint
from halign.loops import run
from halign.loops.rlaif import Settings
from halign.models import load
from halign.readers import read
from halign.rewards.protocol import LabelledPreferences
from halign.run_folder import RunFolder
from tests.llm.server import Server, completion, last
from tests.loops.answering import COMMON, Says, demonstrations

SURE, BIAS = 0.85, 0.1


def judge(body: dict[str, Any], before: int) -> dict[str, Any]:
    """Likes yes; favours what is shown first."""
    found = re.search(r"Reply 1:\n(.*?)\n\nReply 2:\n(.*?)\n\nWhich", last(body), re.DOTALL)
    assert found
    first, second = Says().score([], [found[1], found[2]])
    p = 0.5 + (SURE - 0.5) * (first - second) + BIAS
    return completion("1", top=[{"1": math.log(p), "2": math.log(1 - p)}])


def go(url: str, budget: float | None, model: Path, output: Path, chunk: int = 8) -> Any:
    endpoint = Endpoint(url, "m", input_price=1000, output_price=1000, concurrency=1)
    labeller = PairwiseLabeller(Client(endpoint, budget=budget))
    settings = {**COMMON, "chunk": chunk}
    return run(
        "rlaif",
        load(model),
        demonstrations(32, start=200),
        preferences=LabelledPreferences(labeller),
        output=output,
        samples=3,
        rounds=2,
        **settings,
    )


def test_the_mean_of_both_orders_is_what_is_learnt(answering: Path, tmp_path: Path) -> None:
    """A budget that is spent in between stops it; with a larger one it goes on, and asks nothing twice."""
    with Server(judge) as server:
        with pytest.raises(BudgetSpent, match="larger budget"):
            go(server.url, 0.8, answering, tmp_path / "run")
        paid = server.asked.total()
        assert paid > 8
        assert not RunFolder(tmp_path / "run").done
        go(server.url, 100.0, answering, tmp_path / "run")
        assert server.asked.total() > paid
        assert set(server.asked.values()) == {1}
        asked = server.asked.total()
        go(server.url, 100.0, answering, tmp_path / "whole")
        assert server.asked.total() == asked  # the same draws, so the same questions, which are in the cache
    for n in ("1", "2"):
        parts = [tmp_path / name / "rounds" / n for name in ("run", "whole")]
        for file in ("samples.jsonl", "judged.jsonl", "data.jsonl"):
            assert len({(part / file).read_bytes() for part in parts}) == 1
    made = read(tmp_path / "run" / "rounds" / "1" / "data.jsonl")
    assert {round(p.preference, 4) for p in made} == {SURE}  # the bias cancels
    assert all("yes" in p.chosen.content for p in made)


def test_it_raises_what_the_judge_likes(answering: Path, tmp_path: Path) -> None:
    with Server(judge) as server:
        ran = go(server.url, None, answering, tmp_path / "run")
    before, after = (
        [
            r["content"]
            for row in _rows(tmp_path / "run" / "rounds" / n / "samples.jsonl")
            for r in row["responses"]
        ]
        for n in ("1", "2")
    )
    gain = sum(Says().score([], after)) / len(after) - sum(Says().score([], before)) / len(before)
    assert gain > 0.15
    assert ran.last["loss"] < math.log(2)


def _rows(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text().splitlines()]


def test_soft_labels_are_the_default_and_need_a_reader() -> None:
    config = Settings().config()
    assert (config.objective, config.objective_settings["psi_po"]["psi"]) == ({"psi_po": 1.0}, "logit")
    assert Settings(objective="ipo", labels="certain").config().objective == {"ipo": 1.0}
