"""What calls cost: counted from the endpoint's own usage, bounded by a budget, estimated before any call."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.llm.endpoint import Endpoint
from halign.llm.request import Reply, Request

MILLION = 1e6
_OVERHEAD = 64  # tokens that a server's template may add of its own


def cost(endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> float | None:
    """In the currency of the prices; None where a price is unknown.

    >>> cost(Endpoint("http://x", "m", input_price=2, output_price=10), 500_000, 100_000)
    2.0
    """
    if endpoint.input_price is None or endpoint.output_price is None:
        return None
    return (prompt_tokens * endpoint.input_price + completion_tokens * endpoint.output_price) / MILLION


def most_tokens(request: Request) -> int:
    """A bound of the prompt's tokens: no tokenizer makes more of them than there are bytes."""
    said = json.dumps([*request.messages, *request.tools, request.response_format], ensure_ascii=False)
    return len(said.encode("utf-8", "surrogatepass")) + _OVERHEAD


@dataclass
class Ledger:
    """What a client has spent.

    Attributes:
        budget: what it may cost in all, in the currency of the prices; None: no bound.
        calls: requests answered by the endpoint; ``cached``: by the cache, at no cost.
        retries: attempts that failed and were made again.
        unsure: attempts that were cut or timed out, which the endpoint may charge for all the same; ``unsure_cost`` bounds them
            and counts against the budget.
        without_usage: answers whose tokens the endpoint did not count. They are missing from the tokens and the cost; the
            budget takes each at its bound.
        reserved: bound of what is in flight; ``in_flight``: how many calls that is.
    """

    endpoint: Endpoint
    budget: float | None = None
    calls: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    without_usage: int = 0
    unsure: int = 0
    unsure_cost: float = 0.0
    reserved: float = 0.0
    in_flight: int = 0
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.budget is None:
            return
        if self.budget < 0:
            raise HalignError(f"endpoint {self.endpoint}: budget = {self.budget} is negative")
        if cost(self.endpoint, 0, 0) is None:
            raise HalignError(
                f"endpoint {self.endpoint}: a budget needs prices. Set input_price and output_price (per million tokens)"
            )

    @property
    def cost(self) -> float | None:
        """What the counted tokens cost; None where a price is unknown."""
        return cost(self.endpoint, self.prompt_tokens, self.completion_tokens)

    def bound(self, request: Request) -> float:
        """What one call costs at most; 0 without a budget.

        Raises:
            HalignError: a budget is set and the reply's length is not bounded.
        """
        if self.budget is None:
            return 0.0
        if request.max_tokens is None:
            raise HalignError(
                f"endpoint {self.endpoint}: a budget needs max_tokens in every request, or a reply's cost has no bound"
            )
        return cost(self.endpoint, most_tokens(request), request.max_tokens) or 0.0

    def reserve(self, amount: float) -> bool:
        """Set an amount aside for a call, if the budget has it left."""
        with self._lock:
            if self.budget is not None and self._committed + amount > self.budget:
                return False
            self.reserved += amount
            self.in_flight += 1
            return True

    @property
    def _committed(self) -> float:
        return (self.cost or 0.0) + self.unsure_cost + self.reserved

    def settle(self, amount: float, reply: Reply | None, *, unsure: bool = False) -> None:
        """A call ended: what was set aside becomes what it cost."""
        with self._lock:
            self.in_flight -= 1
            self.reserved = self.reserved - amount if self.in_flight else 0.0  # no rounding is carried on
            if reply is None:
                self.unsure += unsure
                self.unsure_cost += amount if unsure else 0.0
                return
            self.calls += 1
            if reply.prompt_tokens is None or reply.completion_tokens is None:
                self.without_usage += 1
                self.unsure_cost += amount
                return
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens

    def __str__(self) -> str:
        said = [
            f"{self.calls} calls and {self.cached} answers from the cache",
            f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} reply tokens",
            _money(self.cost) if self.cost is not None else UNKNOWN,
        ]
        if self.retries:
            said.append(f"{self.retries} attempts repeated")
        if self.unsure:
            said.append(f"{self.unsure} cut off, which may be charged all the same")
        if self.without_usage:
            said.append(f"{self.without_usage} without a count of tokens")
        return "; ".join(said)


UNKNOWN = "cost unknown (set input_price and output_price, per million tokens)"


def _money(amount: float) -> str:
    return f"cost {amount:,.4g}"


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
