"""Published numbers are counted as stated: on small repositories made here."""

from __future__ import annotations

import json
import subprocess

import pytest
from benchmarks.published import CALM, Repository, Tally, star, taskmaster

from halign.errors import HalignError


def repository(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return Repository(folder)


def dialogue(level, worker, calm, actions):
    return {
        "CompletionLevel": level,
        "AnonymizedUserWorkerID": worker,
        "Events": [{"Agent": a, "Action": b} for a, b in actions],
        "Scenario": {"Domains": ["bank", None]},
        "UserQuestionnaire": [
            {"Question": f"Did it {CALM}", "Answer": calm},
            {"Question": "Fun?", "Answer": True},
        ],
    }


def test_star_counts_what_was_said_in_complete_dialogues(tmp_path):
    """Two complete dialogues with 3 and 1 utterances or queries, one domain; one of two users is content."""
    said = [
        ("User", "utter"),
        ("Wizard", "pick_suggestion"),
        ("Wizard", "query"),
        ("KnowledgeBase", "return_item"),
    ]
    files = {
        "dialogues/1.json": dialogue("Complete", "u", True, said),
        "dialogues/2.json": dialogue(
            "Complete", "v", False, [("Wizard", "utter"), ("UserGuide", "instruct")]
        ),
        "dialogues/3.json": dialogue("DisconnectDuringDialogue", "w", False, said),
        "tasks/x.json": {},
    }
    found = star(repository(tmp_path, files))
    ours = [line.split(": ours ")[1].split(",")[0] for line in found.other]
    assert (found.same, ours) == (0, ["2", "4", "1"])
    assert "50.0 %" in found.notes[0]
    assert found.notes[0].endswith("of 2")


def test_taskmaster_counts_rows_and_rewards(tmp_path):
    rows = [{"conversation_id": c, "reward": r} for c, r in (("a", 1.0), ("a", 0.0), ("b", 1.0), ("c", 1.0))]
    files = {
        "TM-4-2024/reward/0.json": rows[:1],
        "TM-4-2024/reward/1.json": rows[1:],
        "TM-4-2024/data/0.json": rows,
    }
    files["TM-3-2020/reward/0.json"] = rows[1:3]
    found = taskmaster(repository(tmp_path, files))
    assert [line.split(": ours ")[1].split(",")[0] for line in found.other] == ["4", "4"]
    assert "50.0 %" in found.notes[0]
    assert "75.0 %" in found.notes[1]


def test_what_a_clone_lacks_is_said(tmp_path):
    with pytest.raises(HalignError, match="has no b"):
        list(repository(tmp_path, {"a": 1}).read_all(["a", "b"]))
    with pytest.raises(HalignError, match="no clone"):
        Repository(tmp_path / "nowhere")
    tally = Tally("x", notes=["said"])
    tally.add("n", 1.0, 2.0)
    assert str(tally).splitlines() == ["x: 0 of 1 numbers are the same", "  n: ours 1, published 2", "  said"]
