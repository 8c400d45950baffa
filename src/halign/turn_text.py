"""What a chat template writes for one turn, given the messages before it.

The response's characters are what the template adds to the prompt when it renders the answered dialogue. Where that is
no continuation of the prompt, as with templates that rewrite the last turn, we stop and show the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from halign.dialogue import Message, called
from halign.errors import HalignError
from halign.spans import Segment, segments
from halign.template import SENTINEL, ChatTemplate, TemplateRefused


class TurnText:
    """Cuts a template's text into what stands before a turn, its body, and what follows.

    Args:
        template: which renders.
        response_body: where the generation prompt is no beginning of the answered dialogue, let the response's rendered
            body follow the generation prompt, instead of stopping.
    """

    def __init__(self, template: ChatTemplate, response_body: bool) -> None:
        self.template, self.response_body = template, response_body

    def following(
        self, text: str, messages: Sequence[Message], tools: Sequence[Any], response: Message
    ) -> list[Segment]:
        """What the template adds to a prompt's text for its response."""
        whole = self.template.render((*messages, response), tools)
        if whole.startswith(text):
            rest = whole[len(text) :]
        elif self.response_body:
            rest = self.around(messages, tools, response)[1]
        else:
            raise HalignError(_do_not_meet(text, whole))
        self.check_calls((response,), rest)
        return self.segments(rest, messages, tools, response)

    def segments(
        self, rest: str, messages: Sequence[Message], tools: Sequence[Any], response: Message
    ) -> list[Segment]:
        """What follows the prompt, cut where the response begins or ceases to be learnt."""
        if response.learn is None:
            return [Segment(rest, True)]
        _, body, tail = self.around(messages, tools, response)
        place = slice(len(rest) - len(body), len(rest) - len(tail))
        return segments(rest, place, response.content, response.learn)

    def around(
        self, messages: Sequence[Message], tools: Sequence[Any], response: Message
    ) -> tuple[str, str, str]:
        """(text before a response's body, the body and what follows, what follows alone), by rendering a
        stand-in for the body.
        """
        stand_in = Message(response.role, SENTINEL, response.extra)
        header, found, tail = self.template.render((*messages, stand_in), tools).partition(SENTINEL)
        whole = self.template.render((*messages, response), tools)
        if not found or not (whole.startswith(header) and whole.endswith(tail)):
            raise HalignError(
                f"cannot find the body of this {response.role} turn in its rendering; "
                f"the chat template rewrites it:\n{whole[-400:]!r}"
            )
        return header, whole[len(header) :], tail

    def check_calls(self, messages: Sequence[Message], text: str) -> None:
        """Templates that do not know tool calls leave them out, and an empty answer would be learnt.

        Raises:
            TemplateRefused: if a function that is called does not stand in the rendered text.
        """
        gone = [name for m in messages if m.extra for name in called(m) if name not in text]
        if gone:
            raise TemplateRefused(
                f"the chat template renders nothing of the call of {gone[0]!r}: it does not know tool_calls. "
                "Take a template that does, or write the calls into the content"
            )

    @cached_property
    def opening(self) -> str:
        """What the template writes between generation prompt and body of a plain answer."""
        if not self.template.exists:
            return ""
        question = (Message("user", "Hi"),)
        try:
            prompt = self.template.render(question, generate=True)
            answered = self.template.render((*question, Message("assistant", SENTINEL)))
        except TemplateRefused:
            return ""
        return answered.partition(SENTINEL)[0].removeprefix(prompt) if answered.startswith(prompt) else ""


def _do_not_meet(prompt: str, whole: str) -> str:
    """The error's text for a template whose generation prompt is no beginning of the answered dialogue."""
    same = (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b)
    at = next(same, min(len(prompt), len(whole)))
    return (
        "prompt and response do not meet: the chat template renders the prompt differently once answered.\n"
        f"  both begin    ...{prompt[max(0, at - 60) : at]!r}\n"
        f"  prompt has    {prompt[at : at + 80]!r}\n"
        f"  answered has  {whole[at : at + 80]!r}\n"
        "Set response_body=true to let the response's rendered body follow the generation prompt, "
        "or change the template (template_args, chat_template)."
    )
