"""Label Studio's JSON export: tasks ``{"id", "data": {...}, "annotations": [{"result": [...]}]}``.

A ``pairwise`` result chooses ``left`` or ``right`` of the two names in ``to_name`` (none selected is half a vote for each); of
several annotators the share of votes is the pair's ``preference``. A ``ranker`` result is an order of item ids (mean ranks). A
``rating`` result of the only reply is an attribute. Cancelled annotations and predictions do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign import annotators
from halign.readers.foreign.contract import Foreign, Row, is_list

BODY = ("body", "text", "content", "title")
"""Keys of a list's items that may hold the reply, the first that is there."""
SIDES = {"left": [1.0, 0.0], "right": [0.0, 1.0], "none": [0.5, 0.5], None: [0.5, 0.5]}


def _sees(row: Row) -> str:
    annotations = row["annotations"]
    if not isinstance(row["data"], Mapping) or not is_list(annotations) or "result" not in annotations[0]:
        return ""
    return "'data' is an object, 'annotations' a list of {'result', ...}"


def _results(row: Row, kind: str) -> list[Mapping[str, Any]]:
    """The results of one kind, of all annotators that did not cancel."""
    annotations = row["annotations"]
    if not isinstance(annotations, list | tuple):
        raise DataError(f"expected a list, found {fields.named(annotations)}", field="annotations")
    kept = [a for a in annotations if isinstance(a, Mapping) and not a.get("was_cancelled")]
    return [
        r for a in kept for r in a.get("result") or () if isinstance(r, Mapping) and r.get("type") == kind
    ]


def _row(row: Row) -> dict[str, Any]:
    data = row["data"]
    if not isinstance(data, Mapping):
        raise DataError(f"expected an object, found {fields.named(data)}", field="data")
    for kind, made in (("ranker", _ranked), ("pairwise", _paired), ("rating", _rated)):
        if found := _results(row, kind):
            if len(names := sorted({str(r.get("from_name")) for r in found})) > 1 and kind != "rating":
                raise DataError(
                    f"several {kind} questions: {', '.join(names)}; export one of them", field="annotations"
                )
            return made(data, found)
    raise DataError(
        "no annotation with a result of type pairwise, ranker or rating; leave such tasks out",
        field="annotations",
    )


def _prompt(data: Mapping[str, Any], replies: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """(prompt, the rest of the data)."""
    name = annotators.prompt_field(data, replies)
    rest = {k: v for k, v in data.items() if k != name and k not in replies}
    return annotators.prompt_messages(data[name]), rest


def _paired(data: Mapping[str, Any], found: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = [n.strip() for n in str(found[0].get("to_name", "")).split(",")]
    if len(names) != 2 or not all(n in data for n in names):
        names = list(annotators.reply_fields(data))
    if len(names) != 2:
        raise DataError(
            f"cannot tell the two replies among {', '.join(data)}; call them response1 and response2",
            field="data",
        )
    prompt, rest = _prompt(data, dict.fromkeys(names, ""))
    votes = [_side(r["value"].get("selected")) for r in found]
    return {**annotators.by_votes(prompt, [data[n] for n in names], votes), "meta": rest}


def _side(selected: Any) -> list[float]:
    if selected not in SIDES:
        raise DataError(f"expected left or right, found {selected!r}", field="annotations")
    return SIDES[selected]


def _ranked(data: Mapping[str, Any], found: list[Mapping[str, Any]]) -> dict[str, Any]:
    orders = [_order(r["value"].get("ranker")) for r in found]
    ranked = {i for o in orders for i in o}
    lists = {name: [str(i.get("id")) for i in items] for name, items in data.items() if is_list(items)}
    name = next((n for n, ids in lists.items() if ranked <= set(ids)), None)
    if name is None:
        raise DataError("no list of the data holds the items that were ranked", field="data")
    ids = lists[name]
    prompt, rest = _prompt(data, {name: ""})
    replies = [_body(item, f"data.{name}[{i}]") for i, item in enumerate(data[name])]
    places = [{ids.index(i): rank for rank, i in enumerate(order, 1)} for order in orders]
    return {**annotators.by_ranks(prompt, replies, places), "meta": rest}


def _order(ranker: Any) -> list[str]:
    """The ids in their new order."""
    lists = [v for v in ranker.values() if isinstance(v, list)] if isinstance(ranker, Mapping) else []
    if len(lists) != 1:
        raise DataError(
            "expected one order of items; buckets say no order among themselves", field="annotations"
        )
    return [str(i) for i in lists[0]]


def _body(item: Mapping[str, Any], field: str) -> str:
    body = next((item[k] for k in BODY if isinstance(item.get(k), str) and item[k].strip()), None)
    if body is None:
        raise DataError(f"this item has no text: {', '.join(BODY)}", field=field)
    return str(body)


def _rated(data: Mapping[str, Any], found: list[Mapping[str, Any]]) -> dict[str, Any]:
    replies = annotators.reply_fields(data)
    if len(replies) != 1:
        raise DataError(
            f"cannot tell which of {', '.join(data)} is the rated reply; call it response", field="data"
        )
    prompt, rest = _prompt(data, replies)
    ratings: dict[str, list[float]] = {}
    for r in found:
        value = fields.number(r["value"].get("rating"), "annotations")
        ratings.setdefault(str(r.get("from_name")), []).append(value)
    return {**annotators.rated(prompt, data[next(iter(replies))], ratings), "meta": rest}


FORMATS = (
    Foreign(
        name="label_studio",
        title="Label Studio",
        needs=("data", "annotations"),
        reads_as="",
        sees=_sees,
        row=_row,
        takes=("predictions", "file_upload", "drafts"),
        lists=("data", "annotations", "predictions"),
    ),
)
