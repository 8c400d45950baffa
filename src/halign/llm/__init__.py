"""Language models behind an OpenAI-compatible endpoint: asked side by side, paid once, never past the budget.

>>> from halign.llm import Client, Endpoint, Request
>>> client = Client(Endpoint("http://localhost:8000/v1", "some-model", input_price=0.1, output_price=0.4))
>>> print(client.dry_run([Request.of("Hello", max_tokens=10)]))
1 call, 0 more answered by the cache; about 2 prompt tokens (characters/4), at most 10 reply tokens; at most about 4.2e-06
"""

from halign.llm.client import Client
from halign.llm.cost import Budget, Ledger, Spent
from halign.llm.endpoint import Endpoint
from halign.llm.errors import (
    BudgetSpent,
    EndpointDown,
    EndpointRefused,
    Failure,
    ItemsFailed,
    Stopped,
    all_answered,
)
from halign.llm.estimate import Estimate, Planned
from halign.llm.messages import chat_messages
from halign.llm.request import Reply, Request, TokenChoices

__all__ = [
    "Budget",
    "BudgetSpent",
    "Client",
    "Endpoint",
    "EndpointDown",
    "EndpointRefused",
    "Estimate",
    "Failure",
    "ItemsFailed",
    "Ledger",
    "Planned",
    "Reply",
    "Request",
    "Spent",
    "Stopped",
    "TokenChoices",
    "all_answered",
    "chat_messages",
]
