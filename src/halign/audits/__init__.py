"""Audits of judges: what their verdicts depend on besides the replies, and how far they agree with people."""

from halign.audits.biases import (
    LengthBias,
    PositionBias,
    SelfEnhancement,
    length_bias,
    position_bias,
    self_enhancement,
)
from halign.audits.card import Audit, audit
from halign.audits.labels import Label, read_labels
from halign.audits.people import Agreement, against_people
from halign.audits.sets import SETS, ask, labelled_set

__all__ = [
    "SETS",
    "Agreement",
    "Audit",
    "Label",
    "LengthBias",
    "PositionBias",
    "SelfEnhancement",
    "against_people",
    "ask",
    "audit",
    "labelled_set",
    "length_bias",
    "position_bias",
    "read_labels",
    "self_enhancement",
]
