"""Lists read back: what teaches a small model to copy.

A support desk lives on copying names, numbers and products, and a model of a few million parameters that reads
nothing but conversations learns to only late, one kind of word at a time. A list that is read back leaves no other
way to be predicted, so a model that begins with a few hundred thousand tokens of it copies from then on.

>>> example = next(dictations(1, seed=3))
>>> for message in example.dialogue.messages:
...     print(message.content[:60])
Please note: black backpack, Nina Webb, Happy Lantern, Silve
I have noted: black backpack, Nina Webb, Happy Lantern, Silv
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from halign.dialogue import Dialogue
from halign.examples import Demonstration
from halign.worlds.care import facts


def _fact(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind == 0:
        return " ".join(rng.choice(facts.CUSTOMERS["pretrain"])[rng.randrange(2) :])
    if kind == 1:
        return str(rng.choice(facts.STREETS["pretrain"]))
    if kind == 2:
        return str(rng.choice(facts.PRODUCTS["pretrain"]))
    if kind == 3:
        return f"order {rng.choice(facts.NUMBERS['pretrain'])}"
    if kind == 4:
        return str(rng.choice(facts.SHOPS["pretrain"]))
    if kind == 5:
        return rng.choice(facts.DAYS)
    if kind == 6:
        return f"price {12 + rng.randrange(87)}"
    return rng.choice(facts.COMPETITORS + facts.NOTES)


def dictations(n: int, *, seed: int = 0) -> Iterator[Demonstration]:
    """``n`` dialogues in which the customer dictates 4 to 12 facts and the agent reads them back."""
    for i in range(n):
        rng = random.Random(f"care-dictation-{seed}-{i}")
        listed = ", ".join(_fact(rng) for _ in range(4 + rng.randrange(9)))
        dialogue = Dialogue.of(
            [
                {"role": "user", "content": f"Please note: {listed}."},
                {"role": "assistant", "content": f"I have noted: {listed}."},
            ]
        )
        yield Demonstration(dialogue, f"care-dictation-{seed}-{i}", turns=(1,))
