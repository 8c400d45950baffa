"""What the guardrails recipe makes of conversations: pairs to learn from, and held-out turns at which rules are asked about.

It leaves the files that a table's data stage leaves (``origins.data``), so that everything after it is the table's.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from halign.errors import HalignError
from halign.recipes.guardrails_llm import paid
from halign.recipes.origins import Inputs, Report, prompt_row, world_module

if TYPE_CHECKING:
    from halign.builders import Tools
    from halign.builders.guardrails.contract import Guardrail
    from halign.builders.guardrails.stages import Tagged
    from halign.curation.source import Row, RowSource

T = TypeVar("T")
GIVEN = "given"
"""The one kind of histories there is: the conversations as they are."""
ASKED, PROMPTS, CARD, SPLIT = "asked-test.jsonl", f"prompts-test-{GIVEN}.jsonl", "card.html", "divided"
PARTS = ("train", "validation", "test")
HELD_OUT = {"validation": 0.1, "test": 0.2}
"""Share of few conversations that is held out at most."""


def data(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    world: str | None,
    world_version: str | None,
    conversations: str | None,
    rules_column: str | None,
    policy: str | None,
    fingerprints: Sequence[str],
    build: Mapping[str, Any],
    llm: Mapping[str, Any],
    seed: int,
    most: Mapping[str, int],
    turns: int,
) -> None:
    """train.jsonl and validation.jsonl, conversations whose tagged turns carry a reply that breaks the rule; card.html; held-out
    prompts, and asked-test.jsonl, a row for each of them: which rules are asked about, and what the agent said there.

    Goes on with what an interrupted call left. No conversation stands in two of the parts.

    Args:
        most: part -> conversations at most.
        turns: held-out turns at most; of more they are taken at even distances.

    Raises:
        HalignError: too few conversations, nothing built, no held-out turn that is known to keep a rule.
    """
    from halign.builders import build as run
    from halign.builders import find
    from halign.curation.source import RowSource
    from halign.readers import write_rows
    from halign.reporting.data_card import data_card

    settings, steps = resolved(build, seed, _kept(policy, output)), Steps(progress)
    files = _divided(output / SPLIT, world, conversations, rules_column, most, seed, steps)
    with paid(llm, output) as tools:
        for part in ("train", "validation"):
            target = output / f"{part}.jsonl"
            try:
                if not target.exists():
                    run(find("guardrails"), files[part], target, settings, tools, overwrite=True, watch=steps)
            except HalignError:
                if part == "train" or not _nothing_built(target):
                    raise
        asked = _spread(held_out(files["test"], settings, tools, steps), turns)
    told = {"title": "Guardrail pairs", "description": f"Built of {conversations or f'the {world} world'}."}
    data_card(RowSource(output / "train.jsonl"), about=told, watch=steps).save(output / CARD)
    if not asked:
        raise HalignError(
            "in the held-out conversations no agent turn is known to keep a rule, so nobody can be asked: more conversations "
            "(test_conversations=), rules that a check understands, or a model that tags (--llm)"
        )
    write_rows((row for row, _ in asked), output / ASKED)
    write_rows((prompt_row(prompt) for _, prompt in asked), output / PROMPTS)


class Steps:
    """Watches rows go by, for builders and for the engine's display, which wants (done, of how many)."""

    def __init__(self, progress: Report) -> None:
        self.progress = progress

    def __call__(self, rows: Iterable[T], name: str) -> Iterator[T]:
        """The same rows. How many there are is not known before the last one."""
        for done, row in enumerate(rows, 1):
            yield row
            self.progress(0, 1, f"{name}: {done:,} rows")


def _kept(policy: str | None, output: Path) -> Path | None:
    """The policy, copied beside what is made of it, so that replies are judged by what the data was built by."""
    if policy is None:
        return None
    target = output / f"policy{Path(policy).suffix.lower()}"
    shutil.copyfile(policy, target)
    return target


def _nothing_built(target: Path) -> bool:
    """True if a build ended without a row; one that was stopped has left its folder."""
    return not target.with_name(f".{target.name}.building").exists()


def resolved(build: Mapping[str, Any], seed: int, policy: Path | None) -> Any:
    """The settings of the builder.

    Raises:
        HalignError: for one that it does not have.
    """
    from halign.builders import find, resolve

    return resolve(find("guardrails"), {"seed": seed, "policy": policy, **build})


def _divided(
    folder: Path,
    world: str | None,
    conversations: str | None,
    rules_column: str | None,
    most: Mapping[str, int],
    seed: int,
    steps: Steps,
) -> dict[str, RowSource]:
    """The parts: a file's, drawn by conversation, or a world's."""
    from halign.curation.source import RowSource
    from halign.curation.split import split
    from halign.readers import write_jsonl

    for left in folder.parent.glob(f".{folder.name}.*"):  # of a run that was killed while it wrote
        shutil.rmtree(left)
    if conversations is None:
        for part, made in _of_world(world_module(world), most, seed).items():
            write_jsonl((replace(c, alternatives={}) for c in made), folder / f"{part}.jsonl")
        return {part: RowSource(folder / f"{part}.jsonl") for part in PARTS}
    source = RowSource(conversations, guardrails=rules_column)
    if not folder.exists():
        name_of = source.conversations(steps)
        count = len({name_of(row.conversation) for row in steps(source, "conversations")})
        split(source, folder, shares(count, most), seed=seed, watch=steps)
    return {part: RowSource(folder / f"{part}.jsonl", guardrails=rules_column) for part in PARTS}


def _of_world(world: Any, most: Mapping[str, int], seed: int) -> dict[str, list[Any]]:
    """A world's conversations. Its test split words rules in ways that no check knows, so nobody could ask about them."""
    unseen = list(world.conversations(most["validation"] + most["test"], split="validation", seed=seed))
    train = list(world.conversations(most["train"], split="train", seed=seed))
    return {"train": train, "validation": unseen[: most["validation"]], "test": unseen[most["validation"] :]}


def shares(count: int, most: Mapping[str, int]) -> dict[str, float]:
    """Part -> its share of ``count`` conversations: at most as many as wanted, a tenth and a fifth held out of few.

    >>> shares(10, {"train": 300, "validation": 30, "test": 200})
    {'train': 0.7, 'validation': 0.1, 'test': 0.2}
    >>> shares(2000, {"train": 300, "validation": 30, "test": 200})
    {'train': 0.15, 'validation': 0.015, 'test': 0.1, 'rest': 0.735}

    Raises:
        HalignError: fewer than three conversations.
    """
    if count < len(PARTS):
        raise HalignError(f"{count} conversations: at least {len(PARTS)} are needed, one for each part")
    held = {part: min(most[part], max(1, math.floor(share * count))) for part, share in HELD_OUT.items()}
    learnt = min(most["train"], count - sum(held.values()))
    counts = {"train": learnt, **held, "rest": count - learnt - sum(held.values())}
    return {part: n / count for part, n in counts.items() if n}


Asked = tuple[dict[str, Any], Any]
"""(row of asked-test.jsonl, prompt)."""


def held_out(source: RowSource, settings: Any, tools: Tools, steps: Steps) -> list[Asked]:
    """The turns of held-out conversations at which the agent's own reply is known to keep a rule: a check says so, or a writer
    tagged it and the judge agrees.
    """
    from halign.builders.guardrails import prepare
    from halign.builders.guardrails.stages import Tagged, applicable, tag

    tools = replace(tools, seed=settings.seed, skip_failed=settings.skip_failed, prepared=prepare(settings))
    rows = list(steps(source, "held-out turns"))
    rules = {row.number: applicable(row, tools.prepared) for row in rows}
    tagged = _known(tag(rows, rules, tools, settings.everywhere, Counter()), tools, settings)
    of_row = defaultdict[int, list[Tagged]](list)
    for t in tagged:
        of_row[t.row.number].append(t)
    return [a for row in rows for a in _asked(row, rules[row.number], of_row[row.number], settings)]


def _asked(row: Row, rules: Sequence[Guardrail], tagged: Sequence[Tagged], settings: Any) -> Iterator[Asked]:
    """The tagged turns of one conversation, each with all rules that are known to be kept there."""
    from halign.builders.guardrails import in_force, in_prompt

    told = in_prompt(row.dialogue, rules, policy=settings.policy is not None)
    shown = in_force(row.dialogue, told, [t.guardrail for t in tagged], settings.show)
    for place in sorted({t.place for t in tagged}):
        kept = {t.guardrail.text: t.guardrail.id for t in tagged if t.place == place}
        said = {
            "conversation": row.conversation,
            "place": place,
            "good": row.dialogue.messages[place].content,
            "rules": [{"id": id, "text": text} for text, id in kept.items()],
        }
        yield said, replace(shown[:place], meta={**shown.meta, "conversation": row.conversation})


def _known(tagged: Sequence[Tagged], tools: Tools, settings: Any) -> list[Tagged]:
    """Those whose good reply is found to keep the rule, by the same judgement as a model's reply will be."""
    from halign.builders.guardrails.judging import Question, find

    found = find([Question(t.guardrail, t.turn, t.good) for t in tagged], tools, settings.verdict)
    return [t for t, f in zip(tagged, found, strict=True) if f.kept]


def _spread(rows: Sequence[T], most: int) -> list[T]:
    """At most so many of them, at even distances."""
    count = min(most, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]
