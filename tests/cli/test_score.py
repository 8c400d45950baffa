"""``halign train reward|attributes|pairwise`` and ``halign score`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.errors import HalignError
from halign.readers import read
from halign.rewards.loading import load_reward
from tests.rewards.test_reward_runs import pair_rows, ranking_rows

SMALL = ["learning_rate=1e-2", "tensorboard=false"]


def call(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


def trained(method: str, policy_folder: Path, tmp_path: Path, *settings: str) -> Path:
    data, output = write(tmp_path / "data.jsonl", ranking_rows(8)), tmp_path / method
    ended = call(
        "train", method, "--model", policy_folder, "--data", data, "--output", output, *SMALL, *settings
    )
    assert ended.exit_code == 0, ended.output
    return output


def test_responses_of_any_file_are_scored(policy_folder: Path, tmp_path: Path) -> None:
    run = trained("reward", policy_folder, tmp_path, "eval_share=0.25")
    assert "calibration_error" in (run / "metrics.jsonl").read_text()
    ended = call("score", "--model", run, "--data", tmp_path / "data.jsonl", "--output", tmp_path / "s.jsonl")
    assert ended.exit_code == 0, ended.output
    assert "32 responses scored" in ended.output
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    reward = load_reward(run)
    first = read(tmp_path / "data.jsonl")[0]
    expected = reward.score([(first.prompt, r) for r in first.responses]).tolist()
    assert [r["response"] for r in rows[:4]] == [m.content for m in first.responses]
    assert [r["reward"] for r in rows[:4]] == pytest.approx(expected, abs=1e-5)
    assert {r["conversation"] for r in rows} == {f"r{n}" for n in range(8)}
    page = tmp_path / "report.html"
    assert call("report", run, "--output", page).exit_code == 0
    assert "calibration" in page.read_text()

    pairs = write(tmp_path / "pairs.jsonl", pair_rows(2))
    shown = call("score", "--model", run / "model", "--data", pairs, "--limit", 1)
    assert [set(json.loads(line)) for line in shown.stdout.splitlines()] == [
        {"conversation", "example", "response", "reward"}
    ] * 2


def test_rewards_are_centred_on_demonstrations_for_good(policy_folder: Path, tmp_path: Path) -> None:
    run = trained("reward", policy_folder, tmp_path)
    demonstrations = [
        {
            "prompt": r["prompt"],
            "completion": [{"role": "assistant", "content": r["responses"][0]["content"]}],
        }
        for r in ranking_rows(4)
    ]
    shown = write(tmp_path / "shown.jsonl", demonstrations)
    before = [
        r["reward"]
        for r in map(json.loads, call("score", "--model", run, "--data", shown).stdout.splitlines())
    ]
    ended = call("score", "--model", run, "--data", shown, "--centre")
    after = [r["reward"] for r in map(json.loads, ended.stdout.splitlines())]
    assert "kept in" in ended.stderr
    mean = sum(before) / 4
    assert after == pytest.approx([b - mean for b in before], abs=1e-5)
    again = call("score", "--model", run, "--data", shown)
    assert [json.loads(line)["reward"] for line in again.stdout.splitlines()] == pytest.approx(
        after, abs=1e-5
    )


def test_attributes_are_written_and_weighed(policy_folder: Path, tmp_path: Path) -> None:
    run = trained("attributes", policy_folder, tmp_path)
    words = ["score", "--model", run, "--data", tmp_path / "data.jsonl", "--weights"]
    shown = call(*words, "thanks=2,length=-0.5", "--limit", 1)
    row = json.loads(shown.stdout.splitlines()[0])
    assert list(row["attributes"]) == ["length", "thanks"]
    expected = 2 * row["attributes"]["thanks"] - 0.5 * row["attributes"]["length"]
    assert row["reward"] == pytest.approx(expected, rel=1e-4)
    for weights, says in (
        ("clarity=1", "no attribute 'clarity'; it has length, thanks"),
        ("x", "name=number"),
    ):
        with pytest.raises(HalignError, match=says):
            raise call(*words, weights).exception


def test_a_pairwise_model_does_not_score(policy_folder: Path, tmp_path: Path) -> None:
    run = trained("pairwise", policy_folder, tmp_path, "pairs=all")
    ended = call("score", "--model", run, "--data", tmp_path / "data.jsonl")
    assert isinstance(ended.exception, HalignError)
    assert "prefers" in str(ended.exception)
