"""Methods that are made of text: they rewrite the data, and plain SFT learns it.

One function per file: examples in, demonstrations out, in which ``Message.learn`` says what is learnt.
"""

from halign.conditioning.conditional import conditional
from halign.conditioning.hindsight import hindsight
from halign.conditioning.joint_feedback import joint_feedback
from halign.conditioning.steerlm import steerlm

BUILT_IN = {f.__name__: f for f in (conditional, hindsight, joint_feedback, steerlm)}

__all__ = ["conditional", "hindsight", "joint_feedback", "steerlm"]
