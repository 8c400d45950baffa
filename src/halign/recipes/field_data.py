"""What every method of the field learns from: a few replies to each prompt, with their true rewards.

One stage writes the same replies in the forms that methods want. Every form has the same prompts and the same
replies; what differs is how much of the rewards it tells, which is the method's own business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.rules import Grade
from halign.recipes.origins import Inputs, Report, prompts_of, world_module
from halign.recipes.steps import model_folder

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "pairs": ("rankings.jsonl", {"pairs": "best_rest"}),
    "singles": ("rankings.jsonl", {"threshold": 1.0}),
    "lists": ("rankings.jsonl", {}),
    "tokens": ("rankings.jsonl", {}),
    "text": ("rankings.jsonl", {}),
    "soft_pairs": ("soft_pairs.jsonl", {}),
    "win_pairs": ("win_pairs.jsonl", {}),
    "win_lists": ("win_lists.jsonl", {}),
    "own_pairs": ("own_pairs.jsonl", {}),
    "attribute_lists": ("attribute_lists.jsonl", {}),
}
"""Form -> its file, and the training settings that turn its rows into what an objective takes."""

GOOD, OWN = "good", "own"
"""Keys of a reply: the world's own good one; one that the model wrote (it may have found the same words)."""


def win_rates(rewards: Sequence[float]) -> list[float]:
    """Mean probability of beating each of the replies: 1, 1/2 for an equal one and for itself, 0.

    >>> win_rates([1.0, 0.5, 0.5])
    [0.8333333333333334, 0.3333333333333333, 0.3333333333333333]
    """
    return [sum(0.5 if r == s else float(r > s) for s in rewards) / len(rewards) for r in rewards]


def preference(gap: float, scale: float) -> float:
    """P(better beats worse) for a reward gap: sigmoid(scale * gap), Bradley-Terry's.

    >>> round(preference(1 / 3, 6.0), 3)
    0.881
    """
    return 1 / (1 + math.exp(-scale * gap))


@dataclass(frozen=True)
class Answered:
    """A prompt and its replies, best first."""

    prompt: Any
    replies: list[dict[str, Any]]

    @property
    def rewards(self) -> list[float]:
        return [r["score"] for r in self.replies]


def responses(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    world: str,
    world_version: str,
    skip: int,
    prompts: int,
    multiple: int,
    samples: int,
    scale: float,
    drift_conversations: int,
    sampling: Mapping[str, Any],
    seed: int,
) -> None:
    """Every form of the training data, and ``drift.jsonl``.

    Args:
        skip: conversations at the start of train.jsonl that the model imitated; the prompts come from the rest.
        prompts, multiple: how many prompts to keep at most, and of what their number is a multiple, so that
            lists divide evenly into updates. Only prompts whose replies have unlike rewards are kept.
        samples: replies of the model beside the world's own good one.
        scale: how sure a reward gap makes the soft preferences (see ``preference``).
        drift_conversations: test conversations whose good and broken replies are scored by every model.
    """
    from halign.examples import Conversation
    from halign.models import load
    from halign.readers import read, write_rows
    from halign.sampling import TransformersSampler

    policy = load(model_folder(inputs["model"]))
    asked = [
        (p, c.dialogue.messages[len(p)].content)
        for c in list(read(inputs["data"] / "train.jsonl"))[skip:]
        if isinstance(c, Conversation)
        for p in prompts_of(c)
    ]
    said = TransformersSampler(policy).sample(
        [p for p, _ in asked],
        n=samples,
        seed=seed,
        progress=lambda done, total: progress(done, total, "sampling"),
        **sampling,
    )
    graded = _graded(world, asked, [[s.text for s in row if s.finished and s.text] for row in said])
    unlike = [a for a in graded if len(set(a.rewards)) > 1][:prompts]
    unlike = unlike[: len(unlike) // multiple * multiple]
    if not unlike:
        raise HalignError(
            f"of {len(asked)} prompts fewer than {multiple} have replies with unlike rewards: set conversations="
        )
    _add_logps(policy, unlike, scale)
    for form, rows in forms(unlike, scale).items():
        write_rows(rows, output / f"{form}.jsonl")
    held_out = world_module(world).conversations(drift_conversations, split="test", seed=seed)
    write_rows(drift_rows(policy, list(held_out)), output / "drift.jsonl")


def _graded(world: str, asked: Sequence[tuple[Any, str]], said: Sequence[Sequence[str]]) -> list[Answered]:
    """The good reply and the samples of each prompt, graded, best first; the same words count once."""
    from halign.judges import RulesJudge

    judge, rules = RulesJudge(world_module(world).assess), world_module(world).GUARDRAILS
    found = []
    for (prompt, good), texts in zip(asked, said, strict=True):
        distinct = list(dict.fromkeys([good, *texts]))
        grades = judge.grade([prompt] * len(distinct), distinct)
        replies = [
            {
                "content": text,
                "score": g.worth,
                "attributes": attributes(g),
                "feedback": feedback(g, rules),
                GOOD: text == good,
                OWN: text in texts,
            }
            for text, g in zip(distinct, grades, strict=True)
        ]
        found.append(Answered(prompt, sorted(replies, key=lambda r: -float(str(r["score"])))))
    return found


def attributes(grade: Grade) -> dict[str, int]:
    """What is true of a reply, each from 0 to 4."""
    return {
        "adherence": round(4 * grade.kept),
        "natural": 4 * grade.acceptable["naturalness"],
        "supported": 4 * grade.acceptable["hallucination"],
    }


def feedback(grade: Grade, rules: Mapping[str, Any]) -> str:
    """What somebody who knows the truth would say of a reply, in one sentence."""
    faults = [f"it breaks the rule “{rules[g].sentences[0]}”" for g, ok in grade.active.items() if not ok]
    if not grade.acceptable["naturalness"]:
        faults.append(f"it is not natural ({grade.reasons['naturalness']})")
    if not grade.acceptable["hallucination"]:
        faults.append(grade.reasons["hallucination"])
    return (
        f"Not good: {', and '.join(faults)}." if faults else "Good: it keeps every rule and invents nothing."
    )


def _add_logps(policy: Any, answered: Sequence[Answered], scale: float) -> None:
    """Log-probabilities for SteerLM 2: of each reply under the model that training starts from, and of the wish
    "as good as can be", log P(a | x, y) = scale * (reward - 1) up to a constant.
    """
    from halign.likelihood import logps

    pairs = [(a.prompt, r["content"]) for a in answered for r in a.replies]
    known = iter(logps(policy, pairs, dtype="bf16").tolist())
    for a in answered:
        for r in a.replies:
            r["prior_logp"] = next(known)
            r["attribute_logp"] = scale * (r["score"] - 1)


def forms(answered: Sequence[Answered], scale: float) -> dict[str, list[dict[str, Any]]]:
    """File name -> its rows."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("rankings", "soft_pairs", "win_pairs", "win_lists", "own_pairs", "attribute_lists")
    }
    for number, a in enumerate(answered):
        about = {"id": f"prompt-{number}", **_about(a.prompt)}
        rates = win_rates(a.rewards)
        rows["rankings"].append(
            {**about, "responses": [_only(r, "attributes", "feedback") for r in a.replies]}
        )
        rows["attribute_lists"].append(
            {**about, "responses": [_only(r, "prior_logp", "attribute_logp") for r in a.replies]}
        )
        rows["win_lists"].append(
            {
                **about,
                "responses": [
                    {"content": r["content"], "score": p} for r, p in zip(a.replies, rates, strict=True)
                ],
            }
        )
        rows["win_pairs"].append(
            {
                **about,
                **_pair(a.replies[0], a.replies[-1]),
                "chosen_win_rate": rates[0],
                "rejected_win_rate": rates[-1],
            }
        )
        rows["soft_pairs"] += [
            {**about, **_pair(b, w), "preference": preference(b["score"] - w["score"], scale)}
            for b, w in _best_rest(a.replies)
        ]
        good = next(r for r in a.replies if r[GOOD])
        rows["own_pairs"] += [{**about, **_pair(good, r)} for r in a.replies if r[OWN] and not r[GOOD]]
    return rows


def _about(prompt: Any) -> dict[str, Any]:
    return {
        "conversation": prompt.meta["conversation"],
        "prompt": [m.to_dict() for m in prompt.messages],
        "guardrails": list(prompt.guardrails),
    }


def _only(reply: Mapping[str, Any], *extra: str) -> dict[str, Any]:
    return {k: reply[k] for k in ("content", "score", *extra)}


def _pair(better: Mapping[str, Any], worse: Mapping[str, Any]) -> dict[str, str]:
    return {"chosen": better["content"], "rejected": worse["content"]}


def _best_rest(
    replies: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each of the best with each that is worse, as ``convert.to_pairs`` has it."""
    top = replies[0]["score"]
    for better in (r for r in replies if r["score"] == top):
        yield from ((better, worse) for worse in replies if worse["score"] < top)


def drift_rows(policy: Any, conversations: Sequence[Any]) -> list[dict[str, Any]]:
    """Good replies of test conversations, the same with one guardrail broken, and what the model that training
    starts from thinks of both (nats).
    """
    from halign.likelihood import logps

    rows = []
    for c in conversations:
        for prompt in prompts_of(c):
            turn = len(prompt)
            worse = c.alternatives[turn][0].message.content
            rows.append({**_about(prompt), "chosen": c.dialogue.messages[turn].content, "rejected": worse})
    prompts = [p for c in conversations for p in prompts_of(c)]
    for side in ("chosen", "rejected"):
        known = logps(policy, list(zip(prompts, (r[side] for r in rows), strict=True))).tolist()
        for row, value in zip(rows, known, strict=True):
            row[f"{side}_logp"] = value
    return rows
