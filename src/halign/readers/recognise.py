"""Which format a row has, and why: by its columns, and for other people's formats by what its values look like.

Where two formats fit, none is taken: the error names both. A format may be a special form of another (``Foreign.over``), which
then steps back.
"""

from __future__ import annotations

from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign import FOREIGN
from halign.readers.foreign.contract import Foreign

SHARED = ("id", "conversation", "guardrails", "tools", "weight", "meta")
"""Columns that every format takes."""
OWN = {
    "messages": ("messages", "turns", "functions", "parallel_tool_calls"),
    "pairs": (
        "prompt",
        "chosen",
        "rejected",
        "preference",
        "chosen_win_rate",
        "rejected_win_rate",
        "violates",
    ),
    "rankings": ("prompt", "responses"),
    "singles": ("prompt", "completion", "response", "label", "score", "attributes", "feedback"),
    "completions": ("prompt", "completion", "response", "attributes", "feedback"),
    "text": ("text",),
    "prompts": ("prompt",),
}
FORMATS = (*[name for name in OWN if name != "prompts"], *FOREIGN, "prompts")
ALL = frozenset(c for own in OWN.values() for c in own) | set(SHARED)
WEAK = ("prompts", "text")
"""Formats of one column of a common name, which say nothing against another's."""
NOT_TEXT = ("images", "image", "videos", "audios")
NEEDS = {
    "messages": ("messages",),
    "pairs": ("prompt", "chosen", "rejected"),
    "rankings": ("prompt", "responses"),
    "singles": ("prompt", "completion", "label"),
    "completions": ("prompt", "completion"),
    "text": ("text",),
    **{name: f.needs for name, f in FOREIGN.items() if f.needs},
}
"""What a format's rows have, for the error when there is no format."""
NEAR = 0.3
"""Share of a format's columns from which it is named as a near one."""
NAMES = ALL | {c for f in FOREIGN.values() for c in (*f.needs, *f.takes)} - {"*"}
"""Columns that some format knows."""


def recognise(row: fields.Row, columns: tuple[str, ...]) -> tuple[str, str]:
    """(format, why) of a row without nulls.

    Args:
        columns: those that have no other meaning.

    Raises:
        DataError: if no format fits, or more than one.
    """
    seen = {f.name: why for f in candidates(columns) if (why := f.sees(row))}
    canonical = [name for name in detected(columns) if not seen or name not in WEAK]
    seen |= {name: f"it has {_and(c for c in OWN[name] if c in columns)}" for name in canonical}
    stepped = {name for f in seen if f in FOREIGN for name in FOREIGN[f].over}
    left = {name: why for name, why in seen.items() if name not in stepped}
    if len(left) > 1:
        said = "; ".join(f"{name!r}: {why}" for name, why in left.items())
        raise DataError(f"more than one format fits: {said}. Name one with format= (--format)")
    if not left:
        raise DataError(_no_format(columns))
    name = next(iter(left))
    title = f"{FOREIGN[name].title}: " if name in FOREIGN else ""
    return name, f"{title}{left[name]}"


def candidates(columns: tuple[str, ...]) -> list[Foreign]:
    """The formats of other people whose columns are all there."""
    has = set(columns)
    return [f for f in FOREIGN.values() if has.issuperset(f.needs)]


def detected(columns: tuple[str, ...]) -> list[str]:
    """The canonical formats that these columns make: more than one where they do not say which.

    >>> detected(("id", "prompt", "chosen", "rejected")), detected(("prompt", "response", "label"))
    (['pairs'], ['singles'])
    """
    has = set(columns)
    for column in NOT_TEXT:
        if column in has:
            raise DataError("only text is supported; drop this column", field=column)
    rated = "label" in has and bool(has & {"prompt", "completion", "response"})
    claims = {
        "pairs": bool(has & {"chosen", "rejected"}),
        "rankings": "responses" in has,
        "messages": "messages" in has,
        "singles": rated,
        "completions": not rated and bool(has & {"completion", "response"}),
    }
    strong = [name for name, claimed in claims.items() if claimed]
    if strong:
        return strong
    return ["prompts"] if "prompt" in has else ["text"] if "text" in has else []


def _no_format(columns: tuple[str, ...]) -> str:
    """What is there, what it is like, and how to say what it is."""
    shown = ", ".join(map(str, columns)) or "(none)"
    free = [c for c in columns if c not in SHARED] or ["question"]
    example = ",".join(f"{n}={c}" for n, c in zip(("user", "assistant"), [*free, "answer"], strict=False))
    return (
        f"the columns {shown} make no known format{nearest(columns)}. Say which column is what, as in --columns {example}"
        " (columns= in Python); docs/data.md lists the formats"
    )


def nearest(columns: tuple[str, ...]) -> str:
    """The formats that these columns come nearest to, and what they lack; '' where none is near."""
    near = sorted(
        ((_nearness(needs, columns), name) for name, needs in NEEDS.items()), key=lambda n: -n[0][0]
    )
    like = [f"{name} ({said})" for (share, said), name in near[:3] if share >= NEAR]
    return f"; the nearest are {', '.join(like)}" if like else ""


def _nearness(needs: tuple[str, ...], columns: tuple[str, ...]) -> tuple[float, str]:
    """(share of the needed columns that are there, what is missing); one of a like name counts for a half."""
    lacking = [n for n in needs if n not in columns]
    close = {n: near for n in lacking if (near := fields.hint(n, set(columns) - set(needs), cutoff=0.75))}
    said = [f"lacks {n!r}{close.get(n, '')}" for n in lacking]
    return (len(needs) - len(lacking) + 0.5 * len(close)) / len(needs), ", ".join(said)


def _and(names: Any) -> str:
    listed = [repr(n) for n in names]
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
