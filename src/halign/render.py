"""Dialogue -> token paths. The only user of chat templates.

A path is a prompt as sampling would give it to the model (generation prompt included) and the response that should
follow, up to and including its end-of-turn token. The two are encoded apart, because that is how they meet at inference:

    prompt    <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎
    response  Hello!<|im_end|>                                          (the template's ⏎ after it is nobody's to learn)

The response's characters are what the template adds to the prompt when it renders the answered dialogue. Where that is
no continuation of the prompt, as with templates that rewrite the last turn, we stop and show the difference.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from halign.dialogue import RAW, Dialogue, Message
from halign.encoding import Encoder
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating
from halign.items import Ids, Item, Kind, Path
from halign.template import (
    DEFAULT_GUARDRAIL_TEMPLATE,
    SENTINEL,
    SYSTEM_ROLES,
    ChatTemplate,
    Guardrails,
    TemplateRefused,
)

__all__ = ["DEFAULT_GUARDRAIL_TEMPLATE", "RenderReport", "Renderer"]

MESSAGE_OVERHEAD = 4
"""Tokens a template writes around a message, roughly; only moves the place of truncation's blocks."""

ERRORS_KEPT = 20


@dataclass
class RenderReport:
    """What rendering did, counted.

    Attributes:
        items, paths: made.
        truncated: paths' prompts that lost turns; dropped_turns: messages lost, summed over those prompts.
        left_out: reason -> items not made.
        errors: the first of those, each naming its conversation.
        control_tokens: examples whose content spells a special token of the tokenizer.
    """

    items: int = 0
    paths: int = 0
    truncated: int = 0
    dropped_turns: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[DataError] = field(default_factory=list)
    control_tokens: int = 0


class Renderer:
    """Renders dialogues with a tokenizer's chat template and encodes them.

    Args:
        tokenizer: a transformers tokenizer; it needs a chat template unless every dialogue is raw.
        stop_ids: tokens that end the model's turn (generation config's ``eos_token_id``); None: the tokenizer's eos.
        roles: whose turns demonstrations teach.
        max_length: tokens of prompt + response; longer ones lose whole old turns. None: no limit.
        response_room: tokens a prompt always leaves free for a response, when there is a limit.
        template_args: passed on to the chat template, in training and in sampling alike.
        guardrail_template: Jinja over ``system`` and ``guardrails``.
        system_role: "user" puts system text into the first user message, for templates that know no system role.
        response_body: where the template's generation prompt is no prefix of the answered dialogue, let the response's
            rendered body follow the generation prompt, instead of stopping.
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
    ) -> None:
        eos = getattr(tokenizer, "eos_token_id", None)
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids if stop_ids is not None else () if eos is None else (eos,))
        self.roles, self.max_length, self.response_room = tuple(roles), max_length, response_room
        self.response_body = response_body
        self.report = RenderReport()
        self.encoder = Encoder(tokenizer)
        self.guardrails = Guardrails(guardrail_template)
        self.template = ChatTemplate(tokenizer, template_args or {}, fold=system_role == "user")
        self._responses: dict[str, Ids] = {}
        self._lengths: dict[str, int] = {}
        self._clean: set[str] = set()  # contents known to spell no special token

    # -- what others call ------------------------------------------------------------------------------------------

    def prompt(self, dialogue: Dialogue) -> Ids:
        """The prompt as sampling needs it: generation prompt included, truncated as in training. int32 [p].

        Raises:
            DataError: if even its last exchange does not fit.
        """
        if _is_raw(dialogue):
            return self._raw_prompt(dialogue)
        for last, messages in self._cuts(dialogue):
            ids = self.encoder.encode(self.template.render(messages, dialogue.tools, generate=True))
            if self._fits(ids, (), last):
                return ids
        raise DataError(f"the prompt's last turn has {len(ids)} tokens; max_length is {self.max_length}")

    def path(self, prompt: Dialogue, response: Message) -> Path | None:
        """One prompt and one response; None if they do not fit into ``max_length`` with all old turns dropped."""
        paths = self._paths(prompt, (response,))
        return paths[0] if paths else None

    def items(self, example: Example, kind: Kind) -> list[Item]:
        """What an objective trains on: for ``tokens`` one item per trained turn, else one item.

        An item whose paths do not fit, or whose dialogue the template refuses, is left out and counted in the report.

        Raises:
            HalignError: if the example's type does not fit the kind, or prompt and response do not meet.
        """
        self._look_for_control_tokens(example)
        found = []
        for prompt, responses, values in _parts(example, kind, self.roles):
            paths = self._kept_paths(prompt, responses, example.conversation)
            if paths:
                self.report.items += 1
                self.report.paths += len(paths)
                found.append(
                    Item(
                        kind, tuple(paths), example.conversation, example.weight, values, len(prompt.messages)
                    )
                )
        return found

    def render(self, examples: Iterable[Example], kind: Kind) -> list[Item]:
        """The items of many examples, in order. Quicker than one by one: garbage collection rests meanwhile."""
        collecting = gc.isenabled()
        gc.disable()  # items hold no cycles, and every look through millions of them would find nothing
        try:
            return [item for example in examples for item in self.items(example, kind)]
        finally:
            if collecting:
                gc.enable()

    def decode_response(self, ids: Sequence[int] | Ids) -> str:
        """What the model said: the text before the first stop token, less what the template writes before a body.

        (Mistral's leading space, Qwen 3's empty think block, GPT-OSS's channel.)
        """
        said: list[int] = []
        for token in np.asarray(ids).tolist():
            if token in self.stop_ids:
                break
            said.append(token)
        text = str(self.tokenizer.decode(said, skip_special_tokens=True))
        if self._opening and str(self.tokenizer.decode(said)).startswith(self._opening):
            controls = self.encoder.specials
            return text.removeprefix(controls.sub("", self._opening) if controls else self._opening)
        return text

    @cached_property
    def _opening(self) -> str:
        """What the template writes between generation prompt and body of a plain answer."""
        if not getattr(self.tokenizer, "chat_template", None):
            return ""
        question = (Message("user", "Hi"),)
        try:
            prompt = self.template.render(question, generate=True)
            answered = self.template.render((*question, Message("assistant", SENTINEL)))
        except TemplateRefused:
            return ""
        return answered.partition(SENTINEL)[0].removeprefix(prompt) if answered.startswith(prompt) else ""

    @property
    def settings(self) -> dict[str, Any]:
        """What a run records, so that sampling later renders alike."""
        return {
            "roles": list(self.roles),
            "max_length": self.max_length,
            "guardrail_template": self.guardrails.template,
            "stop_ids": sorted(self.stop_ids),
            "response_body": self.response_body,
        }

    # -- paths -----------------------------------------------------------------------------------------------------

    def _kept_paths(self, prompt: Dialogue, responses: Sequence[Message], conversation: str) -> list[Path]:
        try:
            paths = self._paths(prompt, responses)
            reason = f"does not fit into max_length={self.max_length} with all old turns dropped"
            name = "too long"
        except TemplateRefused as error:
            paths, reason, name = [], str(error), "refused by the template"
        if not paths:
            self.report.left_out[name] += 1
            if len(self.report.errors) < ERRORS_KEPT:
                place = f"conversation {conversation}, message {len(prompt.messages)}"
                self.report.errors.append(DataError(reason, field=place))
        return paths

    def _paths(self, dialogue: Dialogue, responses: Sequence[Message]) -> list[Path]:
        """One path per response, all with the same prompt; empty if the longest does not fit."""
        if _is_raw(dialogue) and (dialogue.messages or responses[0].role == RAW):
            return self._raw_paths(dialogue, responses)
        for last, messages in self._cuts(dialogue):
            paths = self._meet(messages, dialogue.tools, responses)
            if all(self._fits(p.prompt, p.response, last) for p in paths):
                dropped = len(self.guardrails.apply(dialogue)) - len(messages) if self.max_length else 0
                self.report.truncated += bool(dropped) * len(paths)
                self.report.dropped_turns += dropped * len(paths)
                return paths
        return []

    def _meet(
        self, messages: Sequence[Message], tools: Sequence[Any], responses: Sequence[Message]
    ) -> list[Path]:
        """Paths for prompt messages that are already cut."""
        if not messages or any(r.role != "assistant" for r in responses):
            return [self._spoken(messages, tools, r) for r in responses]
        text = self.template.render(messages, tools, generate=True)
        prompt = self.encoder.encode(text)
        paths = []
        for response in responses:
            whole = self.template.render((*messages, response), tools)
            if whole.startswith(text):
                rest = whole[len(text) :]
            elif self.response_body:
                rest = self._around(messages, tools, response)[1]
            else:
                raise HalignError(_do_not_meet(text, whole))
            paths.append(Path(prompt, self._response(rest)))
        return paths

    def _spoken(self, messages: Sequence[Message], tools: Sequence[Any], response: Message) -> Path:
        """A turn that no generation prompt announces (a user's, or the first of all): its body, after its header."""
        header, rest = self._around(messages, tools, response)
        return _with_first_token(self.encoder.encode(header), self._response(rest))

    def _around(
        self, messages: Sequence[Message], tools: Sequence[Any], response: Message
    ) -> tuple[str, str]:
        """(text before the response's body, body and what follows it), found by rendering a stand-in for the body."""
        stand_in = self.template.render((*messages, Message(response.role, SENTINEL, response.extra)), tools)
        whole = self.template.render((*messages, response), tools)
        header, _, tail = stand_in.partition(SENTINEL)
        if SENTINEL not in stand_in or not (whole.startswith(header) and whole.endswith(tail)):
            raise HalignError(
                f"cannot find the body of this {response.role} turn in its rendering; "
                f"the chat template rewrites it:\n{whole[-400:]!r}"
            )
        return header, whole[len(header) :]

    def _response(self, text: str) -> Ids:
        """Ids of a response's text, cut after its last stop token; all of it if it has none (the preflight stops)."""
        ids = self._responses.get(text)
        if ids is None:
            ids = self.encoder.encode_continuation(text)
            last = next((i for i, t in enumerate(reversed(ids.tolist())) if t in self.stop_ids), 0)
            ids = ids[: len(ids) - last]
            if len(self._responses) >= 100_000:
                self._responses.clear()
            self._responses[text] = ids
        return ids

    # -- raw text --------------------------------------------------------------------------------------------------

    def _raw_prompt(self, dialogue: Dialogue) -> Ids:
        """Text as the tokenizer takes it, with the BOS it adds and without the EOS some add."""
        text = "".join(m.content for m in dialogue.messages)
        ids = np.asarray(self.tokenizer(text)["input_ids"], dtype=np.int32)
        return ids[:-1] if len(ids) and ids[-1] == self.tokenizer.eos_token_id else ids

    def _raw_paths(self, dialogue: Dialogue, responses: Sequence[Message]) -> list[Path]:
        prompt = self._raw_prompt(dialogue)
        eos = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        encode = self.encoder.encode_continuation if dialogue.messages else self.encoder.encode
        ids = [np.concatenate([encode(r.content), np.array(eos, dtype=np.int32)]) for r in responses]
        paths = [_with_first_token(prompt, i) for i in ids]
        return paths if all(self._fits(p.prompt, p.response, True) for p in paths) else []

    # -- truncation ------------------------------------------------------------------------------------------------

    def _fits(self, prompt: Ids, response: Ids | tuple[()], last: bool) -> bool:
        """Whether a path fits; the last possible cut need not leave the response's room free."""
        room = len(response) if last else max(len(response), self.response_room)
        return self.max_length is None or len(prompt) + max(room, 1) <= self.max_length

    def _cuts(self, dialogue: Dialogue) -> Iterator[tuple[bool, Sequence[Message]]]:
        """(is it the last, messages) with ever more old exchanges dropped, guardrails and system message kept.

        A cut drops the fewest exchanges that hold k half-windows of tokens, k = 0, 1, 2 ... Where these cuts lie depends
        on the old turns alone, not on how long the conversation has grown, so neighbouring turns lose the same turns
        and go on sharing their trunk.
        """
        messages = self.guardrails.apply(dialogue)
        starts = _exchanges(messages) if self.max_length is not None else [0]
        if len(starts) == 1:
            yield True, messages
            return
        yield False, messages
        head = starts[0]
        window = (self.max_length or 0) - sum(self._length(m.content) for m in messages[:head])
        block = max(window // 2, 1)
        lost, dropped, k = 0, head, 1
        for start in starts[1:]:
            lost += sum(self._length(m.content) for m in messages[dropped:start])
            dropped = start
            if lost >= k * block or start == starts[-1]:
                yield start == starts[-1], (*messages[:head], *messages[start:])
                k = lost // block + 1

    def _length(self, content: str) -> int:
        n = self._lengths.get(content)
        if n is None:
            n = self._lengths[content] = len(self.encoder.encode(str(content))) + MESSAGE_OVERHEAD
        return n

    def _look_for_control_tokens(self, example: Example) -> None:
        new = [t for t in _texts(example) if t not in self._clean]
        if any(self.encoder.control_in(t) for t in new):
            self.report.control_tokens += 1
        else:
            self._clean.update(new)


def _is_raw(dialogue: Dialogue) -> bool:
    return dialogue.is_raw


def _exchanges(messages: Sequence[Message]) -> list[int]:
    """Where the turns begin, and every later place where a user opens an exchange."""
    head = 0
    while head < len(messages) and messages[head].role in SYSTEM_ROLES:
        head += 1
    opens = [
        i
        for i in range(head + 1, len(messages))
        if messages[i].role == "user" and messages[i - 1].role != "user"
    ]
    return [head, *opens]


def _with_first_token(prompt: Ids, response: Ids) -> Path:
    """A path; with nothing before it, a response's first token is nobody's to predict and becomes the prompt."""
    return Path(prompt, response) if len(prompt) else Path(response[:1], response[1:])


def _parts(
    example: Example, kind: Kind, roles: tuple[str, ...]
) -> Iterator[tuple[Dialogue, tuple[Message, ...], dict[str, Any]]]:
    """(prompt, responses, values) of every item that an example becomes."""
    match kind, example:
        case "tokens", Demonstration() | Conversation():
            yield from _turns(example, roles)
        case "tokens", Preference(prompt, chosen):
            yield prompt, (chosen,), {}
        case "pairs", Preference(prompt, chosen, rejected):
            yield prompt, (chosen, rejected), _preference_values(example)
        case "lists", Ranking(prompt, responses):
            values: dict[str, Any] = {"ranks": tuple(float(r) for r in example.ranks)}
            if example.scores is not None:
                values["rewards"] = tuple(example.scores)
            yield prompt, responses, values
        case "singles", Rating(prompt, response):
            score = {} if example.score is None else {"rewards": (example.score,)}
            yield prompt, (response,), {"desirable": example.desirable, **score}
        case _:
            raise HalignError(f"a {type(example).__name__} cannot become {kind}; convert the data first")


def _turns(
    example: Demonstration | Conversation, roles: tuple[str, ...]
) -> Iterator[tuple[Dialogue, tuple[Message, ...], dict[str, Any]]]:
    dialogue = example.dialogue
    turns = example.turns if isinstance(example, Demonstration) else None
    for i, message in enumerate(dialogue.messages):
        if i in turns if turns is not None else message.role in roles or message.role == RAW:
            yield dialogue[:i], (message,), {}


def _preference_values(example: Preference) -> dict[str, Any]:
    rates = {"chosen_win_rate": example.chosen_win_rate, "rejected_win_rate": example.rejected_win_rate}
    return {"preference": example.preference, **{k: v for k, v in rates.items() if v is not None}}


def _texts(example: Example) -> list[str]:
    match example:
        case Demonstration() | Conversation():
            messages: tuple[Message, ...] = example.dialogue.messages
        case Preference(prompt, chosen, rejected):
            messages = (*prompt.messages, chosen, rejected)
        case Ranking(prompt, responses):
            messages = (*prompt.messages, *responses)
        case Rating(prompt, response):
            messages = (*prompt.messages, response)
    return [m.content for m in messages if isinstance(m.content, str)]


def _do_not_meet(prompt: str, whole: str) -> str:
    """The error message for a template whose generation prompt is no prefix of the answered dialogue."""
    at = next(
        (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b),
        min(len(prompt), len(whole)),
    )
    return (
        "prompt and response do not meet: the chat template renders the prompt differently once it is answered.\n"
        f"  both begin    ...{prompt[max(0, at - 60) : at]!r}\n"
        f"  prompt has    {prompt[at : at + 80]!r}\n"
        f"  answered has  {whole[at : at + 80]!r}\n"
        "Set response_body=true to let the response's rendered body follow the generation prompt, "
        "or change the template (template_args, chat_template)."
    )
