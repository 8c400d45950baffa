"""One pure function per file. Imported eagerly, so that a sub-module never shadows its function."""

from halign.objectives.aot import aot
from halign.objectives.apo_down import apo_down
from halign.objectives.apo_zero import apo_zero
from halign.objectives.attributes import attributes
from halign.objectives.bco import bco
from halign.objectives.clipped_policy import clipped_policy
from halign.objectives.clipped_value import clipped_value
from halign.objectives.cpo import cpo
from halign.objectives.discopop import discopop
from halign.objectives.dpo import dpo
from halign.objectives.dpo_pro import dpo_pro
from halign.objectives.exo import exo
from halign.objectives.hinge import hinge
from halign.objectives.ipo import ipo
from halign.objectives.items import (
    Items,
    Lists,
    Pairs,
    Rollouts,
    Singles,
    Tokens,
    ValueLists,
    ValuePairs,
    ValueSingles,
)
from halign.objectives.kl_penalty import kl_penalty
from halign.objectives.kto import kto
from halign.objectives.kto_pair import kto_pair
from halign.objectives.nca import nca
from halign.objectives.orpo import orpo
from halign.objectives.pairwise import pairwise
from halign.objectives.plackett_luce import plackett_luce
from halign.objectives.preferred_ft import preferred_ft
from halign.objectives.pro import pro
from halign.objectives.psi_po import psi_po
from halign.objectives.registry import Objective, find, names
from halign.objectives.reward import reward
from halign.objectives.robust_dpo import robust_dpo
from halign.objectives.rrhf import rrhf
from halign.objectives.sft import sft
from halign.objectives.sigmoid_norm import sigmoid_norm
from halign.objectives.simpo import simpo
from halign.objectives.slic import slic
from halign.objectives.spin import spin
from halign.objectives.sppo import sppo
from halign.objectives.sppo_all import sppo_all
from halign.objectives.steerlm2 import steerlm2

# what loops that sample learn by (clipped_policy, clipped_value, kl_penalty) is not trained on data, and stands in __all__ alone
BUILT_IN = {
    f.__name__: f
    for f in (
        aot,
        apo_down,
        apo_zero,
        attributes,
        bco,
        cpo,
        discopop,
        dpo,
        dpo_pro,
        exo,
        hinge,
        ipo,
        kto,
        kto_pair,
        nca,
        orpo,
        pairwise,
        plackett_luce,
        preferred_ft,
        pro,
        psi_po,
        reward,
        robust_dpo,
        rrhf,
        sft,
        sigmoid_norm,
        simpo,
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
    "Rollouts",
    "Singles",
    "Tokens",
    "ValueLists",
    "ValuePairs",
    "ValueSingles",
    "aot",
    "apo_down",
    "apo_zero",
    "attributes",
    "bco",
    "clipped_policy",
    "clipped_value",
    "cpo",
    "discopop",
    "dpo",
    "dpo_pro",
    "exo",
    "find",
    "hinge",
    "ipo",
    "kl_penalty",
    "kto",
    "kto_pair",
    "names",
    "nca",
    "orpo",
    "pairwise",
    "plackett_luce",
    "preferred_ft",
    "pro",
    "psi_po",
    "reward",
    "robust_dpo",
    "rrhf",
    "sft",
    "sigmoid_norm",
    "simpo",
    "slic",
    "spin",
    "sppo",
    "sppo_all",
    "steerlm2",
]
