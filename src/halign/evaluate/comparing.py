"""Two policies or more, a set of prompts, a judge: who is better at what, by as few comparisons as the interval asked for
needs."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.evaluate.comparison import Comparison
from halign.evaluate.standing import Contest, Standing
from halign.judges import Judge
from halign.judges.folder import JudgedFolder, Watch, about, judge_chunk, spent_in_words
from halign.judges.protocol import can_compare, name_of
from halign.judges.recording import PairCase
from halign.judges.records import JudgedItem
from halign.judges.stored import item_of
from halign.sampling import TransformersSampler
from halign.sampling.versions import version_of

Quiet: Watch = lambda done, total, note: None  # noqa: E731


def compare(
    a: Any,
    b: Any,
    prompts: Sequence[Dialogue],
    *,
    judge: Judge,
    names: tuple[str, str] | None = None,
    conversations: Sequence[str] | None = None,
    interval: float | None = None,
    output: str | Path | None = None,
    **sampling: Any,
) -> Comparison:
    """Sample a reply of either policy to every prompt, let the judge compare them in both orders, and count.

    Args:
        a, b: policies, or anything that has ``.sample`` (a ``Sampler``).
        names: what to call them; their paths if not given.
        conversations: the conversation of each prompt, which clusters the intervals; each prompt its own if
            None.
        interval, output: as for ``compare_all``.
        sampling: ``temperature``, ``max_new_tokens``, ``seed`` ... of the sampler.
    """
    called = names or (str(getattr(a, "path", "A")), str(getattr(b, "path", "B")))
    if called[0] == called[1]:
        called = (f"{called[0]} (A)", f"{called[1]} (B)")
    standing = compare_all(
        dict(zip(called, (a, b), strict=True)),
        prompts,
        judge=judge,
        conversations=conversations or [str(i) for i in range(len(prompts))],
        interval=interval,
        output=output,
        **sampling,
    )
    return standing.comparisons[called]


def compare_all(
    models: Mapping[str, Any],
    prompts: Sequence[Dialogue],
    *,
    judge: Judge,
    conversations: Sequence[str] | None = None,
    interval: float | None = None,
    chunk: int = 32,
    output: str | Path | None = None,
    overwrite: bool = False,
    command: str = "",
    watch: Watch = Quiet,
    **sampling: Any,
) -> Standing:
    """Let the judge compare the replies of several models.

    Args:
        models: name -> a policy, a sampler, or the replies themselves, one for each prompt.
        conversations: of each prompt; None: its ``meta["conversation"]``, else each prompt its own.
        interval: the half-width to reach, of every pair's advantage; None: every pair on every prompt. With one, prompts are
            taken in random order, ``chunk`` at a time, and judging stops when all are narrow enough (``planning``).
        output: a judged folder to write, taken up if it is there; None: nothing is kept.
        command: for judging.json.
        sampling: of the sampler. ``seed`` also shuffles the prompts.

    Raises:
        HalignError: the judge does not compare, fewer than two models, another number of replies than of prompts, ``interval``
            out of range, or as the judge's, the sampler's and ``JudgedFolder``'s.
    """
    if not can_compare(judge):
        raise HalignError(f"judge {name_of(judge)} grades single replies and does not compare")
    if len(models) < 2 or not prompts:
        raise HalignError(
            f"{len(models)} models and {len(prompts)} prompts: a comparison needs two models and a prompt"
        )
    if interval is not None and not 0 < interval < 1:
        raise HalignError(
            f"interval = {interval:g} is out of range (a half-width of the advantage, above 0 and below 1)"
        )
    items = _items(prompts, conversations)
    sources = {name: _source(name, m, items, sampling) for name, m in models.items()}
    identity = {"items": items, "models": list(models), "judge": about([judge]), "sampling": sampling}
    with _folder(
        output, {**identity, "replies": [s.identity for s in sources.values()]}, overwrite
    ) as folder:
        contest = Contest(list(models), folder.records)
        if interval is None:
            _all(folder, contest, judge, items, sources, chunk, watch)
        else:
            _as_needed(
                folder, contest, judge, items, sources, chunk, watch, interval, int(sampling.get("seed", 0))
            )
        if output is not None:
            folder.finish(
                {"judges": about([judge]), "models": list(models), "interval": interval, "command": command}
            )
    return contest.standing(interval)


class _Stored:
    """Replies that there are."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.replies = self.identity = list(replies)

    def __call__(self, places: Sequence[int], seen: int) -> list[str]:
        return [self.replies[i] for i in places]


class _Sampled:
    """Replies that a model is asked for. Draws of a local sampler depend on the place in a call, so each call has a seed."""

    def __init__(self, model: Any, prompts: Sequence[Dialogue], sampling: Mapping[str, Any]) -> None:
        self.sampler = model if hasattr(model, "sample") else TransformersSampler(model)
        self.identity = version_of(self.sampler)
        self.prompts, self.sampling = prompts, sampling

    def __call__(self, places: Sequence[int], seen: int) -> list[str]:
        seed = int(self.sampling.get("seed", 0)) + 1_000_003 * seen
        found = self.sampler.sample([self.prompts[i] for i in places], **{**self.sampling, "seed": seed})
        return [samples[0].text for samples in found]


def _source(name: str, model: Any, items: Sequence[JudgedItem], sampling: Mapping[str, Any]) -> Any:
    if not isinstance(model, list | tuple):
        return _Sampled(model, [i.dialogue for i in items], sampling)
    if len(model) != len(items):
        raise HalignError(f"{name}: {len(model)} replies to {len(items)} prompts; one to each is needed")
    return _Stored(model)


def _items(prompts: Sequence[Dialogue], conversations: Sequence[str] | None) -> list[JudgedItem]:
    found: list[JudgedItem] = []
    seen: dict[str, int] = {}
    for i, prompt in enumerate(prompts):
        name = str(prompt.meta.get("conversation", i)) if conversations is None else str(conversations[i])
        key = f"{name}:{len(prompt)}"
        seen[key] = seen.get(key, 0) + 1
        meta = {**prompt.meta, "conversation": name}
        found.append(item_of(replace(prompt, meta=meta), {}, seen[key]))
    return found


@contextmanager
def _folder(
    output: str | Path | None, identity: Mapping[str, Any], overwrite: bool
) -> Iterator[JudgedFolder]:
    if output is not None:
        yield JudgedFolder(output, identity, overwrite=overwrite)
        return
    with tempfile.TemporaryDirectory() as path:
        yield JudgedFolder(path, identity)


def _all(
    folder: JudgedFolder,
    contest: Contest,
    judge: Any,
    items: Sequence[JudgedItem],
    sources: Mapping[str, Any],
    chunk: int,
    watch: Watch,
) -> None:
    """Every pair on every prompt."""
    answered = _answered(folder, [(i, set(sources)) for i in range(len(items))], items, sources)
    cases = [(item, a, b) for item in answered for a, b in combinations(sources, 2)]
    todo = [c for c in cases if not contest.judged(c)]
    for start in range(0, len(todo), chunk):
        contest.add(judge_chunk(folder, judge, todo[start : start + chunk]))
        watch(len(cases) - len(todo) + min(len(todo), start + chunk), len(cases), spent_in_words(judge))


def _as_needed(
    folder: JudgedFolder,
    contest: Contest,
    judge: Any,
    items: Sequence[JudgedItem],
    sources: Mapping[str, Any],
    chunk: int,
    watch: Watch,
    interval: float,
    seed: int,
) -> None:
    """Chunk by chunk, until every interval is narrow enough or nothing is left to compare."""
    order = _shuffled(items, seed)
    every = len(items) * len(list(combinations(sources, 2)))
    while (width := contest.widest()) > interval:
        open_pairs = {i: contest.open_at(items[i].item) for i in order}
        left = sorted((i for i in order if open_pairs[i]), key=lambda i: -len(open_pairs[i]))[:chunk]
        if not left:
            return
        chosen = contest.choose([open_pairs[i] for i in left])
        needs = [(i, set(pair)) for i, pair in zip(left, chosen, strict=True)]
        answered = _answered(folder, needs, items, sources)
        cases: list[PairCase] = [(item, *pair) for item, pair in zip(answered, chosen, strict=True)]
        contest.asked(cases)
        contest.add(judge_chunk(folder, judge, cases))
        note = f"widest interval ±{contest.widest():.3f} {spent_in_words(judge)}" if width else ""
        watch(contest.compared, every, note)


def _answered(
    folder: JudgedFolder,
    needs: Sequence[tuple[int, set[str]]],
    items: Sequence[JudgedItem],
    sources: Mapping[str, Any],
) -> list[JudgedItem]:
    """The items with the replies that are needed; what the folder has is not asked again."""
    have = {
        i: dict(folder.items[items[i].item].replies) if items[i].item in folder.items else {}
        for i, _ in needs
    }
    seen = sum(len(i.replies) for i in folder.items.values())
    for name, source in sources.items():
        places = [i for i, wanted in needs if name in wanted and name not in have[i]]
        for i, reply in zip(places, source(places, seen) if places else (), strict=True):
            have[i][name] = reply
    found = [replace(items[i], replies={n: have[i][n] for n in sources if n in have[i]}) for i, _ in needs]
    folder.add_items(found)
    return found


def _shuffled(items: Sequence[JudgedItem], seed: int) -> list[int]:
    """Places in random order."""
    places = list(range(len(items)))
    random.Random(seed).shuffle(places)
    return places
