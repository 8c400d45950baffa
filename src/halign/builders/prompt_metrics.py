"""What templates make of a data set: how many rows render, how long prompts are, how targets spread over the answer choices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from halign.builders.prompt_templates import Template, apply
from halign.curation.source import Row
from halign.errors import HalignError


@dataclass
class Tried:
    """One template on all rows.

    Attributes:
        rows: that were tried; ``rendered`` have an input and a target, ``empty`` lack one of them, ``failed`` are errors.
        first_failure: (number of the row, why) of the first that failed.
        input_words, target_words: in all rendered prompts.
        places: place of the target among the row's answer choices, from 0 -> rows; None: it is none of them.
        most_choices: of a row.
    """

    template: Template
    rows: int = 0
    rendered: int = 0
    empty: int = 0
    failed: int = 0
    first_failure: tuple[int, str] | None = None
    input_words: int = 0
    target_words: int = 0
    places: Counter[int | None] = field(default_factory=Counter)
    most_choices: int = 0

    def add(self, row: Row, random: Random) -> tuple[str, str] | None:
        """Try one row; (input, target) if it renders."""
        self.rows += 1
        try:
            parts, choices = apply(self.template, row.row, random)
        except HalignError as error:
            self.failed += 1
            self.first_failure = self.first_failure or (row.number, str(error))
            return None
        if len(parts) != 2 or not all(parts):
            self.empty += 1
            return None
        self.rendered += 1
        self.input_words += len(parts[0].split())
        self.target_words += len(parts[1].split())
        if choices:
            self.most_choices = max(self.most_choices, len(choices))
            self.places[choices.index(parts[1]) if parts[1] in choices else None] += 1
        return parts[0], parts[1]

    @property
    def balance(self) -> float | None:
        """How evenly targets are spread over the places of the answer choices: entropy over that of the uniform distribution,
        sum_k -p_k log p_k / log K, with K the most choices of a row; 1: evenly, 0: always the same. None without a choice of two.

        >>> Tried(Template("a", ""), places=Counter({0: 3, 1: 1}), most_choices=2).balance
        0.8112781244591328
        """
        known = [n for place, n in self.places.items() if place is not None]
        if self.most_choices < 2 or not known:
            return None
        total = sum(known)
        return sum(-n / total * math.log(n / total) for n in known) / math.log(self.most_choices)


def tried(templates: Sequence[Template], rows: Iterable[Row], seed: int = 0) -> list[Tried]:
    """Every template on every row, in one pass; draws are those that ``promptsource`` makes with this seed."""
    from halign.builders.tools import Tools

    found = [Tried(t) for t in templates]
    tools = Tools(seed=seed)
    for row in rows:
        for one in found:
            one.add(row, tools.draws(row.number, one.template.name))
    return found
