"""``{"prompt", "responses": [{"content", "rank" | "score"}]}``: K replies to one prompt, ranked (1 is best)
or scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halign.errors import DataError
from halign.examples import Ranking
from halign.readers import fields


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Ranking:
    """The example of one row. Replies are sorted best first; ties keep the order of the file."""
    prompt = fields.prompt_messages(row)
    values = row["responses"]
    if not isinstance(values, list | tuple):
        raise DataError(f"expected a list of responses, found {fields.named(values)}", field="responses")
    kinds = _kinds(values)
    replies = [_reply(v, f"responses[{i}]", prompt) for i, v in enumerate(values)]
    unranked = tuple(r for r, kind in zip(replies, kinds, strict=True) if kind is None)
    replies = [r for r, kind in zip(replies, kinds, strict=True) if kind is not None]
    placed = [(f"responses[{i}]", v) for i, (v, kind) in enumerate(zip(values, kinds, strict=True)) if kind]
    if len(placed) < 2:
        raise DataError(
            f"a ranking needs two responses or more with a rank or a score, found {len(placed)}",
            field="responses",
        )
    if "rank" in kinds:
        ranks = [fields.rank(v["rank"], f"{field}.rank") for field, v in placed]
        scores = None
    else:
        scores = [fields.number(v["score"], f"{field}.score") for field, v in placed]
        ranks = ranks_of(scores)
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    return Ranking(
        fields.said(prompt, extras),
        tuple([replies[i] for i in order]),
        tuple([ranks[i] for i in order]),
        conversation,
        scores=None if scores is None else tuple([scores[i] for i in order]),
        weight=fields.weight(row),
        unranked=unranked,
    )


def ranks_of(scores: Sequence[float]) -> list[int]:
    """Ranks of scores, higher is better: one more than the number of better ones, so that equal scores tie.

    >>> ranks_of([0.5, 2.0, 0.5, 0.1])
    [2, 1, 2, 4]
    """
    better = sorted(scores, reverse=True)
    return [better.index(s) + 1 for s in scores]


def _kinds(values: Sequence[Any]) -> list[str | None]:
    """'rank' or 'score' for each response, the same for all that have one; None for one that nobody placed, which has to say so
    with a rank or score of null."""
    kinds: list[str | None] = []
    for i, v in enumerate(values):
        if not isinstance(v, Mapping):
            raise DataError(
                f'expected an object {{"content", "rank" or "score"}}, found {fields.named(v)}',
                field=f"responses[{i}]",
            )
        given = [k for k in ("rank", "score") if v.get(k) is not None]
        if len(given) > 1 or not v.keys() & {"rank", "score"}:
            said = "both" if given else "neither (null says that a response was not ranked)"
            raise DataError(f"expected either rank or score, found {said}", field=f"responses[{i}]")
        kinds.append(given[0] if given else None)
    if {"rank", "score"} <= set(kinds):
        raise DataError("some responses have a rank and some a score; use one of them", field="responses")
    return kinds


def _reply(value: Mapping[str, Any], field: str, prompt: Any) -> Any:
    """The message of one response, without its verdict."""
    return fields.reply({k: v for k, v in value.items() if k not in ("rank", "score")}, field, prompt)
