"""Loops by name, and running one."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halign.errors import HalignError
from halign.examples import Example
from halign.loops.contract import Loop, LoopSettings, Task
from halign.named_settings import checked

if TYPE_CHECKING:
    from halign.models import Policy
    from halign.rewards.protocol import Preferences, Reward
    from halign.training import Run

BUILT_IN: tuple[str, ...] = (
    *("feedback", "online_dpo", "raft", "rlaif", "rso", "spin", "sppo"),
    *("grpo", "ppo", "reinforce", "rloo"),
)
"""Modules of this folder that hold a ``LOOP`` of their own name."""

REMEDIES = {
    "reward": "give reward=: a reward model's folder, a function, or rules",
    "preferences": "give preferences= (a pairwise model, a labeller), or a reward, whose differences then decide",
    "responses": "give data with responses: demonstrations, or conversations",
}


def names() -> list[str]:
    """The loops there are, sorted."""
    return sorted(BUILT_IN)


def find(name: str) -> Loop:
    """The loop of that name.

    Raises:
        HalignError: if there is none.
    """
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, BUILT_IN, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names())}"
        raise HalignError(f"no loop {name!r}; {hint}")
    found: Loop = importlib.import_module(f"halign.loops.{name}").LOOP
    return found


def resolve(loop: Loop, settings: Mapping[str, Any]) -> LoopSettings:
    """The settings of a loop, checked and complete.

    Raises:
        HalignError: for an unknown key (it suggests the nearest one) or a bad value.
    """
    return checked(loop.name, loop.settings, settings)


def run(
    name: str,
    policy: Policy | str | Path,
    examples: Sequence[Example],
    *,
    output: str | Path,
    reward: Reward | None = None,
    preferences: Preferences | None = None,
    evaluation: Sequence[Example] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    record: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Run a loop: the policy's own weights are changed; the result is also in ``output/model``.

    The same call on an unfinished output goes on where it stopped, on a finished one does nothing.

    Args:
        name: ``halign.loops.names()``.
        policy: from ``halign.load``, or a folder or hub name.
        examples: prompts are taken from them; responses too, where the loop needs some.
        reward: how good a reply is (``halign.rewards.find_reward`` makes one of words).
        preferences: which of two replies is better; where a loop needs it and only a reward is given, their difference decides.
        evaluation: held-out examples, whose prompts are answered and graded as the loop goes.
        settings: of the loop.

    Raises:
        HalignError: for settings, data or a model that will not do; before the first step where possible.
    """
    from halign.models import load
    from halign.rewards.protocol import ByReward
    from halign.run_folder import RunFolder
    from halign.training import Run

    loop = find(name)
    resolved = resolve(loop, settings)
    folder = RunFolder(output)
    if folder.done and not overwrite:
        return Run(folder.path, folder.metrics())
    if preferences is None and reward is not None and "preferences" in loop.needs:
        preferences = ByReward(reward)
    given = {"reward": reward, "preferences": preferences, "responses": examples}
    for need in loop.needs:
        if given[need] is None:
            raise HalignError(f"{name} needs {need}: {REMEDIES[need]}")
    return loop.run(
        Task(
            policy=load(policy) if isinstance(policy, str | Path) else policy,
            examples=examples,
            settings=resolved,
            output=Path(output),
            reward=reward,
            preferences=preferences,
            evaluation=evaluation,
            overwrite=overwrite,
            quiet=quiet,
            record=dict(record or {}),
        )
    )
