"""Examples -> what reward models are trained on: comparisons, rated attributes, duels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from halign.conditioning.responses import Response, responses
from halign.conditioning.steerlm import ORDER
from halign.convert import Converted, as_kind
from halign.errors import HalignError
from halign.examples import Duel, Example, Preference, Rating
from halign.items import Kind
from halign.rewards.facts import Facts


def converted(
    examples: Sequence[Example], kind: Kind, facts: Facts, how: str | None = None
) -> Converted[Example]:
    """The examples as a reward model's objective takes them: ``lists`` to compare, ``pairs`` to read together, ``singles`` with
    attributes.

    Args:
        how: which pairs to make of rankings (``pairs=``).
    """
    if kind == "lists":
        return to_comparisons(examples)
    return to_duels(examples, how) if kind == "pairs" else to_rated(examples, facts.attributes)


def to_comparisons(examples: Sequence[Example]) -> Converted[Example]:
    """Rankings of everything that compares responses; pairs stay pairs, so that soft ones stay soft."""
    pairs: list[Example] = [e for e in examples if isinstance(e, Preference)]
    others = [e for e in examples if not isinstance(e, Preference)]
    if not others:
        return Converted(pairs, {})
    rankings = as_kind(others, "lists")
    return Converted([*pairs, *rankings.examples], rankings.dropped)


def to_duels(examples: Sequence[Example], how: str | None = None) -> Converted[Example]:
    """Pairs that are read whole, in both orders.

    >>> from halign.readers import read
    >>> to_duels(read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])).examples[0].orders[1].content
    'Response 1:\\n5\\n\\nResponse 2:\\n4'
    """
    made = as_kind(examples, "pairs", how=how)
    duels: list[Example] = [
        Duel(**{f.name: getattr(pair, f.name) for f in fields(Preference)}) for pair in made.examples
    ]
    return Converted(duels, made.dropped)


def to_rated(examples: Sequence[Example], names: Sequence[str]) -> Converted[Example]:
    """Every response that has attributes, with NaN for those of the names that it lacks."""
    made: list[Example] = []
    dropped: Counter[str] = Counter()
    for example, response, known in _rows(examples):
        values = tuple(float(known.get(name, "nan")) for name in names)
        if not any(v == v for v in values):
            dropped["responses without attributes"] += 1
            continue
        rating = Rating(
            response.prompt,
            response.message,
            True,
            example.conversation,
            weight=example.weight,
            attributes=values,
        )
        made.append(rating)
    return Converted(made, dict(dropped))


def attribute_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """The attributes that the data knows, HelpSteer's first and in its order.

    Raises:
        HalignError: if no response has any.
    """
    said = {name for _, _, known in _rows(examples) for name in known}
    if not said:
        raise HalignError(
            'attributes: no response of the data has any; give replies {"attributes": {"helpfulness": 4, ...}} beside their '
            f"content, or rows of one reply columns named {', '.join(ORDER[1:])}"
        )
    return tuple(sorted(said, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))


def _rows(examples: Sequence[Example]) -> Iterator[tuple[Example, Response, dict[str, float]]]:
    """Every response with what is known of it: what stands beside its content, and HelpSteer's columns of a lone one."""
    for example in examples:
        found = list(responses(example))
        for response in found:
            meta = response.prompt.meta if len(found) == 1 else {}
            columns = {name: meta[name] for name in ORDER if name in meta}
            said: Mapping[str, Any] = response.message.extra.get("attributes") or {}
            numbers = {
                k: float(v)
                for k, v in {**columns, **said}.items()
                if isinstance(v, int | float) and not isinstance(v, bool)
            }
            yield example, response, numbers
