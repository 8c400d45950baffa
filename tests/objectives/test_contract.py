"""What every objective keeps, built in or an outsider's."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from halign import objectives
from halign.binding import with_statistics
from halign.errors import HalignError
from halign.objectives import Lists, Pairs, Singles, Tokens, ValueLists, ValuePairs, ValueSingles, find
from halign.objectives.contract import reference_free
from halign.objectives.registry import Objective
from tests.objectives.samples import FAR, random_lists, random_pairs, random_singles, random_values

TYPES = (Pairs, Lists, Singles, Tokens, ValuePairs, ValueLists, ValueSingles)


def example(objective: Objective) -> tuple[Any, int]:
    """Items of an objective with every field that one here may want, and how many losses they give."""
    kind = objective.kind
    if objective.reads_values:
        return random_values(kind), 6 if kind == "singles" else 5
    if kind == "pairs":
        return random_pairs(5), 5
    if kind == "singles":
        return random_singles(6), 6
    if kind == "tokens":
        return Tokens(-torch.rand(7), owner=torch.tensor([0, 0, 1, 1, 1, 2, 2])), 7
    return random_lists(3), 3


def statistics(objective: Objective, items: Any) -> dict[str, Tensor]:
    """The statistics of a first step."""
    assert objective.statistics
    found = objective.statistics(items, *([{}] if objective.remembers else []))
    assert not any(v.requires_grad for v in found.values())
    return found


@pytest.mark.parametrize("name", objectives.BUILT_IN)
def test_a_file_a_function_a_name(name: str) -> None:
    function = objectives.BUILT_IN[name]
    assert function.__name__ == name
    assert function.__module__ == f"halign.objectives.{name}"
    assert getattr(objectives, name) is function  # the sub-module does not shadow it
    assert not isinstance(getattr(objectives, name), types.ModuleType)
    assert name in objectives.names()


@pytest.mark.parametrize("name", objectives.BUILT_IN)
def test_the_signature_says_what_one_item_is_and_what_can_be_set(name: str) -> None:
    function = objectives.BUILT_IN[name]
    first, *others = inspect.signature(function).parameters.values()
    hints = typing.get_type_hints(function, include_extras=True)
    assert hints[first.name] in TYPES
    assert hints["return"] is Tensor
    for setting in others:
        assert setting.kind is inspect.Parameter.KEYWORD_ONLY, setting
        assert setting.default is not inspect.Parameter.empty, setting
        assert (
            TypeAdapter(hints[setting.name]).validate_python(setting.default, strict=True) == setting.default
        )
    settings = find(name).settings
    for setting, condition in find(name).conditions.items():
        assert {setting, *condition} <= settings.keys()
    documented = inspect.getdoc(function) or ""
    assert "Source:" in documented or name == "sft"
    assert ".. math::" in documented
    assert "Returns:" in documented
    assert ">>>" in documented
    arguments = documented.split("Args:")[1].split("Returns:")[0]
    for setting in others:
        assert re.search(rf"^ +.*\b{setting.name}\b.*:", arguments, re.MULTILINE), setting


@pytest.mark.parametrize("name", objectives.BUILT_IN)
def test_losses_are_unreduced_and_depend_on_their_own_item(name: str) -> None:
    objective = find(name)
    items, count = example(objective)
    before = {k: v.clone() for k, v in vars(items).items() if isinstance(v, Tensor)}
    if objective.statistics:
        items = with_statistics(items, statistics(objective, items))
    losses = objective(items)
    assert losses.shape == (count,)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    assert all(
        torch.allclose(v, before[k], rtol=0, atol=0, equal_nan=True)
        for k, v in vars(items).items()
        if k in before
    )  # nothing overwritten
    if objective.kind in ("pairs", "lists"):
        one = replace(items, **{k: v[2:3] for k, v in vars(items).items() if k in before})
        assert torch.equal(objective(one), losses[2:3])


@pytest.mark.parametrize("name", objectives.BUILT_IN)
def test_what_is_declared_about_the_reference_is_true(name: str) -> None:
    objective = find(name)
    items, _ = example(objective)
    if objective.statistics:
        items = with_statistics(items, statistics(objective, items))
    # SteerLM 2 takes the reference for the model sampled from where the data does not say what that model gave
    bare = replace(items, **{k: None for k in vars(items) if k.startswith("ref_") or k == "behaviour_logps"})
    if objective.needs_reference:
        with pytest.raises(ValueError, match="ref_"):
            objective(bare)
    else:
        assert torch.equal(objective(bare), objective(items))


@pytest.mark.parametrize(
    "name", [n for n in objectives.BUILT_IN if find(n).kind == "pairs" and not find(n).reads_values]
)
def test_pair_losses_and_gradients_are_finite_far_away_and_at_the_reference(name: str) -> None:
    """In float32, at log-ratios of +-1000 nats; test_lists.py has the same of lists."""
    objective = find(name)
    rates = {"chosen_win_rate": torch.tensor([1.0, 0.6]), "rejected_win_rate": torch.tensor([0.0, 0.5])}
    far = replace(FAR, preference=torch.tensor([1.0, 0.7]), **rates)
    for start in (
        far,
        replace(far, chosen_logps=far.ref_chosen_logps, rejected_logps=far.ref_rejected_logps),
    ):
        logps = [t.clone().requires_grad_() for t in (start.chosen_logps, start.rejected_logps)]
        items: Any = replace(start, chosen_logps=logps[0], rejected_logps=logps[1])
        if objective.statistics:
            items = with_statistics(items, statistics(objective, items))
        losses = objective(items)
        assert losses.isfinite().all()
        for slope in torch.autograd.grad(losses.sum(), logps, allow_unused=True):
            assert slope is None or slope.isfinite().all()


def outsider(pairs: Pairs, *, beta: float = 2.0) -> Tensor:
    """Somebody's."""
    return beta * (pairs.rejected_logps - pairs.chosen_logps)


@reference_free
def free(pairs: Pairs) -> Tensor:
    """Somebody's, too."""
    return -pairs.chosen_logps


def unannotated(pairs, *, beta=1.0):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, RUF100
    """A first argument that says nothing."""
    return pairs


def positional(pairs: Pairs, beta: float = 1.0) -> Tensor:
    """A setting that nobody could set."""
    return beta * pairs.chosen_logps


def without_default(pairs: Pairs, *, beta: float) -> Tensor:
    """A setting that everybody would have to."""
    return beta * pairs.chosen_logps


def test_an_outsiders_function_is_found_by_module_and_name() -> None:
    found = find(f"{__name__}:outsider")
    assert (found.kind, found.needs_reference) == ("pairs", True)
    assert found.settings == {"beta": (float, 2.0)}
    given = random_pairs(3)
    assert torch.equal(found(given, beta=3.0), 3 * (given.rejected_logps - given.chosen_logps))
    assert not find(f"{__name__}:free").needs_reference
    assert __name__ in sys.modules


def test_an_outsiders_module_beside_the_command_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loss_of_somebody.py").write_text(
        "from halign.objectives import Pairs\ndef f(pairs: Pairs):\n    return pairs.chosen_logps\n"
    )
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    assert find("loss_of_somebody:f").kind == "pairs"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dop", "did you mean 'dpo'"),
        ("no.such.module:f", "cannot be imported"),
        (f"{__name__}:missing", "cannot be imported"),
        (f"{__name__}:unannotated", "annotate the first argument"),
        (f"{__name__}:TYPES", "no function"),
        (f"{__name__}:positional", "keyword-only and have defaults; 'beta'"),
        (f"{__name__}:without_default", "keyword-only and have defaults; 'beta'"),
    ],
)
def test_what_is_no_objective_is_said_to_be_none(name: str, says: str) -> None:
    with pytest.raises(HalignError, match=says):
        find(name)
