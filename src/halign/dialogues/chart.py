"""Flow charts: what a bot may say, and what may follow what.

A chart's nodes are replies (texts with slots such as ``{city:s}``) or silent: queries to a back end, and conditions, which are
what a user answers or a query gives ("Yes", "Unavailable"). STAR's files (``guidelines/star_tasks.json``; Mosig et al. 2020,
arXiv 2010.11853) are read as they are; a chart of one's own is YAML or JSON:

    nodes:
      hello: "Hello, how can I help?"
      ask_city: "Which city?"
      forecast: "It will be {weather} in {city}."
    edges: {hello: ask_city, ask_city: look_up, look_up: forecast}
    silent: [look_up]

How an edge is read, for STAR's files leave it open:

- Silent nodes are passed through: from ask_city the next reply is forecast.
- A node without an edge into it that is silent is a *condition*. No chart says where a condition is met, so what follows one may
  be said at any turn.
- A reply on no edge at all (say, "I did not understand") is *free*: no edge governs when it is said.
- A chart is entered at a reply that no edge leads to, or right behind one: a greeting may have been said for another task, or
  before the part of the conversation that there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from halign.errors import HalignError


@dataclass(frozen=True)
class FlowChart:
    """One chart.

    Attributes:
        texts: node -> what the bot says there, of nodes that are said; slots in braces.
        edges: node -> the nodes that may come next.
    """

    task: str
    texts: Mapping[str, str]
    edges: Mapping[str, tuple[str, ...]]

    @cached_property
    def _entered(self) -> frozenset[str]:
        """Nodes with an edge into them."""
        return frozenset(v for following in self.edges.values() for v in following)

    @cached_property
    def free(self) -> frozenset[str]:
        """Replies on no edge."""
        return frozenset(self.texts) - self._entered - frozenset(self.edges)

    @cached_property
    def starts(self) -> frozenset[str]:
        """Replies with which the chart may begin."""
        first = frozenset(n for n in self.texts if n in self.edges and n not in self._entered)
        return first.union(*(self.after(n) for n in first)) if first else frozenset()

    @cached_property
    def conditional(self) -> frozenset[str]:
        """Replies that follow a condition."""
        conditions = [n for n in self.edges if n not in self.texts and n not in self._entered]
        return frozenset().union(*(self.after(n) for n in conditions)) if conditions else frozenset()

    def after(self, node: str) -> frozenset[str]:
        """The replies that an edge allows after a node, silent nodes passed through."""
        found: set[str] = set()
        waiting, seen = list(self.edges.get(node, ())), {node}
        while waiting:
            at = waiting.pop()
            if at in self.texts:
                found.add(at)
            elif at not in seen:
                seen.add(at)
                waiting += self.edges.get(at, ())
        return frozenset(found)

    def ahead(self, node: str | None) -> frozenset[str]:
        """The replies that can be reached along edges from a node, or from the chart's beginning (None)."""
        found: set[str] = set()
        waiting = list(self.starts if node is None else self.after(node))
        while waiting:
            at = waiting.pop()
            if at not in found:
                found.add(at)
                waiting += self.after(at)
        return frozenset(found)


def read_charts(file: str | Path) -> dict[str, FlowChart]:
    """The charts of a file, by task: STAR's tasks, one chart, or charts by task.

    Raises:
        HalignError: no such file, not YAML or JSON, a chart without nodes, an edge to a node that is not there.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise HalignError(f"flow chart {path} cannot be read: {error}") from None
    if not isinstance(found, Mapping):
        raise HalignError(f"flow chart {path}: nodes and edges are needed, or a chart for each task")
    if "nodes" in found or "flow" in found:
        found = {str(found.get("task", path.stem)): found}
    charts = {str(task): _chart(str(task), one, path) for task, one in found.items()}
    if not charts:
        raise HalignError(f"flow chart {path}: there is no chart in it")
    return charts


def _chart(task: str, row: Any, path: Path) -> FlowChart:
    where = f"flow chart {path}: {task}"
    nodes: Any
    graph: Any
    if not isinstance(row, Mapping):
        raise HalignError(f"{where}: nodes and edges are needed")
    if "flow" in row:
        nodes, graph, silent = _star(row)
    else:
        silent = set(map(str, row.get("silent", ())))
        nodes, graph = row.get("nodes"), row.get("edges", {})
    if not isinstance(nodes, Mapping) or not isinstance(graph, Mapping) or not nodes:
        raise HalignError(f"{where}: nodes (name: text) and edges (name: next, or a list) are needed")
    edges = {str(a): _names(b) for a, b in graph.items()}
    texts = {str(n): str(t) for n, t in nodes.items() if str(n) not in silent}
    for name in (*edges, *(v for following in edges.values() for v in following)):
        if name not in texts and name not in silent:
            raise HalignError(f"{where}: edges: there is no node {name!r}; add it to nodes, or to silent")
    return FlowChart(task, texts, edges)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _star(row: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, Any], set[str]]:
    """Nodes, edges and silent nodes. STAR's ``responses`` lack some replies of the chart (nothing_found); what ends as a
    sentence is said as well."""
    flow, said = row["flow"], row.get("responses", {})
    nodes: Mapping[str, str] = flow["replies"]
    silent = {n for n, text in nodes.items() if n not in said and not text.rstrip().endswith((".", "?", "!"))}
    return nodes, flow["graph"], silent


def of_tasks(charts: Mapping[str, FlowChart], tasks: Iterable[str]) -> list[FlowChart]:
    """The charts of some tasks; all where none is named.

    Raises:
        HalignError: a task has no chart.
    """
    wanted = list(tasks)
    for task in wanted:
        if task not in charts:
            raise HalignError(f"task {task!r} has no flow chart; there are {', '.join(charts)}")
    return [charts[t] for t in wanted] or list(charts.values())
