"""Dialogue -> token paths. Rendering is the only user of chat templates.

A path is a prompt as sampling would give it to the model (generation prompt included) and the response that
should follow, up to and including its end-of-turn token. The two are encoded apart, because so they meet at
inference:

    prompt    <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎
    response  Hello!<|im_end|>              (the template's ⏎ after it is nobody's to learn)

What the template writes for the response is found in ``turn_text``.

A response prefix ("A good answer:") stands between the two. It is given, never learnt: it belongs to the
path's prompt, and to the prompt that sampling gives.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from halign.dialogue import RAW, Dialogue, Message, tool_name
from halign.encoding import Encoder
from halign.errors import DataError, HalignError
from halign.examples import Example
from halign.items import Ids, Item, Kind, Path
from halign.parts import Part, parts, texts
from halign.plain_text import PlainText
from halign.spans import Segment, joined, prefixed, with_a_prompt
from halign.template import (
    DEFAULT_GUARDRAIL_TEMPLATE,
    SENTINEL,
    ChatTemplate,
    Guardrails,
    TemplateRefused,
)
from halign.truncation import Cut, cuts
from halign.turn_text import TurnText
from halign.words import Memo

__all__ = ["DEFAULT_GUARDRAIL_TEMPLATE", "RenderReport", "Renderer"]

MESSAGE_OVERHEAD = 4
"""Tokens a template writes around a message, roughly; only moves the place of truncation's blocks."""

ERRORS_KEPT = 20


@dataclass
class RenderReport:
    """What rendering did, counted.

    Attributes:
        items, paths: made.
        truncated: paths whose prompt lost turns; dropped_turns: messages lost, summed over those.
        left_out: reason -> items not made.
        errors: the first of those, each naming its conversation.
        control_tokens: examples whose content spells a special token of the tokenizer.
        tools_unseen: prompts whose tools the template does not write.
    """

    items: int = 0
    paths: int = 0
    truncated: int = 0
    dropped_turns: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[DataError] = field(default_factory=list)
    control_tokens: int = 0
    tools_unseen: int = 0


class Renderer:
    """Renders dialogues with a tokenizer's chat template and encodes them.

    Args:
        tokenizer: a transformers tokenizer; it needs a chat template unless every dialogue is raw.
        stop_ids: tokens that end the model's turn (generation config's eos); None: the tokenizer's eos.
        roles: whose turns demonstrations teach.
        max_length: tokens of prompt + response; longer ones lose whole old turns. None: no limit.
        response_room: tokens a prompt leaves free for a response, if there is a limit and turns to drop.
        template_args: passed on to the chat template, in training and in sampling alike.
        guardrail_template: Jinja over ``system`` and ``guardrails``.
        system_role: "user" puts system text into the first user message, for templates without a system role.
        response_body: where the template's generation prompt is no beginning of the answered dialogue, let
            the response's rendered body follow the generation prompt, instead of stopping.
        response_prefix: words that the assistant's every response is made to begin with, in prompts and in
            paths alike.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        stop_ids: Collection[int] | None = None,
        roles: tuple[str, ...] = ("assistant",),
        max_length: int | None = None,
        response_room: int = 0,
        template_args: Mapping[str, Any] | None = None,
        guardrail_template: str = DEFAULT_GUARDRAIL_TEMPLATE,
        system_role: str = "system",
        response_body: bool = False,
        response_prefix: str = "",
    ) -> None:
        if system_role not in ("system", "user"):
            raise HalignError(f"system_role is 'system' or 'user', not {system_role!r}")
        eos = getattr(tokenizer, "eos_token_id", None)
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids if stop_ids is not None else () if eos is None else (eos,))
        self.roles, self.max_length, self.response_room = tuple(roles), max_length, response_room
        self.system_role, self.response_body = system_role, response_body
        self.response_prefix = response_prefix
        self.template_args = dict(template_args or {})
        self.report = RenderReport()
        self.encoder = Encoder(tokenizer)
        self.plain = PlainText(tokenizer, self.encoder)
        self.guardrails = Guardrails(guardrail_template)
        self.template = ChatTemplate(tokenizer, self.template_args, fold=system_role == "user")
        self.turns = TurnText(self.template, response_body)
        self._responses = Memo[str, Ids](self._cut_response, 100_000)
        self._clean: set[str] = set()  # contents known to spell no special token

    # -- what others call

    def prompt(self, dialogue: Dialogue, role: str = "assistant") -> Ids:
        """The prompt as sampling needs it: generation prompt included, truncated as in training. int32 [p].

        Args:
            role: whose turn is next; a model that was trained on users' turns (``roles``) is asked for "user".

        Raises:
            DataError: if even its last exchange does not fit.
        """
        if dialogue.is_raw:
            return self.plain.prompt(dialogue, self.response_prefix)
        for cut in self._cuts(dialogue):
            ids = self._announcing(cut.messages, dialogue.tools, role)
            if self._fits(len(ids), 1, cut.last):
                return ids
        raise DataError(f"the prompt's last exchange has {len(ids)} tokens, max_length is {self.max_length}")

    def path(self, prompt: Dialogue, response: Message) -> Path | None:
        """One prompt and one response; None if they do not fit with all old turns dropped.

        Raises:
            HalignError: if prompt and response do not meet, or the template refuses the dialogue.
        """
        paths = self._paths(prompt, (response,))
        return paths[0] if paths else None

    def items(self, example: Example, kind: Kind) -> list[Item]:
        """What an objective trains on: for ``tokens`` one item per trained turn, else one item.

        Items that do not fit, or whose dialogue the template refuses, are left out and counted in the report.

        Raises:
            HalignError: if the example's type does not fit the kind, or prompt and response do not meet.
        """
        self._count_control_tokens(example)
        found = []
        for part in parts(example, kind, self.roles):
            paths = self._paths_or_count(part, example.conversation)
            if paths:
                self.report.items += 1
                self.report.paths += len(paths)
                turn = len(part.prompt.messages)
                found.append(
                    Item(kind, tuple(paths), example.conversation, example.weight, part.values, turn)
                )
        return found

    def render(self, examples: Iterable[Example], kind: Kind) -> list[Item]:
        """The items of many examples, in order. Quicker than one by one, as garbage collection rests."""
        collecting = gc.isenabled()
        gc.disable()  # items hold no cycles: every look through thousands of them would find nothing
        try:
            return [item for example in examples for item in self.items(example, kind)]
        finally:
            if collecting:
                gc.enable()

    def decode_response(self, ids: Sequence[int] | Ids) -> str:
        """What the model said: the text before the first stop token, less what templates open a body with.

        (Mistral's leading space, Qwen 3's empty think block, GPT-OSS's channel.)
        """
        said: list[int] = []
        for token in np.asarray(ids).tolist():
            if token in self.stop_ids:
                break
            said.append(token)
        text = str(self.tokenizer.decode(said, skip_special_tokens=True))
        if self.turns.opening and str(self.tokenizer.decode(said)).startswith(self.turns.opening):
            specials = self.encoder.specials
            return text.removeprefix(specials.sub("", self.turns.opening) if specials else self.turns.opening)
        return text

    @property
    def settings(self) -> dict[str, Any]:
        """What a run records: ``Renderer(tokenizer, **settings)`` renders alike."""
        return {
            "stop_ids": sorted(self.stop_ids),
            "roles": list(self.roles),
            "max_length": self.max_length,
            "response_room": self.response_room,
            "template_args": self.template_args,
            "guardrail_template": self.guardrails.template,
            "system_role": self.system_role,
            "response_body": self.response_body,
            "response_prefix": self.response_prefix,
        }

    # -- paths

    def _paths_or_count(self, part: Part, conversation: str) -> list[Path]:
        try:
            paths = self._paths(part.prompt, part.responses)
            why, problem = (
                "too long",
                f"does not fit into max_length={self.max_length} with old turns dropped",
            )
        except TemplateRefused as error:
            paths, why, problem = [], "refused by the template", str(error)
        if not paths:
            self.report.left_out[why] += 1
            if len(self.report.errors) < ERRORS_KEPT:
                place = f"conversation {conversation}, message {len(part.prompt.messages)}"
                self.report.errors.append(DataError(problem, field=place))
        return paths

    def _paths(self, dialogue: Dialogue, responses: Sequence[Message]) -> list[Path]:
        """One path per response, all with the same prompt; empty if the longest does not fit."""
        if dialogue.is_raw and (dialogue.messages or responses[0].role == RAW):
            return self._plain_paths(dialogue, responses)
        for cut in self._cuts(dialogue):
            paths = self._meet(cut.messages, dialogue.tools, responses)
            if all(self._fits(len(p.prompt), len(p.response), cut.last) for p in paths):
                if cut.dropped:
                    self.report.truncated += len(paths)
                    self.report.dropped_turns += cut.dropped * len(paths)
                return paths
        return []

    def _announcing(self, messages: Sequence[Message], tools: Sequence[Any], role: str) -> Ids:
        """The prompt of messages that are already cut: generation prompt, response prefix."""
        if role != "assistant":
            header = self.turns.around(messages, tools, Message(role, SENTINEL))[0]
            return self.encoder.encode(header)
        text = self.template.render(messages, tools, generate=True)
        self.turns.check_calls(messages, text)
        ids = self.encoder.encode(text)
        if not self.response_prefix:
            return ids
        stand_in = prefixed(Message("assistant", SENTINEL), self.response_prefix)
        opening = self.turns.following(text, messages, tools, stand_in)[0].text
        return np.concatenate([ids, self.encoder.encode_continuation(opening)])

    def _meet(
        self, messages: Sequence[Message], tools: Sequence[Any], responses: Sequence[Message]
    ) -> list[Path]:
        """Paths for prompt messages that are already cut."""
        if not messages or any(r.role != "assistant" for r in responses):
            return [self._unannounced(messages, tools, r) for r in responses]
        text = self.template.render(messages, tools, generate=True)
        self.turns.check_calls(messages, text)
        self.report.tools_unseen += bool(tools) and not any(name in text for name in map(tool_name, tools))
        prompt = self.encoder.encode(text)
        made = (prefixed(r, self.response_prefix) for r in responses)
        return [self._joined(prompt, self.turns.following(text, messages, tools, r)) for r in made]

    def _joined(self, prompt: Ids, pieces: Sequence[Segment]) -> Path:
        return joined(prompt, pieces, self.encoder.encode_continuation, self._responses.__getitem__)

    def _unannounced(self, messages: Sequence[Message], tools: Sequence[Any], response: Message) -> Path:
        """A turn that no generation prompt announces (a user's, or the first of all): header, then body."""
        header, rest, _ = self.turns.around(messages, tools, response)
        self.turns.check_calls((*messages, response), header + rest)
        path = self._joined(self.encoder.encode(header), self.turns.segments(rest, messages, tools, response))
        return with_a_prompt(path)

    def _cut_response(self, text: str) -> Ids:
        """A response's ids, cut after its last stop token; all if it has none (the preflight speaks)."""
        ids = self.encoder.encode_continuation(text)
        if len(ids) and int(ids[-1]) in self.stop_ids:
            return ids
        after = next((i for i, t in enumerate(reversed(ids.tolist())) if t in self.stop_ids), 0)
        return ids[: len(ids) - after]

    def _plain_paths(self, dialogue: Dialogue, responses: Sequence[Message]) -> list[Path]:
        paths = [self.plain.path(dialogue, r, self.response_prefix) for r in responses]
        return paths if all(self._fits(len(p.prompt), len(p.response), True) for p in paths) else []

    # -- length, and what else is counted

    def _cuts(self, dialogue: Dialogue) -> Iterator[Cut]:
        messages = self.guardrails.apply(dialogue)
        if self.max_length is None:
            return iter((Cut(messages, 0, True),))
        return cuts(messages, self.max_length, lambda m: self._lengths[str(m.content)])

    @cached_property
    def _lengths(self) -> Memo[str, int]:
        return Memo(lambda text: len(self.encoder.encode(text)) + MESSAGE_OVERHEAD, 400_000)

    def _fits(self, prompt: int, response: int, last: bool) -> bool:
        """Whether these many tokens fit; the last possible cut need not leave the response's room free."""
        room = response if last else max(response, self.response_room)
        return self.max_length is None or prompt + room <= self.max_length

    def _count_control_tokens(self, example: Example) -> None:
        new = [t for t in texts(example) if t not in self._clean]
        if any(map(self.encoder.control_in, new)):
            self.report.control_tokens += 1
        else:
            self._clean.update(new)
