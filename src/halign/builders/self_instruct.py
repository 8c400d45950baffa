"""New tasks from seed tasks (self-instruct: Wang et al. 2023, arXiv 2212.10560, section 2).

Each request shows the writer six of the file's tasks and two of its own and asks it to go on with the list. What it writes is
filtered (``instructions.py``), and what is too like a task of the pool is left out (``instruction_pool.py``). Every new task is
said to be a classification or not; of a classification the instances are written output first, so that all labels come up, of
others input first. Tasks with instances join the pool.

Departures: the requests are worded for chat models, with examples of our own; the code's presence penalty is left out, which
local models and many servers do not have; a task that got no instance does not join the pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from halign.builders import instructions as rules
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.instruction_pool import THRESHOLD, InstructionPool
from halign.builders.tools import Tools
from halign.curation.source import Row, RowSource
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration
from halign.judges.questions import filled

LIST = """\
Come up with a series of tasks of many kinds. Below are the first {{ count }}; go on with the list from {{ count + 1 }} to \
{{ count + new }}, one numbered line for each, and write nothing else.

{% for task in tasks %}{{ loop.index }}. {{ task }}
{% endfor %}"""
IS_CLASSIFICATION = """\
Task: Tell whether the message is spam or not.
Is it a classification task with a finite set of output labels? Yes

Task: Write a toast for my sister's wedding.
Is it a classification task with a finite set of output labels? No

Task: Choose the longest of the four words.
Is it a classification task with a finite set of output labels? Yes

Task: Explain why the sky is blue.
Is it a classification task with a finite set of output labels? No

Task: {{ task }}
Is it a classification task with a finite set of output labels?"""
IN_WORDS = " Answer with Yes or No and nothing else."
OUTPUT_FIRST = """\
Write examples of a classification task: first a class label, and below it an input that has this label. Go through the labels \
in turn, {{ most }} examples at most, in the form of the sample. If the task needs no input, write the labels alone.

Task: Tell whether the review is positive or negative.
Class label: Positive
The soup came hot and the waiter was kind.
Class label: Negative
We waited for an hour, and then the soup was cold.

Task: {{ task }}"""
INPUT_FIRST = """\
Write examples of a task: an input, and the output that is right for it, {{ most }} examples at most, in the form of the sample. \
If the task needs no input, write one example with its output alone.

Task: Give the sum of the numbers.
Example 1
Input: 2, 3, 10
Output: 15
Example 2
Input: 7, 7
Output: 14

Task: {{ task }}"""

CROWD = 8  # new tasks that one request asks for
ALIKE, TASKLESS, UNSURE = (
    "too like a task of the pool",
    "tasks without an instance",
    "tasks of which the kind is not known",
)


class Settings(BuilderSettings):
    """Of ``self_instruct``."""

    chunk: int = Field(
        8, ge=1, description="requests that are made together; later ones see the tasks of earlier chunks"
    )
    tasks: int = Field(100, ge=1, description="new tasks that are wanted; what comes beyond is not asked for")
    requests: int = Field(100, ge=1, description="requests for new tasks at most")
    seeds: int = Field(6, ge=1, description="tasks of the file that a request shows")
    own: int = Field(
        2, ge=0, description="new tasks that a request shows; seeds stand in while there are too few"
    )
    threshold: float = Field(
        THRESHOLD, gt=0, le=1, description="ROUGE-L from which a task is too like another"
    )
    instances: int = Field(rules.MOST_INSTANCES, ge=1, description="instances of a task at most")
    temperature: float = Field(0.7, ge=0, description="of requests for tasks; instances are written at 0")
    top_p: float = Field(0.5, gt=0, le=1, description="of requests for tasks")
    max_new_tokens: int = Field(1024, ge=1, description="longest list of tasks, in tokens")
    instance_tokens: int = Field(350, ge=1, description="longest list of instances, in tokens")


@dataclass(frozen=True, slots=True)
class Request(Row):
    """One request, as the driver counts it; ``number`` is its own, ``seeds`` are all rows of the file."""

    seeds: tuple[Row, ...] = ()


@dataclass
class Pool:
    """The tasks so far. It is read from what earlier chunks built once in a process, and kept up after that."""

    known: InstructionPool | None = None
    own: list[str] = field(default_factory=list)

    def load(self, seeds: Sequence[Row], settings: Settings, tools: Tools) -> InstructionPool:
        """Seeds, and new tasks in order."""
        if self.known is None:
            self.own = list(dict.fromkeys(str(row["task"]) for row in tools.so_far()))
            self.known = InstructionPool([*map(task_of, seeds), *self.own], settings.threshold)
        return self.known

    def join(self, task: str) -> None:
        """One more new task."""
        assert self.known is not None
        self.known.put(task)
        self.own.append(task)


@dataclass
class Draft:
    """A new task on its way."""

    task: str
    rows: tuple[Row, ...]
    keys: list[str]
    classes: bool | None = None


def read(file: str, settings: Settings) -> Iterable[Request]:
    """The requests; each knows all seeds.

    Raises:
        HalignError: as ``RowSource``; fewer seeds than a request shows.
    """
    seeds = tuple(row for row in RowSource(file) if task_of(row))
    if len(seeds) < settings.seeds + settings.own:
        raise HalignError(
            f"self_instruct: {file} holds {len(seeds)} tasks, and a request shows {settings.seeds + settings.own}; give more "
            "tasks, or set seeds= and own= lower"
        )
    return (Request(n, {}, None, None, "", seeds) for n in range(1, settings.requests + 1))


def task_of(row: Row) -> str:
    """The instruction of a seed, without its input where that stands apart."""
    said = row.row.get("instruction")
    if isinstance(said, str):
        return said.strip()
    return next((m.content.strip() for m in row.dialogue.messages if m.role == "user"), "")


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """New tasks with their instances, of a chunk's requests."""
    made, pool = Made(), tools.prepared
    requests = [row for row in rows if isinstance(row, Request)]
    known = pool.load(requests[0].seeds, settings, tools)
    if (wanted := settings.tasks - len(pool.own)) <= 0:
        return made
    drafts = _new(requests, pool.own, settings, tools)
    fresh = _unlike(_fit(drafts, made), known, settings, made)[:wanted]
    _classify(fresh, tools)
    made.dropped += Counter({UNSURE: sum(d.classes is None for d in fresh)})
    for draft, found in _instances([d for d in fresh if d.classes is not None], settings, tools, made):
        if not found:
            made.dropped[TASKLESS] += 1
            continue
        pool.join(draft.task)
        made.tallies["classification tasks" if draft.classes else "other tasks"] += 1
        made.built += [_built(draft, one, known) for one in found]
    return made


def _new(requests: Sequence[Request], own: Sequence[str], settings: Settings, tools: Tools) -> list[Draft]:
    """What the writer adds to each list."""
    shown = [_shown(r, own, settings, tools) for r in requests]
    asked = [_asking(LIST, tasks=tasks, count=len(tasks), new=CROWD) for tasks, _ in shown]
    groups = tools.write(
        asked, temperature=settings.temperature, top_p=settings.top_p, max_new_tokens=settings.max_new_tokens
    )
    count = settings.seeds + settings.own
    return [
        Draft(task, rows, [said.key])
        for (_, rows), group in zip(shown, groups, strict=True)
        for said in group
        for task in rules.instructions_in(said.text, said.finished, count + 1)[:CROWD]
    ]


def _shown(
    request: Request, own: Sequence[str], settings: Settings, tools: Tools
) -> tuple[list[str], tuple[Row, ...]]:
    """The tasks that a request shows, mixed, and the seeds among them."""
    random = tools.draws("request", request.number)
    mine = random.sample(own, min(settings.own, len(own)))
    rows = tuple(random.sample(request.seeds, settings.seeds + settings.own - len(mine)))
    tasks = [" ".join(t.split()).rstrip(":") for t in [*mine, *map(task_of, rows)]]
    random.shuffle(tasks)
    return tasks, rows


def _asking(template: str, **words: object) -> Dialogue:
    return Dialogue((Message("user", filled(template, **words)),))


def _fit(drafts: Iterable[Draft], made: Made) -> Iterator[Draft]:
    for draft in drafts:
        made.tallies["tasks that the writer gave"] += 1
        if why := rules.unfit(draft.task):
            made.dropped[why] += 1
        else:
            yield draft


def _unlike(drafts: Iterable[Draft], known: InstructionPool, settings: Settings, made: Made) -> list[Draft]:
    """Those that are like no task of the pool, and like none before them."""
    fresh = InstructionPool(threshold=settings.threshold)
    found = []
    for draft in drafts:
        if known.alike(draft.task) is None and fresh.add(draft.task):
            found.append(draft)
        else:
            made.dropped[ALIKE] += 1
    return found


def _classify(drafts: Sequence[Draft], tools: Tools) -> None:
    """Says of each whether it is a classification: the judge, or the writer in a word."""
    questions = [filled(IS_CLASSIFICATION, task=d.task) for d in drafts]
    if tools.judge is not None:
        for draft, chance in zip(drafts, tools.ask(questions), strict=True):
            if chance is not None:
                draft.classes = chance.yes > 0.5
                draft.keys += chance.keys
        return
    asked = [Dialogue((Message("user", q + IN_WORDS),)) for q in questions]
    for draft, group in zip(drafts, tools.write(asked, temperature=0.0, max_new_tokens=8), strict=True):
        for said in group:
            word = said.text.strip().lower()
            draft.classes = True if word.startswith("yes") else False if word.startswith("no") else None
            draft.keys.append(said.key)


def _instances(
    drafts: Sequence[Draft], settings: Settings, tools: Tools, made: Made
) -> Iterator[tuple[Draft, list[rules.Instance]]]:
    asked = [
        _asking(OUTPUT_FIRST if d.classes else INPUT_FIRST, task=d.task, most=settings.instances)
        for d in drafts
    ]
    groups = tools.write(asked, temperature=0.0, max_new_tokens=settings.instance_tokens)
    for draft, group in zip(drafts, groups, strict=True):
        found: list[rules.Instance] = []
        for said in group:
            draft.keys.append(said.key)
            taken = rules.instances_of_classes if draft.classes else rules.instances_of_inputs
            found, whys = rules.fit_instances(taken(said.text, said.finished))
            made.dropped.update(whys)
        yield draft, found[: settings.instances]


def _built(draft: Draft, one: rules.Instance, known: InstructionPool) -> Built:
    prompt = f"{draft.task}\n\n{one.input}" if one.input else draft.task
    dialogue = Dialogue((Message("user", prompt), Message("assistant", one.output)))
    columns = {"task": draft.task, "task_input": one.input, "classification": draft.classes}
    name = f"task {len(known)}"
    return Built(Demonstration(dialogue, name), draft.rows, tuple(dict.fromkeys(draft.keys)), columns)


BUILDER = Builder(
    "self_instruct",
    "new tasks with instances, from seed tasks and what was made of them (self-instruct)",
    Settings,
    build,
    needs=("writer",),
    uses=("judge",),
    prepare=lambda settings: Pool(),
    read=read,
)
