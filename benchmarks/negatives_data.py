"""What ``benchmarks.negatives`` trains on: the same number of pairs for every arm, each with another kind of worse reply.

The builders are those of ``halign data build``; nothing here knows the truth but ``facts``, which says afterwards what the worse
replies are worth.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from halign.builders import Tools, build, capo, guardrails, resolve
from halign.builders.writers import LocalWriter, Written
from halign.curation.source import RowSource
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.llm import Failure
from halign.recipes import field_steps
from halign.recipes.field import START
from halign.recipes.field_data import FORMS, drift_rows
from halign.recipes.origins import Inputs, Report, chosen, world_module
from halign.recipes.steps import find_judge, model_folder, read_rows
from halign.sampling.settings import Settings

Row = dict[str, Any]
STRATEGIES = ("neglect", "hallucination", "misunderstanding")
CONTEXT, RANDOM = "context", "random"
"""Arms: a reply by one of the three strategies, drawn for each query; a reply of another conversation."""
RULES, WORLD, CHECKED = "rules", "world", "world-checked"
"""Arms: broken by the builder's templates; broken by the world; the same, but only rules that the builder broke as well."""
CONTEXT_ARMS, RULE_ARMS = (*STRATEGIES, CONTEXT, RANDOM), (RULES, WORLD, CHECKED)
ARMS = (*CONTEXT_ARMS, *RULE_ARMS)
FILE = FORMS["own_pairs"][0]


class SmallWriter(LocalWriter):
    """The start model as CaPO's writer. It is too small to follow instructions, so what it is told in words is done to its
    prompt: for "make up what was said before" another customer's turns stand there; for "misunderstand" the answer is to an
    earlier message of the customer. Neglect, the last query alone, is a prompt as it is.

    Args:
        others: conversations whose turns are what was made up.
    """

    others: Sequence[Dialogue] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """Also how the instructions were carried out."""
        return {**super().identity, "instructions": "carried out on the prompt"}

    def write(self, prompts: Sequence[Dialogue], settings: Settings) -> list[list[Written] | Failure]:
        """As ``Writer.write``."""
        done = [self.meant(p, random.Random(f"{settings.seed}-{i}")) for i, p in enumerate(prompts)]
        return super().write(done, settings)

    def meant(self, prompt: Dialogue, rng: random.Random) -> Dialogue:
        """The prompt with the instruction at its end carried out."""
        *before, last = prompt.messages
        if last.content.endswith(marked := f"\n\n({capo.INVENT})"):
            said = rng.choice(self.others).messages
            past = said[1 : rng.choice([i for i, m in enumerate(said) if m.role == "user" and i > 1])]
            query = replace(last, content=last.content.removesuffix(marked))
            return replace(prompt, messages=(*(m for m in before if m.role == "system"), *past, query))
        if last.content.endswith(f"\n\n({capo.MISTAKE})"):
            return prompt[: 1 + rng.choice([i for i, m in enumerate(before) if m.role == "user"])]
        return prompt


def responses(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    world: str,
    world_version: str,
    skip: int,
    context_conversations: int,
    pairs: int,
    max_new_tokens: int,
    drift_conversations: int,
    seed: int,
) -> None:
    """A folder for each arm and for the start model, with the file of its form (not the start model's) and ``drift.jsonl``; and
    ``facts.json``.

    Args:
        skip: conversations at the start of train.jsonl that the start model imitated.
        context_conversations: of those after them, how many CaPO's negatives are made of.
        pairs: of every arm.

    Raises:
        HalignError: an arm has fewer.
    """
    from halign.models import fingerprint, load
    from halign.readers import write_jsonl, write_rows
    from halign.sampling import TransformersSampler

    policy = load(model_folder(inputs["model"]))
    talks = chosen(inputs["data"], ["train"], skip)
    write_jsonl(talks, output / "all.jsonl")
    write_jsonl(talks[:context_conversations], output / "some.jsonl")
    writer = SmallWriter(TransformersSampler(policy), fingerprint(policy.model), START)
    writer.others = [c.dialogue for c in chosen(inputs["data"], ["validation"])]
    progress(0, 3, "negatives of context")
    built = {
        **context_arms(output, writer, max_new_tokens, seed),
        **rule_arms(output, talks, world, seed),
    }
    progress(1, 3, "what they are worth")
    for arm, rows in built.items():
        if len(rows) < pairs:
            raise HalignError(f"{arm}: {len(rows)} pairs, {pairs} wanted; more conversations are needed")
        write_rows(rows[:pairs], output / arm / FILE)
    about = {arm: facts(world, output / arm / FILE) for arm in built}
    (output / "facts.json").write_text(json.dumps(about, indent=1) + "\n")
    progress(2, 3, "held-out replies")
    drift = drift_rows(
        policy, list(world_module(world).conversations(drift_conversations, split="test", seed=seed))
    )
    for arm in (START, *built):
        write_rows(drift, output / arm / "drift.jsonl")


def context_arms(output: Path, writer: LocalWriter, max_new_tokens: int, seed: int) -> dict[str, list[Row]]:
    """CaPO's pairs of ``some.jsonl``: every arm has the same queries and chosen replies, those for which all strategies have a
    negative that the test by log-probability lets pass."""
    strategies = (*STRATEGIES, RANDOM)
    asked = {"strategies": strategies, "max_new_tokens": max_new_tokens, "test": "logps", "chunk": 100}
    build(
        capo.BUILDER,
        RowSource(output / "some.jsonl"),
        output / "capo.jsonl",
        resolve(capo.BUILDER, {**asked, "seed": seed}),
        Tools(writer=writer),
        overwrite=True,
    )
    queries: dict[tuple[str, int], dict[str, Row]] = {}
    for row in read_rows(output / "capo.jsonl"):
        queries.setdefault((row["conversation"], len(row["prompt"])), {})[row["strategy"]] = row
    whole = [q for q in queries.values() if len(q) == len(strategies)]
    arms = {s: [q[s] for q in whole] for s in strategies}
    draws = random.Random(f"strategies-{seed}")
    arms[CONTEXT] = [q[draws.choice(STRATEGIES)] for q in whole]
    return {arm: arms[arm] for arm in CONTEXT_ARMS}


def rule_arms(output: Path, talks: Sequence[Any], world: str, seed: int) -> dict[str, list[Row]]:
    """The pairs that the guardrails builder makes of ``all.jsonl`` by rules alone, and the world's own of those conversations."""
    build(
        guardrails.BUILDER,
        RowSource(output / "all.jsonl"),
        output / "guardrails.jsonl",
        resolve(guardrails.BUILDER, {"form": "pairs", "seed": seed}),
        overwrite=True,
    )
    made = read_rows(output / "guardrails.jsonl")
    named = {s: g.id for g in world_module(world).GUARDRAILS.values() for s in g.sentences}
    checked = {named[r["rule"]] for r in made}
    own = list(own_pairs(talks))
    draws = random.Random(f"pairs-{seed}")
    arms = {RULES: made, WORLD: own, CHECKED: [r for r in own if r["violates"] in checked]}
    return {arm: draws.sample(rows, len(rows)) for arm, rows in arms.items()}


def own_pairs(talks: Sequence[Any]) -> Iterator[Row]:
    """The alternatives of the world's conversations: the agent's reply, and the same with one guardrail broken."""
    from halign.convert import to_pairs
    from halign.readers.write import to_row

    yield from (to_row(pair) for pair in to_pairs(talks).examples)


def facts(world: str, file: Path) -> dict[str, float]:
    """What is true of the worse replies of a file: their mean reward, and the shares that keep all guardrails in force, are
    natural, invent nothing, are right in all three respects, and are worth less than the chosen one."""
    from halign.examples import Preference
    from halign.readers import read

    pairs = [e for e in read(file) if isinstance(e, Preference)]
    judge = find_judge(world, None)
    good, bad = (
        judge.grade([p.prompt for p in pairs], [getattr(p, side).content for p in pairs])
        for side in ("chosen", "rejected")
    )
    n = len(pairs)
    return {
        "pairs": n,
        "conversations": len({p.conversation for p in pairs}),
        "reward": sum(g.worth for g in bad) / n,
        **{name: sum(g.acceptable[name] for g in bad) / n for name in bad[0].acceptable},
        "all right": sum(g.all_right for g in bad) / n,
        "worse": sum(b.worth < g.worth for g, b in zip(good, bad, strict=True)) / n,
    }


def attempt(output: Path, *, inputs: Inputs, arm: str, **settings: Any) -> None:
    """``field_steps.attempt`` on an arm's pairs."""
    field_steps.attempt(output, inputs=_of(inputs, arm), **settings)


def measure(output: Path, *, inputs: Inputs, arm: str, **settings: Any) -> None:
    """``field_steps.measure`` on an arm's pairs."""
    field_steps.measure(output, inputs=_of(inputs, arm), **settings)


def _of(inputs: Mapping[str, Path], arm: str) -> dict[str, Path]:
    return {**inputs, "responses": inputs["responses"] / arm}
