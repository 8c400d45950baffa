"""The care world: an online shop's support desk with a known truth.

Customers with intents, facts in the system message, guardrails in force, and exact checks of replies.

>>> from halign.worlds import care
>>> conversation = next(care.conversations(1, split="train", seed=0))
>>> turn, (alternative, *_) = next(iter(conversation.alternatives.items()))
>>> prompt, said = conversation.dialogue[:turn], conversation.dialogue.messages[turn].content
>>> care.assess(prompt, said).ok
True
>>> [rule for rule, kept in care.assess(prompt, alternative.message.content).adherence.items() if not kept]
['sign']
"""

from halign.worlds.care.assess import Assessment, assess, break_guardrail, good_reply
from halign.worlds.care.base_model import base_model
from halign.worlds.care.generator import conversations
from halign.worlds.care.generator import prompts as test_prompts
from halign.worlds.care.guardrails import GUARDRAILS, KINDS, Guardrail, Kind
from halign.worlds.care.state import INTENTS

__all__ = [
    "GUARDRAILS",
    "INTENTS",
    "KINDS",
    "Assessment",
    "Guardrail",
    "Kind",
    "assess",
    "base_model",
    "break_guardrail",
    "conversations",
    "good_reply",
    "test_prompts",
]
