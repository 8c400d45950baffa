"""Rewards and preferences by words, as they stand on a command line or in a settings file.

- ``care``, or ``{world: care, whole: true}``: a world's exact rules;
- a folder or hub name of a reward model, or ``{model: FOLDER, weights: {helpfulness: 1}}``;
- ``package.module:name``: a function (prompts, replies) -> numbers, an object with ``score`` or ``prefers``, or its class;
- ``{endpoint: URL, model: NAME, criteria: ...}``: a language model behind an endpoint that grades, or compares;
- ``{grader: FOLDER, criteria: ...}``: a language model in this process that grades.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.outsiders import imported
from halign.rewards.protocol import (
    ByReward,
    LabelledPreferences,
    LearnedPreferences,
    LearnedReward,
    Preferences,
    Reward,
)

Words = str | Mapping[str, Any]
"""How a reward is named."""


@dataclass(frozen=True)
class FunctionReward:
    """A function (prompts, replies) -> one number per reply, as a ``Reward``."""

    function: Callable[[Sequence[Dialogue], Sequence[str]], Sequence[float]]

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Rewards.

        Raises:
            HalignError: if the function gives another number of numbers.
        """
        found = [float(r) for r in self.function(prompts, replies)]
        if len(found) != len(replies):
            raise HalignError(
                f"reward {self.function.__name__} gave {len(found)} numbers for {len(replies)} replies"
            )
        return found


def find_reward(words: Words) -> Reward:
    """The reward of that name.

    Raises:
        HalignError: if there is none.
    """
    given = _as_mapping(words)
    if "world" in given:
        return _of_world(given)
    if "endpoint" in given:
        from halign.judges import DirectScorer
        from halign.rewards.language_model import LanguageModelReward

        scaled = bool(given.pop("scaled", False))
        return LanguageModelReward(_asking(DirectScorer, given), scaled=scaled)
    if "grader" in given:
        return _local_grader(given)
    if "function" in given:
        found = _outsider(given["function"])
        if hasattr(found, "score"):
            return found
        if inspect.isroutine(found):
            return FunctionReward(found)
        raise HalignError(f"reward {given['function']!r} is no function and has no score(prompts, replies)")
    return LearnedReward(_model(given))


def find_preferences(words: Words) -> Preferences:
    """What says which of two replies is better, by name. A reward decides by its differences.

    Raises:
        HalignError: if there is none.
    """
    given = _as_mapping(words)
    if "endpoint" in given:
        from halign.judges import PairwiseLabeller

        return LabelledPreferences(_asking(PairwiseLabeller, given))
    if "function" in given:
        found = _outsider(given["function"])
        return found if hasattr(found, "prefers") else ByReward(find_reward(words))
    if "world" in given or "grader" in given:
        return ByReward(find_reward(words))
    return LearnedPreferences(_model(given))


def _as_mapping(words: Words) -> dict[str, Any]:
    if not isinstance(words, str):
        return dict(words)
    if words == "care":
        return {"world": words}
    return {"function": words} if ":" in words and "://" not in words else {"model": words}


def _of_world(given: Mapping[str, Any]) -> Reward:
    from halign.rewards.rules import RuleReward
    from halign.worlds import care

    options = dict(given)
    if (world := options.pop("world")) != "care":
        raise HalignError(f"reward: no world {world!r} has rules; there is care")
    return _called(RuleReward, options, care.assess)


def _model(given: Mapping[str, Any]) -> Any:
    from halign.rewards.loading import load_reward

    options = dict(given)
    return _called(load_reward, options, options.pop("model", None))


def _local_grader(given: Mapping[str, Any]) -> Reward:
    from halign.models import load
    from halign.rewards.language_model import LocalLanguageModelReward

    options = dict(given)
    return _called(LocalLanguageModelReward, options, load(options.pop("grader")))


def _asking(kind: Any, given: Mapping[str, Any]) -> Any:
    from halign.llm import Client, Endpoint
    from halign.processes import launched

    options = dict(given)
    known = {f.name for f in fields(Endpoint)}
    place = {"url": options.pop("endpoint"), **{k: options.pop(k) for k in list(options) if k in known}}
    budget = options.pop("budget", None)
    if budget is not None:
        budget /= launched()  # each of several processes asks its share of the questions
    if "model" not in place:
        raise HalignError("reward: an endpoint needs model=, the model's name there")
    return _called(kind, options, Client(Endpoint(**place), budget=budget))


def _called(function: Callable[..., Any], options: Mapping[str, Any], *given: Any) -> Any:
    try:
        inspect.signature(function).bind(*given, **options)
    except TypeError as error:
        raise HalignError(f"reward: {error}; settings were {', '.join(options) or 'none'}") from None
    return function(*given, **options)


def _outsider(name: str) -> Any:
    found = imported(name, "reward")
    return found() if isinstance(found, type) else found
