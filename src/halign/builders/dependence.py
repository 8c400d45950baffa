"""Whether a message can be answered only by somebody who knows what was said before it: a judge's word, and a test by
log-probability.

The test: by how much a reply y gets likelier through the context c before the query q,
    gain(y) = [log p(y | c, q) - log p(y | q)] / tokens of y          nats a token
with the end of the turn among the tokens. It is the pointwise mutual information of reply and context, given the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from halign.builders.tools import Tools
from halign.builders.writers import LocalWriter
from halign.dialogue import Dialogue, Message
from halign.judges.questions import filled, transcript
from halign.judges.yes_no import LocalYesNo
from halign.likelihood import logps

if TYPE_CHECKING:
    from halign.models import Policy

QUESTION = """\
Conversation:
{{ conversation }}

Last message:
{{ query }}

To understand and answer the last message well, does one have to know what was said before it in this conversation?"""


def follows_context(prompt: Dialogue) -> bool:
    """True if the last turn is a user's, and an agent has spoken before."""
    roles = [m.role for m in prompt.messages]
    return bool(roles) and roles[-1] == "user" and "assistant" in roles


def alone(prompt: Dialogue) -> Dialogue:
    """The last query without what was said before: guardrails and system messages stay.

    >>> d = Dialogue.of([{"role": r, "content": c} for r, c in zip(("system", "user", "assistant", "user"), "abcd")])
    >>> [m.content for m in alone(d).messages]
    ['a', 'd']
    """
    *before, query = prompt.messages
    return Dialogue(
        (*(m for m in before if m.role == "system"), query), prompt.guardrails, prompt.tools, prompt.meta
    )


def policy_of(tools: Tools) -> Policy | None:
    """The model in this process: the writer's, else the judge's; None if there is none."""
    if isinstance(tools.writer, LocalWriter):
        found: Policy | None = getattr(tools.writer.sampler, "policy", None)
        return found
    return tools.judge.policy if isinstance(tools.judge, LocalYesNo) else None


def gains(policy: Policy, replies: Sequence[tuple[Dialogue, Message]]) -> list[float]:
    """What the context does for each reply to its prompt, in nats a token."""
    asked = [(given, reply) for prompt, reply in replies for given in (prompt, alone(prompt))]
    found = logps(policy, asked).tolist()
    return [
        (found[2 * i] - found[2 * i + 1]) / _tokens(policy, reply) for i, (_, reply) in enumerate(replies)
    ]


def _tokens(policy: Policy, reply: Message) -> int:
    return len(policy.tokenizer(reply.content, add_special_tokens=False)["input_ids"]) + 1


def chances(prompts: Sequence[Dialogue], tools: Tools) -> list[tuple[float, tuple[str, ...]] | None]:
    """The judge's P(the last message needs the context) with the keys of its answer; None where there is none."""
    questions = [
        filled(QUESTION, conversation=transcript(p[:-1]), query=p.messages[-1].content) for p in prompts
    ]
    return [None if c is None else (c.yes, c.keys) for c in tools.ask(questions)]
