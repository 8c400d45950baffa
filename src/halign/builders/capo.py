"""Negatives for context-aware preference optimisation (CaPO; Parrot: Sun et al. 2023, arXiv 2310.07301).

First the queries that depend on their context, by a judge or by log-probability (``dependence``). Then for each the data's reply
is chosen over one that goes wrong with the context in one of three ways:

- ``neglect``: the writer answers the last query alone;
- ``hallucination``: it answers the last query alone, and makes up the context that is missing;
- ``misunderstanding``: it answers from a part of the context that the query is not about; without a writer the reply is one that
  the agent gave earlier in the conversation, to something else. So it is, too, where the writer follows no instructions.

``random`` takes a reply of another conversation of the chunk: the control arm, which shows what is due to the strategies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from pydantic import Field

from halign.builders.candidates import CUT
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.dependence import alone, chances, follows_context, gains, policy_of
from halign.builders.rlaif import UNANSWERED, compare
from halign.builders.tools import Tools
from halign.builders.turns import Turn, same_words, turns
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Preference

Strategy = Literal["neglect", "hallucination", "misunderstanding", "random"]
Test = Literal["auto", "judge", "logps", "both", "none"]
INVENT = (
    "What was said before this message is lost. Make up, for yourself, a conversation that it may have come after, and answer as "
    "if that had been said: name details of it as facts. Do not say that anything is missing or made up."
)
MISTAKE = (
    "Write the reply of an assistant that has misunderstood: it takes the last message to be about another, unfitting part of "
    "the conversation above, and answers from that part. Do not say that it is a mistake. Give the reply only."
)
BARE, FREE = "turns without a context or a good reply", "queries that do not depend on their context"
SAME, NO_WORSE, NOTHING = (
    "negatives like the reply",
    "negatives that are no worse",
    "turns for which a strategy has nothing",
)
NO_WRITER = "turns for which a strategy needs a writer that follows instructions"


class Settings(BuilderSettings):
    """Of ``capo``."""

    strategies: tuple[Strategy, ...] = Field(
        ("neglect", "hallucination", "misunderstanding"), min_length=1, description="ways to go wrong"
    )
    each: Literal["all", "one"] = Field(
        "all", description="a negative by every strategy for each query, or by one that is drawn"
    )
    test: Test = Field(
        "auto",
        description="what tells whether a query depends on its context: the judge, log-probabilities of a local model, both "
        "(each has to agree), none (all are taken); auto: the judge if there is one, else log-probabilities, else none",
    )
    instructed: bool = Field(
        True,
        description="the writer follows instructions; false, of small models: it is asked the last query alone and no more, "
        "misunderstanding goes by rule, and hallucination has nothing",
    )
    over: float = Field(0.5, ge=0, lt=1, description="of the judge: P(depends) above which a query does")
    gain: float = Field(
        0.1, description="by log-probability: nats a token that the context must bring the reply"
    )
    temperature: float = Field(1.0, ge=0, description="of the writer")
    max_new_tokens: int = Field(200, ge=1, description="longest reply of the writer, in tokens")
    criteria: str = Field(
        "how well it fits what was said earlier in the conversation", description="by what the judge compares"
    )


@dataclass
class Query:
    """A turn whose reply is right, and what is known of it."""

    turn: Turn
    reply: Message
    columns: dict[str, float] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Negative:
    """A reply that goes wrong, and how."""

    query: Query
    strategy: str
    text: str
    keys: tuple[str, ...] = ()


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every query that depends on its context, with its negatives."""
    made = Made()
    found = list(turns(rows))
    fit = [Query(t, t.answer) for t in found if t.answer is not None and follows_context(t.prompt)]
    made.dropped += Counter({BARE: len(found) - len(fit)})
    queries = depending(fit, settings, tools)
    made.dropped += Counter({FREE: len(fit) - len(queries)})
    made.tallies["queries that depend on their context"] += len(queries)
    drafts = [n for n in negatives(queries, found, settings, tools, made) if _differs(n, made)]
    for negative in verified(drafts, settings, tools, made):
        made.tallies[f"pairs by {negative.strategy}"] += 1
        made.built.append(_built(negative))
    return made


# -- which queries -----------------------------------------------------------------------------------------------


def resolved(settings: Settings, tools: Tools) -> Test:
    """The test that is made.

    Raises:
        HalignError: one that needs what is not there.
    """
    if settings.test == "auto":
        return "judge" if tools.judge is not None else "logps" if policy_of(tools) is not None else "none"
    if settings.test in ("judge", "both") and tools.judge is None:
        raise HalignError(f"test={settings.test} needs a judge: --judge DIR, or --judge URL --judge-llm NAME")
    if settings.test in ("logps", "both") and policy_of(tools) is None:
        raise HalignError(
            f"test={settings.test} needs a local model's log-probabilities: --model DIR, or --judge DIR"
        )
    return settings.test


def depending(queries: Sequence[Query], settings: Settings, tools: Tools) -> list[Query]:
    """The queries that depend on their context, with what the tests said."""
    test = resolved(settings, tools)
    left = list(queries)
    if test in ("judge", "both"):
        answers = chances([q.turn.prompt for q in left], tools)
        asked = zip(left, answers, strict=True)
        left = [
            replace(q, columns={"depends": a[0]}, keys=a[1]) for q, a in asked if a and a[0] > settings.over
        ]
    if test in ("logps", "both"):
        policy = policy_of(tools)
        assert policy is not None
        found = zip(left, gains(policy, [(q.turn.prompt, q.reply) for q in left]), strict=True)
        left = [replace(q, columns={**q.columns, "gain": g}) for q, g in found if g > settings.gain]
    return left


# -- what goes wrong ---------------------------------------------------------------------------------------------


def negatives(
    queries: Sequence[Query], found: Sequence[Turn], settings: Settings, tools: Tools, made: Made
) -> list[Negative]:
    """The negatives of all queries, in order, as they were drawn or written."""
    plan = [(q, s) for q in queries for s in _strategies(q, settings, tools)]
    told = settings.instructed
    asked = [
        (q, s, d) for q, s in plan if tools.writer is not None and (d := _dialogue(q, s, told)) is not None
    ]
    groups = (
        tools.write(
            [d for *_, d in asked], temperature=settings.temperature, max_new_tokens=settings.max_new_tokens
        )
        if asked
        else []
    )
    written = {(id(q), s): group[0] for (q, s, _), group in zip(asked, groups, strict=True) if group}
    drafts = []
    for query, strategy in plan:
        if (said := written.get((id(query), strategy))) is not None:
            if said.finished:
                drafts.append(Negative(query, strategy, said.text, (said.key,)))
            else:
                made.dropped[CUT] += 1
            continue
        text = _by_rule(query, strategy, found, tools)
        if text is None:
            made.dropped[NOTHING if strategy in ("random", "misunderstanding") else NO_WRITER] += 1
        else:
            drafts.append(Negative(query, strategy, text))
    return drafts


def _strategies(query: Query, settings: Settings, tools: Tools) -> Sequence[Strategy]:
    if settings.each == "all":
        return settings.strategies
    return [_draws(query, tools, "strategy").choice(settings.strategies)]


def _dialogue(query: Query, strategy: Strategy, instructed: bool) -> Dialogue | None:
    """What the writer is asked for a strategy; None if it is not asked."""
    prompt = query.turn.prompt
    if strategy == "neglect":
        return alone(prompt)
    if not instructed:
        return None
    if strategy == "hallucination":
        return _told(alone(prompt), INVENT)
    return _told(prompt, MISTAKE) if strategy == "misunderstanding" else None


def _told(prompt: Dialogue, words: str) -> Dialogue:
    """The prompt with an instruction below its last message."""
    *before, last = prompt.messages
    return replace(prompt, messages=(*before, replace(last, content=f"{last.content}\n\n({words})")))


def _by_rule(query: Query, strategy: Strategy, found: Sequence[Turn], tools: Tools) -> str | None:
    """A reply by rules: one that the agent gave earlier, or one of another conversation; None if there is none."""
    random = _draws(query, tools, strategy)
    if strategy == "misunderstanding":
        said = [m.content for m in query.turn.prompt.messages if m.role == "assistant"]
    elif strategy == "random":
        said = [
            t.replies[0].content for t in found if t.replies and t.conversation != query.turn.conversation
        ]
    else:
        return None
    other = [s for s in said if not same_words(s, query.reply.content)]
    return random.choice(other) if other else None


def _draws(query: Query, tools: Tools, word: str) -> Random:
    return tools.draws(query.turn.row.number, len(query.turn.prompt), word)


# -- what is kept ------------------------------------------------------------------------------------------------


def _differs(negative: Negative, made: Made) -> bool:
    fine = bool(negative.text) and not same_words(negative.text, negative.query.reply.content)
    made.dropped += Counter({SAME: not fine})
    return fine


def verified(drafts: Sequence[Negative], settings: Settings, tools: Tools, made: Made) -> list[Negative]:
    """The negatives that are worse: by the judge in both orders; and where log-probabilities were the test, the context must do
    more for the reply than for the negative."""
    left = list(drafts)
    policy = policy_of(tools)
    if policy is not None and resolved(settings, tools) in ("logps", "both"):
        found = gains(policy, [(n.query.turn.prompt, Message("assistant", n.text)) for n in left])
        kept = [n for n, g in zip(left, found, strict=True) if g < n.query.columns["gain"]]
        made.dropped += Counter({NO_WORSE: len(left) - len(kept)})
        left = kept
    if tools.judge is None:
        return left
    pairs = [(n.query.turn.prompt, n.query.reply.content, n.text) for n in left]
    kept = []
    for negative, answer in zip(left, compare(pairs, tools, settings.criteria), strict=True):
        if answer is None or answer[0].preference <= 0.5:
            made.dropped[UNANSWERED if answer is None else NO_WORSE] += 1
        else:
            kept.append(replace(negative, keys=(*negative.keys, *answer[1])))
    return kept


def _built(negative: Negative) -> Built:
    query = negative.query
    turn = query.turn
    example = Preference(turn.prompt, query.reply, Message("assistant", negative.text), turn.conversation)
    keys = tuple(dict.fromkeys((*query.keys, *negative.keys)))
    return Built(example, (turn.row,), keys, {"strategy": negative.strategy, **query.columns})


BUILDER = Builder(
    "capo",
    "replies that neglect, invent or misunderstand the context, against the data's own (CaPO)",
    Settings,
    build,
    uses=("writer", "judge"),
)
