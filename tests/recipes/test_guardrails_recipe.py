"""The recipe from a policy and conversations to a report, on a model of a few thousand weights."""

from __future__ import annotations

import json

import pytest

from halign.builders.guardrails.judge import ChecksJudge
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.readers import write_rows
from halign.recipes import run as recipes
from tests.conftest import make_llama, make_tokenizer
from tests.curation.plainly import rows_of

POLICY = "- Greet the customer.\n- Never offer discounts.\n- Be kind.\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path / "cache"))
    tokenizer = make_tokenizer()
    make_llama(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "policy.md").write_text(POLICY)
    said = [
        ("user", "Hello {}"),
        ("assistant", "Hello, how can I help?"),
        ("user", "No {}"),
        ("assistant", "Thank you."),
    ]
    rows = [
        {"id": f"c{i}", "messages": [{"role": r, "content": t.format(i)} for r, t in said]} for i in range(12)
    ]
    write_rows(rows, tmp_path / "chats.jsonl")
    return tmp_path


def test_from_policy_to_report(files):
    overrides = {
        "chats": str(files / "chats.jsonl"),
        "policy": str(files / "policy.md"),
        "model": str(files / "model"),
        "conversations": 6,
        "validation_conversations": 2,
        "test_prompts": 4,
        "kl_prompts": 2,
        "build": {"everywhere": 1},
    }
    settings = recipes.resolve("guardrails", "tiny", overrides)
    assert [state for _, state in recipes.plan("guardrails", settings)] == ["to do"]
    done = recipes.execute("guardrails", settings, files / "out", size="tiny", workers=0)
    assert done.report.exists()
    assert (files / "out" / "card.html").exists()
    pairs = rows_of(files / "out" / "pairs.jsonl")
    assert len(pairs) == 12
    assert (
        sum(len(m.get("alternatives", ())) for m in pairs[0]["messages"]) == 2
    )  # the greeting, and one discount
    assert json.loads((files / "out" / "pairs.jsonl.build.json").read_text())["built"] == 12
    assert {"SFT", "SFT+ipo"} <= set(done.outcome.folders)
    again = recipes.execute("guardrails", settings, files / "out", size="tiny", workers=0)
    assert again.outcome.made == []
    states = {s.name: state for s, state in recipes.plan("guardrails", settings)}
    assert states["guardrails"] == states["SFT+ipo"] == "there already"


def test_what_it_needs(files):
    for given, problem in (({}, "needs chats="), ({"chats": str(files / "chats.jsonl")}, "needs model=")):
        with pytest.raises(HalignError, match=problem):
            recipes.plan("guardrails", recipes.resolve("guardrails", "tiny", given))


def test_the_judge():
    prompt = Dialogue.of([{"role": "user", "content": "Hi"}], guardrails=tuple(POLICY[2:-1].split("\n- ")))
    kept, broken = ChecksJudge().grade([prompt] * 2, ["Hello!", "What? Have a discount."])
    assert kept.active == {"Greet the customer.": True, "Never offer discounts.": True}
    assert kept.acceptable == {"adherence": True}
    assert broken.active == {"Greet the customer.": False, "Never offer discounts.": False}
    assert "breaks: Greet the customer.; Never offer" in broken.reasons["adherence"]
