"""TL;DR (openai/summarize_from_feedback, arXiv 2009.01325): ``comparisons``, two summaries and which is better, and ``axis``, one
summary rated on several axes.

The prompt is the paper's, plain text that ends in ``TL;DR:``; a summary begins with a space. TRL's own rows of this data
(``prompt``, ``chosen``, ``rejected``) are canonical pairs. Rows on news articles (CNN/DailyMail) have ``article`` in place of
``post``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, is_list, text, whole

POST = "SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
ARTICLE = "Article: {article}\n\nTL;DR:"


def _prompt(row: Row) -> str:
    """The prompt about a post or an article."""
    info = row["info"]
    if not isinstance(info, Mapping):
        raise DataError(f"expected an object, found {fields.named(info)}", field="info")
    if info.get("post") is None and info.get("article") is not None:
        return ARTICLE.format(article=text(info, "article", "info.article"))
    parts = {name: text(info, name, f"info.{name}") for name in ("subreddit", "title", "post")}
    return POST.format(**parts)


def _about(row: Row, **more: Any) -> dict[str, Any]:
    """The conversation, which is the post, and what is kept beside it."""
    name = row["info"].get("id")
    return {"meta": more, **({"conversation": name} if name else {})}


def _summary(value: Any, field: str) -> str:
    if not isinstance(value, Mapping):
        raise DataError(f'expected an object {{"text", ...}}, found {fields.named(value)}', field=field)
    said = text(value, "text", f"{field}.text")
    return said if said[0].isspace() else f" {said}"


def _sees(row: Row) -> str:
    if not isinstance(row["info"], Mapping) or not is_list(row["summaries"]):
        return ""
    return "'info' is a post, 'summaries' a list of {'text', ...}, 'choice' one of them"


def _row(row: Row) -> dict[str, Any]:
    summaries = row["summaries"]
    if not is_list(summaries) or len(summaries) != 2:
        raise DataError("expected a list of two summaries", field="summaries")
    said = [_summary(s, f"summaries[{i}]") for i, s in enumerate(summaries)]
    choice = whole(row["choice"], "choice", 0, 1)
    policies = [summaries[i].get("policy") for i in (choice, 1 - choice)]
    return {
        "prompt": _prompt(row),
        "chosen": said[choice],
        "rejected": said[1 - choice],
        **_about(row, policies=policies),
    }


def _sees_axis(row: Row) -> str:
    summary = row["summary"]
    if not isinstance(row["info"], Mapping) or not isinstance(summary, Mapping) or "axes" not in summary:
        return ""
    return "'info' is a post, 'summary' is {'text', 'axes', ...}"


def _axis(row: Row) -> dict[str, Any]:
    said = _summary(row["summary"], "summary")
    axes = row["summary"].get("axes")
    if not isinstance(axes, Mapping):
        raise DataError(f"expected an object of ratings, found {fields.named(axes)}", field="summary.axes")
    rated = {k: fields.number(v, f"summary.axes.{k}") for k, v in axes.items() if v is not None}
    made = {"prompt": _prompt(row), "completion": said, **_about(row, policy=row["summary"].get("policy"))}
    return {**made, "attributes": rated} if rated else made


FORMATS = (
    Foreign(
        name="tldr",
        title="TL;DR comparisons",
        needs=("info", "summaries", "choice"),
        reads_as="pairs",
        sees=_sees,
        row=_row,
        numbers=("choice",),
        lists=("info", "summaries", "extra"),
    ),
    Foreign(
        name="tldr_axis",
        title="TL;DR ratings",
        needs=("info", "summary"),
        reads_as="completions",
        sees=_sees_axis,
        row=_axis,
        lists=("info", "summary"),
    ),
)
