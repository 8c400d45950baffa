"""One pure function per file. Imported eagerly, so that a sub-module never shadows its function."""

from halign.objectives.aot import aot
from halign.objectives.apo_down import apo_down
from halign.objectives.apo_zero import apo_zero
from halign.objectives.bco import bco
from halign.objectives.cpo import cpo
from halign.objectives.discopop import discopop
from halign.objectives.dpo import dpo
from halign.objectives.exo import exo
from halign.objectives.ipo import ipo
from halign.objectives.items import Items, Lists, Pairs, Singles, Tokens
from halign.objectives.kto import kto
from halign.objectives.kto_pair import kto_pair
from halign.objectives.nca import nca
from halign.objectives.orpo import orpo
from halign.objectives.preferred_ft import preferred_ft
from halign.objectives.registry import Objective, find, names
from halign.objectives.robust_dpo import robust_dpo
from halign.objectives.sft import sft
from halign.objectives.sigmoid_norm import sigmoid_norm
from halign.objectives.simpo import simpo

BUILT_IN = {
    f.__name__: f
    for f in (
        aot,
        apo_down,
        apo_zero,
        bco,
        cpo,
        discopop,
        dpo,
        exo,
        ipo,
        kto,
        kto_pair,
        nca,
        orpo,
        preferred_ft,
        robust_dpo,
        sft,
        sigmoid_norm,
        simpo,
    )
}

__all__ = [
    "Items",
    "Lists",
    "Objective",
    "Pairs",
    "Singles",
    "Tokens",
    "aot",
    "apo_down",
    "apo_zero",
    "bco",
    "cpo",
    "discopop",
    "dpo",
    "exo",
    "find",
    "ipo",
    "kto",
    "kto_pair",
    "names",
    "nca",
    "orpo",
    "preferred_ft",
    "robust_dpo",
    "sft",
    "sigmoid_norm",
    "simpo",
]
