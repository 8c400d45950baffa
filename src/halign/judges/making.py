"""Judges in one line: ``halign.judges.llm("gpt-4o-mini", dimensions=["adherence"])`` and its kin, and judges by words.

>>> judge = llm("some-model", "http://localhost:8000/v1", dimensions=["helpfulness"], explain=True)
>>> judge.name, judge.dimensions, judge.sees_order
('some-model', ('helpfulness',), True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.asking import Read
from halign.judges.language_model import LanguageModelJudge
from halign.judges.learned import PairwiseJudge, RewardJudge
from halign.judges.numbers import EndpointNumbers, LocalNumbers
from halign.judges.protocol import can_compare, can_grade
from halign.judges.rubric import Rubric
from halign.judges.rules import DIMENSIONS, RulesJudge
from halign.judges.votes import HumanJudge
from halign.judges.words import can_answer
from halign.llm import Budget, Client, Endpoint
from halign.outsiders import imported

OPENAI_URL = "https://api.openai.com/v1"
FORMS = (
    "rules, care, checks, chart:FILE, reward:FOLDER, pairwise:FOLDER, llm:NAME@URL, local:FOLDER, human:FILE, "
    "package.module:name"
)

Rubrics = Sequence[str | Path | Rubric]


def llm(
    model: str,
    url: str = OPENAI_URL,
    *,
    dimensions: Rubrics = DIMENSIONS,
    explain: bool = False,
    read: Read = "auto",
    samples: int = 1,
    max_tokens: int | None = None,
    seed: int = 0,
    budget: float | Budget | None = None,
    cache: Path | None = None,
    name: str | None = None,
    **endpoint: Any,
) -> LanguageModelJudge:
    """A language model behind an OpenAI-compatible endpoint as a judge.

    Args:
        model: its name there.
        dimensions: rubrics, by name or file.
        explain: a reason before every verdict.
        read, samples, max_tokens, seed: as for ``EndpointNumbers``.
        budget, cache: as for ``Client``.
        endpoint: further settings of ``Endpoint`` (``key_env``, ``concurrency``, ``input_price`` ...).

    Raises:
        HalignError: no such rubric or setting, or one that is out of range.
    """
    if strange := set(endpoint) - {f.name for f in fields(Endpoint)}:
        raise HalignError(f"judge llm: no setting {', '.join(sorted(strange))}")
    client = Client(Endpoint(url, model, **endpoint), budget=budget, cache=cache)
    numbers = EndpointNumbers(
        client, explain=explain, read=read, samples=samples, max_tokens=max_tokens, seed=seed
    )
    return LanguageModelJudge(numbers, dimensions, name=name)


def local(
    model: Any,
    *,
    dimensions: Rubrics = DIMENSIONS,
    explain: bool = False,
    name: str | None = None,
    **options: Any,
) -> LanguageModelJudge:
    """A language model in this process as a judge.

    Args:
        model: a policy (``halign.load``), or a folder or hub name of one.
        dimensions: rubrics, by name or file.
        options: of ``LocalNumbers`` (``least_mass``, ``max_tokens``, ``dtype``).

    Raises:
        HalignError: no such model or rubric.
    """
    if isinstance(model, str | Path):
        from halign.models import load

        name, model = name or Path(model).name, load(str(model))
    return LanguageModelJudge(LocalNumbers(model, explain=explain, name=name, **options), dimensions)


def rules(assess: Callable[..., Any] | None = None, *, name: str | None = None) -> RulesJudge:
    """Exact rules as a judge.

    Args:
        assess: (prompt, reply) -> what is true of the reply; None: the care world's.
    """
    if assess is not None:
        return RulesJudge(assess, name=name or "rules")
    from halign.worlds import care

    return RulesJudge(care.assess, name=name or "care")


def reward(
    model: Any,
    *,
    acceptable: float | None = None,
    margin: float = 0.0,
    name: str | None = None,
    **options: Any,
) -> RewardJudge | PairwiseJudge:
    """A reward model or a pairwise preference model as a judge.

    Args:
        model: from ``halign.load_reward``, a folder or hub name of one, or anything with ``score(prompts, replies)``.
        acceptable, margin: as for ``RewardJudge``; a pairwise model takes ``margin`` alone.
        options: of ``RewardModel.score`` (``max_tokens``, ``dtype``).

    Raises:
        HalignError: no such model, or ``acceptable`` for a pairwise one.
    """
    from halign.rewards.model import RewardModel
    from halign.rewards.protocol import LearnedReward

    if isinstance(model, str | Path):
        from halign.rewards.loading import load_reward

        name, model = name or Path(model).name, load_reward(str(model))
    if not isinstance(model, RewardModel):
        return RewardJudge(model, name=name or type(model).__name__, acceptable=acceptable, margin=margin)
    if model.facts.kind != "pairwise":
        wrapped = LearnedReward(model, **options)
        return RewardJudge(wrapped, name=name or str(model.path), acceptable=acceptable, margin=margin)
    if acceptable is not None:
        raise HalignError("judge: a pairwise model gives no rewards; leave acceptable= out")
    return PairwiseJudge(model, name=name or str(model.path), margin=margin, **options)


def human(file: str | Path, *, rater: str | None = None) -> HumanJudge:
    """People's votes as a judge; arguments and errors as for ``votes.HumanJudge``."""
    return HumanJudge(file, rater=rater)


def find_judge(words: str, dimensions: Rubrics = (), **options: Any) -> Any:
    """A judge by words, as on the command line: one of FORMS.

    Args:
        dimensions: rubrics of a language model (``load_rubrics``); none: adherence, naturalness, hallucination.
        options: of ``llm``, ``local`` or ``reward``.

    Raises:
        HalignError: there is none, or options have no effect on it.
    """
    kind, _, rest = words.partition(":")
    rubrics: dict[str, Any] = {"dimensions": tuple(dimensions)} if dimensions else {}
    if kind == "llm" and rest:
        model, _, url = rest.rpartition("@") if "@" in rest else (rest, "", OPENAI_URL)
        return llm(model, url, **rubrics, **options)
    if kind == "local" and rest:
        return local(rest, **rubrics, **options)
    if rubrics:
        raise HalignError(f"judge {words}: rubrics are for language models (llm:, local:); leave them out")
    if kind in ("reward", "pairwise") and rest:
        return _learned(kind, rest, options)
    if options:
        raise HalignError(f"judge {words}: {', '.join(options)} would have no effect; leave it out")
    if words in ("care", "rules"):
        return rules()
    if words == "checks":
        from halign.builders.guardrails.checks_judge import ChecksJudge

        return ChecksJudge()
    if kind == "human" and rest:
        return human(rest)
    if kind == "chart" and rest:
        from halign.dialogues.chart_judge import FlowChartJudge

        return FlowChartJudge(rest)
    if kind == "persona" and rest:
        raise HalignError(
            f"judge {words}: a persona sheet is a rubric, and somebody has to read it: --judge llm:NAME@URL (or local:FOLDER) "
            f"--rubric {words}"
        )
    return _outsider(words)


def _learned(kind: str, folder: str, options: dict[str, Any]) -> RewardJudge | PairwiseJudge:
    found = reward(folder, **options)
    if isinstance(found, PairwiseJudge) != (kind == "pairwise"):
        other = "pairwise" if kind == "reward" else "reward"
        raise HalignError(f"judge {kind}:{folder}: the folder holds a {other} model; take {other}:{folder}")
    return found


def _outsider(words: str) -> Any:
    if ":" not in words:
        raise HalignError(f"no judge {words!r}; there are {FORMS}")
    found = imported(words, "judge")
    if isinstance(found, type):
        found = found()
    if can_compare(found) or can_grade(found) or can_answer(found):
        return found
    if callable(found):
        return RulesJudge(found, name=words)
    raise HalignError(
        f"judge {words!r} neither compares, grades nor answers, and is no assess(prompt, reply)"
    )
