"""What every text method keeps, built in or an outsider's."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner

import halign as hl
from halign import conditioning
from halign.cli.main import app
from halign.conditioning.contract import asks
from halign.convert import Converted, to_demonstrations
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration, Example
from halign.models import Policy, load
from halign.objectives import Tokens, find, names
from halign.readers import read
from halign.spans import prefixed

HI = [{"role": "user", "content": "Hello"}]
PAIRS = [{"id": f"c{i}", "prompt": HI, "chosen": f"Good day {i}.", "rejected": "Go away."} for i in range(4)]


@pytest.mark.parametrize("name", conditioning.BUILT_IN)
def test_the_signature_says_what_can_be_set(name: str) -> None:
    function = conditioning.BUILT_IN[name]
    assert (function.__name__, function.__module__) == (name, f"halign.conditioning.{name}")
    assert name in names()
    first, *others = inspect.signature(function).parameters.values()
    hints = typing.get_type_hints(function)
    assert hints[first.name] == Sequence[Example]
    assert hints["return"] == Converted[Demonstration]
    documented = inspect.getdoc(function) or ""
    for part in ("Source:", ".. math::", "Returns:", ">>>"):
        assert part in documented
    arguments = documented.split("Args:")[1].split("Returns:")[0]
    for setting in others:
        assert setting.kind is inspect.Parameter.KEYWORD_ONLY
        TypeAdapter(hints[setting.name]).validate_python(setting.default, strict=True)
        assert re.search(rf"^ +.*\b{setting.name}\b.*:", arguments, re.MULTILINE), setting


@pytest.mark.parametrize("name", conditioning.BUILT_IN)
def test_as_an_objective_it_is_sft_with_settings_of_its_own(name: str) -> None:
    objective = find(name)
    assert (objective.kind, objective.needs_reference, objective.text) == (
        "tokens",
        False,
        conditioning.BUILT_IN[name],
    )
    assert objective.summary == (inspect.getdoc(conditioning.BUILT_IN[name]) or "").partition("\n")[0]
    settings = {k: default for k, (_, default) in objective.settings.items()}
    assert settings
    assert objective(Tokens(torch.tensor([-1.0, -2.0])), **settings).tolist() == [1.0, 2.0]


@asks(lambda settings: settings["opening"])
def polite(examples: Sequence[Example], *, opening: str = "Gladly: ") -> Converted[Demonstration]:
    """Answers gladly."""
    best, dropped = to_demonstrations(examples)
    made = []
    for d in best:
        *before, last = d.dialogue.messages
        turns = (*before, prefixed(last, opening))
        made.append(Demonstration(Dialogue(turns), d.conversation, d.turns))
    return Converted(made, dropped)


def test_an_outsiders_text_method(policy: Policy, tmp_path: Path) -> None:
    run = hl.train(
        policy,
        read(PAIRS),
        f"{__name__}:polite",
        output=tmp_path / "run",
        opening="With joy: ",
        max_steps=1,
        tensorboard=False,
        quiet=True,
    )
    assert run.policy.rendering["response_prefix"] == "With joy: "
    preflight = (run.path / "preflight.txt").read_text()
    assert "With joy: ⟦Good day 0.<|im_end|>⟧" in preflight
    assert "replies that are not the best" in preflight  # what was dropped is said


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in PAIRS))
    return file


def test_the_command_just_works(policy_folder: Path, pairs: Path, tmp_path: Path) -> None:
    common = ("--model", policy_folder, "--data", pairs, "--quiet", "tensorboard=false", "max_steps=1")
    result = invoke(
        "train", "hindsight", "--output", tmp_path / "coh", *common, "order=worst_first", "good=Fine: "
    )
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert load(tmp_path / "coh").rendering["response_prefix"] == "Fine: "
    assert "⟦Go away.⟧⏎⏎Fine: ⟦Good day 0.<|im_end|>⟧" in (tmp_path / "coh" / "preflight.txt").read_text()
    again = invoke(
        "train", "--config", tmp_path / "coh" / "config.yaml", "--output", tmp_path / "again", "--quiet"
    )
    assert again.exit_code == 0, again.output + repr(again.exception)
    assert (tmp_path / "again" / "preflight.txt").read_text() == (
        tmp_path / "coh" / "preflight.txt"
    ).read_text()
    shown = invoke("train", "--help")
    assert "steerlm" in shown.output
    assert "past_masking" in shown.output


def test_data_that_lacks_something_stops_the_command(
    policy_folder: Path, pairs: Path, tmp_path: Path
) -> None:
    for method, says in (("steerlm", "needs attributes or scores"), ("joint_feedback", "needs feedback")):
        result = invoke(
            "train",
            method,
            "--model",
            policy_folder,
            "--data",
            pairs,
            "--output",
            tmp_path / method,
            "--quiet",
        )
        assert isinstance(result.exception, HalignError)
        assert says in str(result.exception)
        assert "'c0'" in str(result.exception)
        assert not (tmp_path / method / "config.yaml").exists()


def test_a_held_out_share_is_rewritten_alike(policy: Policy, tmp_path: Path) -> None:
    run = hl.train(
        policy,
        read(PAIRS),
        "conditional",
        output=tmp_path / "r",
        eval_share=0.25,
        max_steps=1,
        tensorboard=False,
        quiet=True,
    )
    assert run.last["split"] == "eval"
    assert run.last["items"] == 2


def test_messages_keep_to_their_own_words() -> None:
    assert prefixed(Message("assistant", "a"), "").learn is None
