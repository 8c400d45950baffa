"""One pure function per file. Imported eagerly, so that a sub-module never shadows its function."""

from halign.objectives.dpo import dpo
from halign.objectives.ipo import ipo
from halign.objectives.items import Items, Lists, Pairs, Singles, Tokens
from halign.objectives.kto import kto
from halign.objectives.kto_pair import kto_pair
from halign.objectives.preferred_ft import preferred_ft
from halign.objectives.registry import Objective, find, names
from halign.objectives.sft import sft

BUILT_IN = {f.__name__: f for f in (dpo, ipo, kto, kto_pair, preferred_ft, sft)}

__all__ = [
    "Items",
    "Lists",
    "Objective",
    "Pairs",
    "Singles",
    "Tokens",
    "dpo",
    "find",
    "ipo",
    "kto",
    "kto_pair",
    "names",
    "preferred_ft",
    "sft",
]
