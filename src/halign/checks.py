"""What is wrong with this data, before a GPU hour is spent on it. What a model has to be loaded for is the
preflight's.

>>> from halign.readers import read
>>> rows = [{"prompt": "Where is my parcel now?", "completion": "It is on its way to you."}]
>>> overlap = split_overlap(read(rows), read(rows))
>>> len(overlap.conversations), overlap.exact, overlap.near
(1, 1, 0)
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from halign import lineage
from halign.curation.minhash import NearIndex, normal
from halign.dialogue import Dialogue, Message
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating
from halign.items import Item, Path
from halign.readers.characters import mojibake

RULES = ("policy", "policies", "guidelines", "rules", "guardrail")
"""Columns that often hold guardrails under another name."""


# -- what examples say ---------------------------------------------------------------------------------------


def dialogue_of(example: Example) -> Dialogue:
    """The conversation, or the prompt."""
    return example.dialogue if isinstance(example, Demonstration | Conversation) else example.prompt


def replies_of(example: Example) -> list[Message]:
    """Every reply that the example judges or teaches, the best first."""
    match example:
        case Preference():
            return [example.chosen, example.rejected]
        case Ranking():
            return list(example.responses)
        case Rating():
            return [example.response]
        case Demonstration():
            turns = example.turns
            return [m for i, m in enumerate(example.dialogue.messages) if _taught(m, i, turns)]
        case Conversation():
            own = [m for m in example.dialogue.messages if m.role == "assistant"]
            return own + [a.message for turn in example.alternatives.values() for a in turn]


def _taught(message: Message, index: int, turns: tuple[int, ...] | None) -> bool:
    return message.role in ("assistant", "raw") if turns is None else index in turns


def text_of(example: Example) -> str:
    """Dialogue and best reply as one text: what two examples are compared by."""
    turns = [m.content for m in dialogue_of(example).messages]
    if isinstance(example, Preference | Ranking | Rating):
        turns.append(replies_of(example)[0].content)
    return "\n".join(turns)


# -- duplicates and overlap ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duplicates:
    """Repeats within one file.

    Attributes:
        exact: examples whose words, replies and verdicts an earlier one has, in whatever conversation.
        near: further examples that are nearly the same as an earlier one from another conversation.
        pairs: (index, index of the earlier one), exact ones first; at most 100.
    """

    exact: int
    near: int
    pairs: tuple[tuple[int, int], ...]


def duplicates(examples: Sequence[Example]) -> Duplicates:
    """Count what occurs twice. Rows of one conversation are alike by nature, and count only if equal."""
    first: dict[bytes, int] = {}
    index = NearIndex()
    exact: list[tuple[int, int]] = []
    near: list[tuple[int, int]] = []
    for i, e in enumerate(examples):
        key = _identity(e)
        if key in first:
            exact.append((i, first[key]))
            continue
        first[key] = i
        text = text_of(e)
        if (other := index.find(text, e.conversation)) is not None:
            near.append((i, other))
        index.add(text, i, e.conversation)
    return Duplicates(len(exact), len(near), tuple((exact + near)[:100]))


def _identity(e: Example) -> bytes:
    """A hash of all that an example says: rules, turns, replies, verdicts; not of its name or its weight."""
    d = dialogue_of(e)
    said: list[object] = [
        d.guardrails,
        [(m.role, *m.words) for m in d.messages],
        [m.words for m in replies_of(e)],
    ]
    match e:
        case Ranking():
            said.append(e.ranks)
        case Rating():
            said.append(e.desirable)
        case Preference():
            said.append(e.preference)
        case Conversation():
            said.append(
                [(t, [(a.rank, a.score, a.label) for a in s]) for t, s in sorted(e.alternatives.items())]
            )
        case Demonstration():
            said.append(e.turns)
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Overlap:
    """What a test file shares with a training file.

    Attributes:
        conversations: names of the conversations that occur in both (the same name and the same opening).
        exact: test examples whose text a training example has, word for word.
        near: further test examples that are nearly the same as a training example.
        pairs: (index in test, index in train) of exact and near ones; at most 100.
    """

    conversations: tuple[str, ...]
    exact: int
    near: int
    pairs: tuple[tuple[int, int], ...]


def split_overlap(train: Sequence[Example], test: Sequence[Example]) -> Overlap:
    """What ``test`` shares with ``train``. A name alone is not enough: both may number from 0."""
    shared = {_opening(e) for e in train} & {_opening(e) for e in test}
    index = NearIndex()
    words: dict[tuple[str, ...], int] = {}
    for i, e in enumerate(train):
        text = text_of(e)
        if words.setdefault(tuple(normal(text)), i) == i:
            index.add(text, i, "")
    exact: list[tuple[int, int]] = []
    near: list[tuple[int, int]] = []
    for i, e in enumerate(test):
        text = text_of(e)
        if (other := words.get(tuple(normal(text)))) is not None:
            exact.append((i, other))
        elif (other := index.find(text, "test")) is not None:
            near.append((i, other))
    names = sorted({name for name, _ in shared})
    return Overlap(tuple(names), len(exact), len(near), tuple((exact + near)[:100]))


def _opening(e: Example) -> tuple[str, str]:
    """(conversation, its first words that are not the system's)."""
    spoken = [m.content for m in dialogue_of(e).messages if m.role not in ("system", "developer")]
    return e.conversation, " ".join(normal(spoken[0])) if spoken else ""


# -- what looks odd ------------------------------------------------------------------------------------------


def remarks(examples: Sequence[Example]) -> list[str]:
    """What is no error but worth knowing before training, a sentence each."""
    counts: Counter[str] = Counter()
    for e in examples:
        counts.update(set(_oddities(e)))
    kept: Counter[str] = Counter(
        k for e in examples for k in dialogue_of(e).meta if k not in ("id", lineage.COLUMN)
    )
    said = [f"{n} of {len(examples)} examples: {what}" for what, n in counts.most_common()]
    ratings = [e.desirable for e in examples if isinstance(e, Rating)]
    if ratings and sum(ratings) in (0, len(ratings)):
        said.append(f"every label is {str(ratings[0]).lower()}: there is nothing to tell apart")
    if kept:
        said.append(f"columns kept in meta, which no training uses: {', '.join(sorted(kept))}")
    rules = next((k for k in RULES if k in kept), None)
    if rules is not None:
        said.append(f"if {rules!r} holds the rules in force, read it with guardrails={rules}")
    return said


def _oddities(e: Example) -> Iterator[str]:
    d = dialogue_of(e)
    if not isinstance(e, Demonstration | Conversation) and d.messages[-1].role == "assistant":
        yield "the prompt ends with the assistant, which then speaks twice"
    if any(m.role in ("system", "developer") for m in d.messages[1:]):
        yield "a system message stands after the first message; some chat templates refuse that"
    replies = [m.content for m in replies_of(e)]
    texts = (*(m.content for m in d.messages), *replies)
    if any("\x00" in text for text in texts):
        yield "a NUL (\\u0000) in a text, which nobody writes; mend it where it comes from"
    if any(mojibake(text) for text in texts):
        yield "text that looks like UTF-8 once read as cp1252 (Ã© for é); mend it where it comes from"
    if isinstance(e, Ranking) and e.ranks[0] == e.ranks[-1]:
        yield "all replies tie; as pairs they are dropped"
    if isinstance(e, Ranking) and len(set(replies)) < len(replies):
        yield "two replies have the same words"
    if isinstance(e, Preference) and e.preference < 0.5:
        yield "preference is below one half: rejected is the better one"
    if isinstance(e, Conversation) and not any(e.alternatives.values()):
        yield "no turn has alternatives; only a demonstration can be made of it"


# -- with a tokenizer ----------------------------------------------------------------------------------------


@dataclass
class TokenReport:
    """Lengths and sharing, in tokens.

    Attributes:
        prompts, responses: int [paths], lengths.
        flat: tokens of all paths, shared prefixes counted every time.
        distinct: tokens when each conversation's shared prefixes count once; what the trie has to encode at
            most.
    """

    items: int = 0
    prompts: list[int] = field(default_factory=list)
    responses: list[int] = field(default_factory=list)
    flat: int = 0
    distinct: int = 0

    @property
    def sharing(self) -> float:
        """How many times fewer tokens the trie encodes: flat over distinct."""
        return self.flat / max(1, self.distinct)


def token_report(examples: Iterable[Example], items: Callable[[Example], Iterable[Item]]) -> TokenReport:
    """Lengths and the sharing factor of what ``items`` renders of each example."""
    report = TokenReport()
    by_conversation: dict[str, list[Path]] = defaultdict(list)
    for e in examples:
        for item in items(e):
            report.items += 1
            by_conversation[item.conversation].extend(item.paths)
    for paths in by_conversation.values():
        report.prompts.extend(len(p.prompt) for p in paths)
        report.responses.extend(len(p.response) for p in paths)
        report.flat += sum(map(len, paths))
        report.distinct += distinct_tokens([p.ids for p in paths])
    return report


def distinct_tokens(paths: Sequence[np.ndarray]) -> int:
    """Nodes of the trie of these paths: their tokens, where a common beginning counts once.

    >>> distinct_tokens([np.array([1, 2, 3]), np.array([1, 2, 4, 5]), np.array([1, 2])])
    5
    """
    total, before = 0, np.empty(0, dtype=np.int64)
    for ids in sorted(paths, key=lambda p: p.astype(">u4").tobytes()):
        n = min(len(ids), len(before))
        differ = np.flatnonzero(ids[:n] != before[:n])
        total += len(ids) - (int(differ[0]) if len(differ) else n)
        before = ids
    return total
