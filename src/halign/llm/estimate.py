"""What a job would cost, before any call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from halign.errors import HalignError
from halign.llm.cost import UNKNOWN, cost
from halign.llm.endpoint import Endpoint
from halign.llm.request import Request


@dataclass(frozen=True)
class Estimate:
    """What a job would ask for, without asking.

    Attributes:
        calls: requests that the cache cannot answer, each once.
        cached: prompts that cost nothing: the cache has them, or another prompt of the job asks the same.
        prompt_tokens: of those calls, counted as ``counted`` says.
        reply_tokens: at most; None where a request does not bound its reply.
        cost: at most, if the prompt tokens are right; None where a price or a bound is unknown.
    """

    calls: int
    cached: int
    prompt_tokens: int
    reply_tokens: int | None
    counted: str
    cost: float | None
    priced: bool

    def __add__(self, other: Estimate) -> Estimate:
        """Two of one endpoint as one."""
        reply = None if None in (a := self.reply_tokens, b := other.reply_tokens) else (a or 0) + (b or 0)
        money = None if None in (c := self.cost, d := other.cost) else (c or 0.0) + (d or 0.0)
        return Estimate(
            self.calls + other.calls,
            self.cached + other.cached,
            self.prompt_tokens + other.prompt_tokens,
            reply,
            other.counted if other.calls else self.counted,
            money,
            self.priced and other.priced,
        )

    def __str__(self) -> str:
        calls = (
            f"{self.calls:,} call{'' if self.calls == 1 else 's'}, {self.cached:,} more answered by the cache"
        )
        prompt = f"about {self.prompt_tokens:,} prompt tokens ({self.counted})"
        reply = (
            f"at most {self.reply_tokens:,} reply tokens"
            if self.reply_tokens is not None
            else "replies without a bound"
        )
        if not self.priced:
            money = UNKNOWN
        elif self.cost is None:
            money = "cost unknown (set max_tokens)"
        else:
            money = f"at most about {self.cost:.4g}"
        return f"{calls}; {prompt}, {reply}; {money}"


@dataclass
class Planned:
    """Adds up what the calls of one job to one endpoint would cost."""

    estimates: list[Estimate] = field(default_factory=list)

    def add(self, estimate: Estimate) -> None:
        """Takes note of one batch; only the sum is kept."""
        self.estimates = [self.estimates[0] + estimate] if self.estimates else [estimate]

    def __str__(self) -> str:
        return str(self.estimates[0]) if self.estimates else "no calls"


def estimate(endpoint: Endpoint, todo: Sequence[Request], cached: int) -> Estimate:
    """What these requests would cost."""
    count, how = counter(endpoint) if todo else (_by_characters, "nothing to count")
    prompt = sum(count(r) for r in todo)
    bounds = [r.max_tokens for r in todo]
    reply = None if None in bounds else sum(b for b in bounds if b is not None)
    money = None if reply is None else cost(endpoint, prompt, reply)
    return Estimate(len(todo), cached, prompt, reply, how, money, cost(endpoint, 0, 0) is not None)


def counter(endpoint: Endpoint) -> tuple[Callable[[Request], int], str]:
    """How prompts are counted: by a tokenizer on this machine, else by characters; and in words, which.

    Raises:
        HalignError: the tokenizer that the endpoint names is not on this machine.
    """
    name = endpoint.tokenizer or (endpoint.model if _may_be_here(endpoint.model) else None)
    if name is None:
        return _by_characters, "characters/4"
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except Exception as error:
        if endpoint.tokenizer:
            raise HalignError(
                f"endpoint {endpoint}: tokenizer = {name!r} is not on this machine: {error}"
            ) from error
        return _by_characters, "characters/4"

    def by_tokenizer(request: Request) -> int:
        messages = [{"role": m["role"], "content": str(m.get("content") or "")} for m in request.messages]
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n".join(m["content"] for m in messages)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return by_tokenizer, f"by the tokenizer of {name}"


def _may_be_here(model: str) -> bool:
    """Looking for a tokenizer costs seconds of import; a hub's folder or a path is looked at first."""
    if Path(model).is_dir():
        return True
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE, f"models--{model.replace('/', '--')}").is_dir()


def _by_characters(request: Request) -> int:
    characters = sum(len(str(m.get("content") or "")) for m in request.messages)
    return -(-characters // 4)
