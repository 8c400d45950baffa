"""One pure function per file. Imported eagerly, so that a sub-module never shadows its function."""

from halign.objectives.dpo import dpo
from halign.objectives.dpo_pro import dpo_pro
from halign.objectives.hinge import hinge
from halign.objectives.ipo import ipo
from halign.objectives.items import Items, Lists, Pairs, Singles, Tokens
from halign.objectives.kto import kto
from halign.objectives.kto_pair import kto_pair
from halign.objectives.preferred_ft import preferred_ft
from halign.objectives.pro import pro
from halign.objectives.psi_po import psi_po
from halign.objectives.registry import Objective, find, names
from halign.objectives.rrhf import rrhf
from halign.objectives.sft import sft
from halign.objectives.slic import slic
from halign.objectives.spin import spin
from halign.objectives.sppo import sppo
from halign.objectives.sppo_all import sppo_all
from halign.objectives.steerlm2 import steerlm2

BUILT_IN = {
    f.__name__: f
    for f in (
        dpo,
        dpo_pro,
        hinge,
        ipo,
        kto,
        kto_pair,
        preferred_ft,
        pro,
        psi_po,
        rrhf,
        sft,
        slic,
        spin,
        sppo,
        sppo_all,
        steerlm2,
    )
}

__all__ = [
    "Items",
    "Lists",
    "Objective",
    "Pairs",
    "Singles",
    "Tokens",
    "dpo",
    "dpo_pro",
    "find",
    "hinge",
    "ipo",
    "kto",
    "kto_pair",
    "names",
    "preferred_ft",
    "pro",
    "psi_po",
    "rrhf",
    "sft",
    "slic",
    "spin",
    "sppo",
    "sppo_all",
    "steerlm2",
]
