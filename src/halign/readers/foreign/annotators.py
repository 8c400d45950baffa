"""What several annotators said, put together: votes become a probability, orders a mean rank, ratings a mean.

Shared by the exports of annotation tools, whose field names are the annotation project's own. The prompt is a field of a usual
name (``PROMPTS``), the replies are fields called ``response``, ``response1``, ``answer_b`` ... (``REPLY``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from halign.errors import DataError
from halign.readers.foreign.contract import user
from halign.readers.rankings import ranks_of

PROMPTS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "chat",
    "dialogue",
    "conversation",
    "context",
    "text",
)
REPLY = re.compile(
    r"(?:response|completion|generation|answer|output|reply|candidate|text)s?[-_ ]?([0-9]{1,2}|[a-dA-D])?"
)
HALVES = ("tie", "both", "equal", "same", "none", "neither")
"""Votes for no side."""


def reply_fields(given: Mapping[str, Any]) -> dict[str, str]:
    """Field -> its mark ('1', 'b', '' for the only one), of the fields that hold replies.

    >>> reply_fields({"prompt": "", "response-1": "", "response-2": ""}), reply_fields({"text": "", "answer": ""})
    ({'response-1': '1', 'response-2': '2'}, {'answer': ''})
    """
    found = {name: (m[1] or "").lower() for name in given if (m := REPLY.fullmatch(name))}
    marked = {name: mark for name, mark in found.items() if mark}
    return marked if len(marked) > 1 else {n: "" for n in found if n not in ("text", "texts")}


def prompt_field(given: Mapping[str, Any], replies: Mapping[str, str]) -> str:
    """The field that holds the prompt.

    Raises:
        DataError: if none has a usual name, and more than one is left.
    """
    left = [name for name in given if name not in replies and given[name] is not None]
    for name in PROMPTS:
        if name in left:
            return name
    if len(left) == 1:
        return left[0]
    raise DataError(
        f"cannot tell the prompt among {', '.join(left) or 'no fields'}; name it {', '.join(PROMPTS[:3])} ..., or say"
        " which column is what with --columns"
    )


def prompt_messages(value: Any) -> Any:
    """A prompt: chat messages as they are, a text as what the user says."""
    return user(value) if isinstance(value, str) else value


def by_votes(prompt: Any, replies: Sequence[Any], votes: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Two replies as a pair whose preference is the share of votes; more as a ranking whose scores are the votes.

    Args:
        votes: one row per annotator: what of the vote goes to each reply, 1 in all.
    """
    shares = [fmean(v) for v in zip(*votes, strict=True)]
    if len(replies) > 2:
        scored = [{**_message(r), "score": s} for r, s in zip(replies, shares, strict=True)]
        return {"prompt": prompt, "responses": scored}
    best = 0 if shares[0] >= shares[1] else 1
    return {
        "prompt": prompt,
        "chosen": replies[best],
        "rejected": replies[1 - best],
        "preference": shares[best],
    }


def by_ranks(prompt: Any, replies: Sequence[Any], orders: Sequence[Mapping[int, float]]) -> dict[str, Any]:
    """A ranking by the mean of the ranks that annotators gave.

    Args:
        orders: one per annotator: index of a reply -> its rank, 1 is best. A reply that none of them ranked is unranked.
    """
    means = {
        i: fmean(o[i] for o in orders if i in o) for i in range(len(replies)) if any(i in o for o in orders)
    }
    ranks = dict(zip(means, ranks_of([-m for m in means.values()]), strict=True))
    return {
        "prompt": prompt,
        "responses": [{**_message(r), "rank": ranks.get(i)} for i, r in enumerate(replies)],
    }


def by_scores(prompt: Any, replies: Sequence[Any], scores: Sequence[float]) -> dict[str, Any]:
    """A ranking by the mean rating of each reply."""
    rated = [{**_message(r), "score": s} for r, s in zip(replies, scores, strict=True)]
    return {"prompt": prompt, "responses": rated}


def rated(prompt: Any, reply: Any, ratings: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """One reply with the mean of every rating as an attribute."""
    attributes = {name: fmean(values) for name, values in ratings.items()}
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", **_message(reply), "attributes": attributes}],
    }


def vote(value: Any, marks: Sequence[tuple[str, str]], field: str) -> list[float]:
    """One annotator's choice as shares: the whole to the reply it names by field or mark, halves where it names none.

    >>> vote("response-2", [("response-1", "1"), ("response-2", "2")], "better"), vote("tie", [("a", "1"), ("b", "2")], "q")
    ([0.0, 1.0], [0.5, 0.5])
    """
    said = str(value).lower()
    hit = [said in (name.lower(), mark) for name, mark in marks]
    if sum(hit) == 1:
        return [float(h) for h in hit]
    if said in HALVES:
        return [1 / len(marks)] * len(marks)
    raise DataError(f"{value!r} names none of {', '.join(name for name, _ in marks)}", field=field)


def _message(reply: Any) -> dict[str, Any]:
    """A reply as an object."""
    if isinstance(reply, list | tuple) and len(reply) == 1:
        reply = reply[0]
    return dict(reply) if isinstance(reply, Mapping) else {"content": reply}
