"""Settings of loops, and what they have to be given."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from pydantic import Field

from halign.errors import HalignError
from halign.loops import Loop, LoopSettings, registry


class Own(LoopSettings):
    keep: int = Field(2, ge=1, description="replies kept")


LOOP = Loop("own", "for this test", Own, ("reward",), run=lambda task: task)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BUILT_IN", ("own",))
    monkeypatch.setitem(sys.modules, "halign.loops.own", SimpleNamespace(LOOP=LOOP))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"kep": 3}, "did you mean 'keep'"), ({"keep": 0}, "own.keep: .*greater than or equal to 1")],
)
def test_mistakes_in_settings_are_named(settings, says) -> None:
    with pytest.raises(HalignError, match=says):
        registry.resolve(LOOP, settings)


def test_what_is_missing_is_named(policy, tmp_path) -> None:
    with pytest.raises(HalignError, match="own needs reward: give reward="):
        registry.run("own", policy, [], output=tmp_path / "run")
    with pytest.raises(HalignError, match="did you mean 'own'"):
        registry.run("owns", policy, [], output=tmp_path / "run")


def test_a_task_is_handed_over(policy, tmp_path) -> None:
    task = registry.run("own", policy, [], output=tmp_path / "run", reward=object(), keep=5)
    assert (task.settings.keep, task.policy, task.output) == (5, policy, tmp_path / "run")
