"""What reward models are measured on: ratings as attributes, comparisons across prompts, and the care world's ranked samples."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import halign as hl
from halign.dialogue import Message
from halign.examples import Example, Rating
from halign.likelihood import as_path, make_renderer
from halign.readers import write_rows
from halign.render import Renderer
from halign.rewards.card import Compared
from halign.rewards.model import RewardModel

FIT = "fit"
"""The attribute that the label of a rating becomes, 0 or 1."""


def with_label_as_attribute(example: Example) -> Example:
    """A rating whose label is an attribute that ``attributes`` learns; anything else as it is."""
    if not isinstance(example, Rating):
        return example
    said = example.response
    noted = {**said.extra, "attributes": {FIT: float(example.desirable)}}
    return replace(example, response=Message(said.role, said.content, noted, said.learn))


def odds(model: RewardModel, ratings: Sequence[Rating], **options: Any) -> list[float]:
    """log P(fit) - log P(not fit) of each rated response, by a model with one categorical attribute of two levels, nats."""
    found = model.attribute_logps([(r.prompt, r.response) for r in ratings], **options)[:, 0]
    differences: list[float] = (found[:, 1] - found[:, 0]).tolist()
    return differences


def across_prompts(
    model: RewardModel, ratings: Sequence[Rating], scores: Sequence[float], seed: int = 0
) -> list[Compared]:
    """Each good response with a bad one of the same kind (API calls with API calls), drawn once: the accuracy on these is an AUC.

    With log-odds as scores, sigma of their difference is P(the first is the good one) if exactly one of the two is.
    """
    renderer = make_renderer(model)
    rng = random.Random(seed)
    bad = {
        kind: [i for i, r in enumerate(ratings) if not r.desirable and _kind(r) == kind]
        for kind in map(_kind, ratings)
    }
    found = []
    for i, rating in enumerate(ratings):
        others = bad[_kind(rating)]
        if rating.desirable and others:
            j = rng.choice(others)
            own, other = (length(renderer, ratings[k]) for k in (i, j))
            found.append(Compared(scores[i] - scores[j], own, other, rating.conversation))
    return found


def length(renderer: Renderer, rating: Rating) -> int:
    """Tokens of the response."""
    return len(as_path(renderer, rating.prompt, rating.response).response)


def _kind(rating: Rating) -> str:
    return str(rating.prompt.meta.get("kind"))


def care_start(output: Path) -> Path:
    """The care world's base model after imitating 100 conversations: what is sampled, and what the reward model is made of."""
    from halign.worlds import care

    run = hl.train(
        care.base_model(),
        list(care.conversations(100, split="train", seed=0)),
        "sft",
        output=output,
        learning_rate=2e-4,
        batch_items=8,
        max_tokens=4096,
        dtype="bf16",
        tensorboard=False,
        quiet=True,
    )
    return run.path / "model"


def care_rankings(
    model: Path, file: Path, *, split: str, skip: int, conversations: int, samples: int, seed: int = 1
) -> list[Example]:
    """Samples of a model at every agent turn of some conversations, ranked by their true rewards; kept in a file.

    Prompts whose samples are all worth the same are left out: they compare nothing.

    Args:
        skip: conversations at the start of the split that are left to others.
    """
    if not file.exists():
        write_rows(_sampled(model, split, skip, conversations, samples, seed), file)
    return list(hl.read(file))


def _sampled(
    model: Path, split: str, skip: int, conversations: int, samples: int, seed: int
) -> Iterable[dict[str, Any]]:
    from halign.recipes.origins import prompts_of
    from halign.rewards.rules import care_rules
    from halign.sampling import TransformersSampler
    from halign.worlds import care

    talks = list(care.conversations(skip + conversations, split=split, seed=0))[skip:]  # type: ignore[arg-type]
    asked = [p for c in talks for p in prompts_of(c)]
    rules = care_rules()
    said = TransformersSampler(hl.load(model)).sample(
        asked, n=samples, seed=seed, max_new_tokens=80, fast_prompts=True
    )
    for number, (prompt, row) in enumerate(zip(asked, said, strict=True)):
        texts = list(dict.fromkeys(s.text for s in row if s.finished and s.text))
        scored = zip(texts, rules.score([prompt] * len(texts), texts), strict=True)
        replies = sorted(
            ({"content": t, "score": r} for t, r in scored), key=lambda r: -float(str(r["score"]))
        )
        if len({r["score"] for r in replies}) > 1:
            yield {
                "id": f"{split}-{number}",
                "conversation": prompt.meta["conversation"],
                "prompt": [m.to_dict() for m in prompt.messages],
                "guardrails": list(prompt.guardrails),
                "responses": replies,
            }
