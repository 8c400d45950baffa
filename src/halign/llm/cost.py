"""What calls cost: counted from the endpoint's own usage, and bounded by a budget."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field, fields
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


UNKNOWN = "cost unknown (set input_price and output_price, per million tokens)"


@dataclass(frozen=True)
class Spent:
    """What was asked and what it cost. Two of one currency add up.

    Attributes:
        cost: what the counted tokens cost; None where a price is unknown. Other fields as in ``Ledger``.

    >>> print(Spent(calls=2, prompt_tokens=10, cost=0.5) + Spent(cached=1, cost=0.25))
    2 calls and 1 answers from the cache; 10 prompt and 0 reply tokens; cost 0.75
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    without_usage: int = 0
    unsure: int = 0
    unsure_cost: float = 0.0
    cost: float | None = 0.0

    @property
    def bound(self) -> float:
        """What it may have cost: the cost as far as it is known, and the bound of what nobody counted."""
        return (self.cost or 0.0) + self.unsure_cost

    def __add__(self, other: Spent) -> Spent:
        return self._with(other, 1)

    def __sub__(self, other: Spent) -> Spent:
        return self._with(other, -1)

    def _with(self, other: Spent, sign: int) -> Spent:
        a, b = asdict(self), asdict(other)
        made: dict[str, Any] = {k: None if None in (a[k], b[k]) else a[k] + sign * b[k] for k in a}
        return Spent(**made)

    def __str__(self) -> str:
        said = [
            f"{self.calls} calls and {self.cached} answers from the cache",
            f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} reply tokens",
            UNKNOWN if self.cost is None else f"cost {self.cost:,.4g}",
        ]
        if self.retries:
            said.append(f"{self.retries} attempts repeated")
        if self.unsure:
            said.append(f"{self.unsure} cut off, which may be charged all the same")
        if self.without_usage:
            said.append(f"{self.without_usage} without a count of tokens")
        return "; ".join(said)


class Budget:
    """What several clients may spend together, in the one currency of their prices.

    Args:
        amount: in all.
        gone: what was spent of it before.

    Raises:
        HalignError: the amount is negative.
    """

    def __init__(self, amount: float, gone: float = 0.0) -> None:
        if amount < 0:
            raise HalignError(f"budget = {amount} is negative")
        self.amount, self.gone = amount, gone
        self.lock = threading.Lock()
        self._ledgers: list[Ledger] = []

    def join(self, ledger: Ledger) -> None:
        """Let one more spend of it."""
        self._ledgers.append(ledger)

    @property
    def committed(self) -> float:
        """What is spent, or set aside for calls in flight."""
        return self.gone + sum(one.counts.bound + one.reserved for one in self._ledgers)

    @property
    def left(self) -> float:
        """What nobody has spent or set aside."""
        return max(0.0, self.amount - self.committed)

    @property
    def in_flight(self) -> int:
        """Calls of all that spend of it."""
        return sum(one.in_flight for one in self._ledgers)


@dataclass
class Ledger:
    """What a client has spent.

    Attributes:
        budget: what it may cost in all, in the currency of the prices (a number becomes a ``Budget`` of its own); None: no bound.
        calls: requests answered by the endpoint; ``cached``: by the cache, at no cost.
        retries: attempts that failed and were made again.
        unsure: attempts that were cut or timed out, which the endpoint may charge for all the same; ``unsure_cost`` bounds them
            and counts against the budget.
        without_usage: answers whose tokens the endpoint did not count. They are missing from the tokens and the cost; the
            budget takes each at its bound.
        reserved: bound of what is in flight; ``in_flight``: how many calls that is.
    """

    endpoint: Endpoint
    budget: float | Budget | None = None
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
        if cost(self.endpoint, 0, 0) is None:
            raise HalignError(
                f"endpoint {self.endpoint}: a budget needs prices. Set input_price and output_price (per million tokens)"
            )
        if not isinstance(self.budget, Budget):
            self.budget = Budget(self.budget)
        self.budget.join(self)
        self._lock = self.budget.lock  # one for all that spend of it

    @property
    def counts(self) -> Spent:
        """What was spent so far."""
        return Spent(**{f.name: getattr(self, f.name) for f in fields(Spent)})

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
            if isinstance(self.budget, Budget) and self.budget.committed + amount > self.budget.amount:
                return False
            self.reserved += amount
            self.in_flight += 1
            return True

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
        return str(self.counts)
