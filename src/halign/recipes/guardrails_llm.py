"""The language model behind an endpoint that helps the guardrails recipe, and what it has cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.builders import Tools

SPENT = "spent.json"
"""What a stage has spent: calls, and cost in the currency of the prices."""


def tools_of(llm: Mapping[str, Any]) -> Tools:
    """Writer and judge behind the endpoint, if one is named.

    Raises:
        HalignError: an address without a model's name, a name without an address, settings that the endpoint does not take.
    """
    from halign.builders import Tools
    from halign.builders.writers import EndpointWriter
    from halign.judges.yes_no import EndpointYesNo
    from halign.llm import Client, Endpoint

    given = {k: v for k, v in llm.items() if v is not None}
    url, model, budget = (given.pop(k, None) for k in ("url", "model", "budget"))
    if (url is None) != (model is None):
        raise HalignError("--llm and --llm-model go together: the address, and the model's name there")
    if url is None:
        return Tools()
    client = Client(Endpoint(str(url), str(model), **given), budget=budget)
    return Tools(EndpointWriter(client), EndpointYesNo(client))


@contextmanager
def paid(llm: Mapping[str, Any], output: Path, *before: Path) -> Iterator[Tools]:
    """Writer and judge with what is left of the budget. What they spend is added up in the stage's ``SPENT``, also where it stops
    on the way; only what a process spent that was killed outright is not known there.

    Args:
        output: folder of the stage; ``before``: of those before it, whose spending counts against the same budget.
    """
    earlier = spent(output)
    gone = sum(spent(folder)["cost"] for folder in (output, *before))
    left = {} if llm.get("budget") is None else {"budget": max(0.0, llm["budget"] - gone)}
    tools = tools_of({**llm, **left})
    try:
        yield tools
    finally:
        if (client := getattr(tools.writer, "client", None)) is not None:
            ledger = client.spent
            cost = earlier["cost"] + ledger.counts.bound
            said = {"calls": earlier["calls"] + ledger.calls, "cost": cost, "priced": ledger.cost is not None}
            (output / SPENT).write_text(json.dumps(said))


def spent(folder: Path) -> dict[str, Any]:
    """What a stage has spent; nothing where it asked nobody."""
    found: dict[str, Any] = {"calls": 0, "cost": 0.0, "priced": True}
    if (folder / SPENT).exists():
        found |= json.loads((folder / SPENT).read_text())
    return found


def bill(*folders: Path) -> str:
    """What stages have spent, in words; '' where nobody was asked.

    >>> bill()
    ''
    """
    parts = [spent(f) for f in folders]
    calls = sum(p["calls"] for p in parts)
    if not calls:
        return ""
    cost = f"at a cost of {sum(p['cost'] for p in parts):,.4g}"
    return f"The language model was asked {calls:,} times, {cost if all(p['priced'] for p in parts) else 'at unknown cost'}."
