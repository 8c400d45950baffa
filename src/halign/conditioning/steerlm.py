"""SteerLM: attribute-conditioned SFT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from halign.conditioning.contract import Settings, asks, settled
from halign.conditioning.responses import Response, responses
from halign.convert import Converted
from halign.errors import HalignError
from halign.examples import Demonstration, Example
from halign.spans import prefixed

ORDER = ("quality", "helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""Attributes known from HelpSteer come in this order, others after them by the alphabet."""
LEVELS = 5
"""Bins of a score: quality 0 to 4, as HelpSteer's scale."""


def _settle(examples: Sequence[Example], settings: Settings) -> Settings:
    """Attributes, the range of scores, and what to ask for, as the training data has them."""
    names, scores = settings["attributes"], settings["scores"]
    if scores is not None and not (len(scores) == 2 and scores[0] < scores[1]):
        raise HalignError(
            f"steerlm.scores: the lowest and the highest score were expected, not {list(scores)}"
        )
    if "{attributes}" not in settings["template"]:
        raise HalignError('steerlm.template: "{attributes}" has to stand in it, where the values go')
    said = {n for _, _, known in _rows(examples, names) for n in known}
    if not said and names in (None, ["quality"]):
        names, scores = ["quality"], scores or _range(examples)
    elif scores is not None:
        raise HalignError("steerlm: scores would have no effect: the data has attributes")
    chosen = {**settings, "attributes": names or sorted(said, key=_place), "scores": scores}
    highest = _highest(examples, chosen)
    wanted = settings["ask"] or {}
    if unknown := [n for n in wanted if n not in highest]:
        raise HalignError(
            f"steerlm: ask names {unknown[0]!r}, which no response has; the data has {', '.join(highest)}"
        )
    return {**chosen, "ask": {**highest, **wanted}}


def _highest(examples: Sequence[Example], settings: Settings) -> dict[str, float]:
    """The highest value of each attribute, in their order."""
    highest: dict[str, float] = {}
    for _, r, known in _rows(examples, settings["attributes"]):
        for name, value in _values(r, known, settings).items():
            highest[name] = max(value, highest.get(name, value))
    return {n: highest[n] for n in settings["attributes"] if n in highest}


def _words(settings: Settings) -> str:
    return str(settings["template"]).replace("{attributes}", _string(settings["ask"]))


@settled(_settle)
@asks(_words)
def steerlm(
    examples: Sequence[Example],
    *,
    attributes: list[str] | None = None,
    ask: dict[str, float] | None = None,
    scores: list[float] | None = None,
    template: str = "[{attributes}]\n",
) -> Converted[Demonstration]:
    r"""Learn responses after the values of their attributes, such as "helpfulness:4,verbosity:2"; then ask for the best values.

    .. math:: -\log \pi(y \mid x, a(y))

    The attributes of a response are ``{"attributes": {"helpfulness": 4}}`` beside its content. Where no response of the data has
    any, its score becomes the attribute "quality": five bins of equal width over the range of the training data's scores,
    numbered 0 to 4.

    Source: SteerLM, arXiv 2310.05344.

    Args:
        examples: any, whose responses have attributes or scores.
        attributes: which ones, in this order. None: all of the training data, in HelpSteer's order, others by the alphabet. A
            column of the row with such a name serves for what a lone response does not say itself.
        ask: values that the finished model is asked for; of attributes that it leaves out, the highest seen in training.
        scores: lowest and highest score, for the bins. None: the training data's.
        template: what stands before a response; "{attributes}" becomes the values.

    Returns:
        one demonstration per response that has attributes.

    Raises:
        HalignError: for an example of which no response has attributes or a score.

    >>> from halign.readers import read
    >>> data = read([{"prompt": [{"role": "user", "content": "2+2?"}],
    ...     "responses": [{"content": "4", "score": 9}, {"content": "5", "score": 1}]}])
    >>> [d.dialogue.messages[-1].content for d in steerlm(data).examples]
    ['[quality:4]\n4', '[quality:0]\n5']
    """
    settings: Settings = {"attributes": attributes, "ask": ask, "scores": scores, "template": template}
    if attributes is None or (attributes == ["quality"] and scores is None):
        settings = _settle(examples, settings)
    made: list[Demonstration] = []
    dropped: Counter[str] = Counter()
    for e, r, known in _rows(examples, settings["attributes"]):
        values = _values(r, known, settings)
        if not values:
            dropped["responses without attributes"] += 1
            continue
        words = template.replace("{attributes}", _string(values))
        turn = prefixed(r.message, words)
        made.append(Demonstration(r.prompt + turn, e.conversation, (len(r.prompt),), e.weight))
    _check_every(examples, made, settings)
    return Converted(made, dict(dropped))


def _rows(
    examples: Sequence[Example], names: Sequence[str] | None
) -> Iterator[tuple[Example, Response, Mapping[str, float]]]:
    """Every response with the attributes it has."""
    for e in examples:
        found = list(responses(e))
        for r in found:
            yield e, r, _known(r, names, lone=len(found) == 1)


def _known(r: Response, names: Sequence[str] | None, lone: bool) -> dict[str, float]:
    """A response's attributes; of a row's columns, those that were named."""
    said: Mapping[str, Any] = r.message.extra.get("attributes") or {}
    columns: Mapping[str, Any] = r.prompt.meta if lone and names else {}
    both = {**columns, **said}
    numbers = {k: v for k, v in both.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {n: numbers[n] for n in (names or numbers) if n in numbers}


def _values(r: Response, known: Mapping[str, float], settings: Settings) -> dict[str, float]:
    """The attributes in their order; of responses with a score only, the quality."""
    if known or settings["scores"] is None:
        return {n: known[n] for n in settings["attributes"] if n in known}
    return {} if r.score is None else {"quality": _bin(r.score, *settings["scores"])}


def _bin(score: float, low: float, high: float) -> int:
    """Which of five bins of equal width a score falls into; beyond the ends, the first or the last.

    >>> [_bin(s, 0.0, 10.0) for s in (-3, 0, 1.9, 2, 5, 9.9, 10)]
    [0, 0, 0, 1, 2, 4, 4]
    """
    return min(max(int((score - low) / (high - low) * LEVELS), 0), LEVELS - 1)


def _range(examples: Sequence[Example]) -> list[float]:
    """Lowest and highest score."""
    scores = [r.score for e in examples for r in responses(e) if r.score is not None]
    if not scores:
        raise HalignError(_lacking(examples[0].conversation if examples else "", "no response of the data"))
    if min(scores) == max(scores):
        raise HalignError(
            f"steerlm: every response has the score {scores[0]:g}: there is nothing to steer by"
        )
    return [min(scores), max(scores)]


def _check_every(examples: Sequence[Example], made: Sequence[Demonstration], settings: Settings) -> None:
    """Every example has to give something."""
    for e in examples:
        rows = _rows([e], settings["attributes"])
        if not any(_values(r, known, settings) for e, r, known in rows):
            raise HalignError(_lacking(e.conversation, "none of its responses"))


def _lacking(conversation: str, who: str) -> str:
    return (
        f"steerlm needs attributes or scores, and {who} has any (conversation {conversation!r}): give replies "
        '{"attributes": {"helpfulness": 4, ...}} beside their content, or a score; name columns of the rows that hold them '
        "with attributes=[helpfulness,...]"
    )


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _string(values: Mapping[str, float]) -> str:
    """The values as words.

    >>> _string({"helpfulness": 4, "verbosity": 2.5})
    'helpfulness:4,verbosity:2.5'
    """
    return ",".join(f"{name}:{value:g}" for name, value in values.items())
