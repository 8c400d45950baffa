"""The chat template of a tokenizer, rendered fast, and the guardrails put into it.

``ChatTemplate.render`` gives the characters of ``tokenizer.apply_chat_template(..., tokenize=False)``. Plain
messages skip that function's normalising of every input, which costs more than the rendering itself, and where a template only
puts contents between fixed words, it runs once for all dialogues of the same roles (``template_shape``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.template_shape import Shape, shape
from halign.words import Memo

DEFAULT_GUARDRAIL_TEMPLATE = """\
{% if system %}{{ system }}

{% endif %}Follow these guardrails:
{% for guardrail in guardrails %}- {{ guardrail }}
{% endfor %}"""
"""Jinja; ``system`` is the system message there was (or ""), ``guardrails`` the rules. Ends are stripped."""

SYSTEM_ROLES = ("system", "developer")

SENTINEL = "halign0sentinel0body"
"""Stands in for a message's body where we ask what the template writes around it."""


NO_TEMPLATE = (
    "the model's tokenizer has no chat template, and these are chat messages: take the model's instruct version, put a "
    "chat_template.jinja into its folder, or give plain text (prompt and completion as strings)"
)


class TemplateRefused(HalignError):
    """The chat template raised an error on a dialogue (roles that do not alternate, no system role ...)."""


class ChatTemplate:
    """Renders message dicts with a tokenizer's template.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        arguments: passed on to the template (``enable_thinking``, ``date_string`` ...).
        fold: True for templates that know no system role; its text then opens the first user message.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any], *, fold: bool = False) -> None:
        self._tokenizer, self._fold = tokenizer, fold
        self.exists = bool(getattr(tokenizer, "chat_template", None))
        self._arguments = dict(arguments)
        self._compiled, self._text = _compiled(tokenizer), str(getattr(tokenizer, "chat_template", None))
        self._globals = dict(self._compiled.globals) if self._compiled is not None else {}
        self._variables = {**getattr(tokenizer, "special_tokens_map", {}), **self._arguments}
        plain = (str, int, float, bool, type(None))
        if any(type(v) not in plain for v in self._variables.values()):
            self._compiled = None
        self._compared = 0
        self._shapes = Memo[tuple[bool, tuple[str, ...]], Shape | None](self._shape, 10_000)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, generate: bool = False
    ) -> str:
        """The text of these messages, followed by the generation prompt if ``generate``.

        Raises:
            TemplateRefused: with the template's own words.
            HalignError: the tokenizer has no chat template.
        """
        if not self.exists:
            raise HalignError(NO_TEMPLATE)
        if self._fold:
            messages = fold_system(messages)
        try:
            if (
                self._compiled is None
                or tools
                or not all(type(m.content) is str and (not m.extra or not m.spoken) for m in messages)
            ):
                return self._slow(messages, tools, generate)
            text = self._fast(messages, generate)
            if self._compared < 8:  # a tokenizer class with ways of its own is found here
                self._compared += 1
                slow = self._slow(messages, tools, generate)
                if slow != text:
                    self._compiled = None
                    return slow
            return text
        except TemplateError as error:
            roles = ", ".join(m.role for m in messages)
            raise TemplateRefused(f"the chat template refuses this dialogue ({roles}): {error}") from error

    def _fast(self, messages: Sequence[Message], generate: bool) -> str:
        known = self._shapes[generate, tuple([m.role for m in messages])]
        if known is not None:
            return known.fill([m.content for m in messages])
        return self._run(messages, generate)

    def _run(self, messages: Sequence[Message], generate: bool) -> str:
        assert self._compiled is not None
        plain = [{"role": m.role, "content": m.content} for m in messages]
        # What Template.render does, less the merging of globals at every call.
        context = self._compiled.new_context({**self._given(generate), "messages": plain}, shared=True)
        return "".join(self._compiled.root_render_func(context))

    def _given(self, generate: bool) -> dict[str, Any]:
        """What the template knows beside the messages."""
        given = {"tools": None, "documents": None, "add_generation_prompt": generate}
        return {**self._globals, **given, **self._variables}

    def _shape(self, key: tuple[bool, tuple[str, ...]]) -> Shape | None:
        """The shape of a dialogue of these roles, if it has one that the template itself confirms."""
        generate, roles = key
        assert self._compiled is not None
        found = shape(self._compiled.environment, self._text, roles, self._given(generate))
        if found is None:
            return None
        messages = [Message(role, f" {SENTINEL} {i}\n") for i, role in enumerate(roles)]
        return found if found.fill([m.content for m in messages]) == self._run(messages, generate) else None

    def _slow(self, messages: Sequence[Message], tools: Sequence[Any], generate: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content, **m.spoken} for m in messages],
            tools=[dict(t) for t in tools] or None,
            tokenize=False,
            add_generation_prompt=generate,
            **self._arguments,
        )
        assert isinstance(text, str)
        return text


def _compiled(tokenizer: Any) -> Any | None:
    """The template as transformers compiles it, or None where only ``apply_chat_template`` knows the way."""
    from transformers import PreTrainedTokenizerBase

    ours = (
        getattr(type(tokenizer), "apply_chat_template", None) is PreTrainedTokenizerBase.apply_chat_template
    )
    if not ours or not isinstance(getattr(tokenizer, "chat_template", None), str):
        return None  # an overridden method, or several named templates to choose from
    return _quick(tokenizer.chat_template)


@lru_cache
def _quick(template: str) -> Any | None:
    """The template in transformers' own sandbox, with quick attributes; None for a transformers without that."""
    try:
        from transformers.utils.chat_template_utils import _compile_jinja_template
    except ImportError:
        return None
    sandbox: Any = _compile_jinja_template(template).environment.overlay()
    sandbox.__class__ = type("QuickSandbox", (_QuickAttributes, type(sandbox)), {})
    return sandbox.from_string(template)


class _QuickAttributes:
    """Over a Jinja sandbox: two kinds of attribute that templates ask for in every turn (``message.role``, ``loop.first``)
    without the sandbox's checks, which they always pass."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What the sandbox would find: an entry of a dict unless dicts have such an attribute, a public attribute of a loop."""
        if type(obj) is dict and attribute in obj and attribute not in _OF_DICTS:
            return obj[attribute]
        if type(obj) is LoopContext and attribute in _OF_LOOPS:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)  # type: ignore[misc]


_OF_DICTS = frozenset(dir(dict))
_OF_LOOPS = frozenset(("first", "last", "index", "index0"))


class Guardrails:
    """Puts guardrails into the system message by one template; ``template`` is what a run records."""

    def __init__(self, template: str) -> None:
        self.template = template
        compiled = ImmutableSandboxedEnvironment().from_string(template)

        @lru_cache(maxsize=4096)
        def fill(system: str, guardrails: tuple[str, ...]) -> str:
            return compiled.render(system=system, guardrails=guardrails).strip()

        self._fill = fill

    def apply(self, dialogue: Dialogue) -> tuple[Message, ...]:
        """The messages as the model is to read them, the guardrails in the system message or a new one."""
        messages = dialogue.messages
        if not dialogue.guardrails:
            return messages
        if messages and messages[0].role in SYSTEM_ROLES:
            system, *rest = messages
        else:
            system, rest = Message("system", ""), list(messages)
        text = self._fill(system.content, tuple(dialogue.guardrails))
        return (Message(system.role, text, system.extra), *rest)


def fold_system(messages: Sequence[Message]) -> Sequence[Message]:
    """For templates without a system role: the system text opens the first user message.

    >>> [m.content for m in fold_system([Message("system", "Be kind."), Message("user", "Hi")])]
    ['Be kind.\\n\\nHi']
    """
    if not messages or messages[0].role not in SYSTEM_ROLES:
        return messages
    system, *rest = messages
    if rest and rest[0].role == "user":
        return [Message("user", f"{system.content}\n\n{rest[0].content}", rest[0].extra), *rest[1:]]
    return [Message("user", system.content), *rest]
