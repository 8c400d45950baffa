"""One output of a loop of rounds: from its first prompt to its model, whatever interrupts it.

On several ranks each draws and judges its share of every chunk of prompts; what is built of that is the same on all of them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from halign.errors import HalignError
from halign.examples import Example
from halign.loops.asked import Asked, asked, fingerprint, of_round
from halign.loops.asked import row as prompt_row
from halign.loops.contract import Task
from halign.loops.drawn import described, left_out, to_row, usable
from halign.loops.groups import Group
from halign.loops.judging import judge, judgement, with_judgement
from halign.loops.round_evaluation import FILE as EVALUATION_FILE
from halign.loops.round_evaluation import evaluate
from halign.loops.round_files import Chunked, Row
from halign.loops.round_settings import RoundSettings
from halign.models import fingerprint as model_fingerprint
from halign.prepare import make_renderer
from halign.processes import Processes, check_whole, make_accelerator
from halign.progress import Display
from halign.readers import read, write_jsonl
from halign.run_folder import RunFolder, load_result
from halign.sampling import Sample, TransformersSampler
from halign.sampling.local import Settings, rows_of
from halign.training import Interrupted, Run, train
from halign.watch import stop_asked

if TYPE_CHECKING:
    from halign.loops.rounds import Rounds

EVALUATION = 1 << 30
"""Stands for a round's number in the seed of held-out replies, which is the same in every round."""


class Job:
    """Runs a loop's task. ``run`` reads from top to bottom.

    Raises:
        HalignError: for settings, data or a folder that will not do.
    """

    def __init__(self, rounds: Rounds, task: Task) -> None:
        self.rounds, self.task, self.policy = rounds, task, task.policy
        self.settings: RoundSettings = task.settings
        self.config = self.settings.config()
        accelerator = make_accelerator(self.config.train.dtype)
        check_whole(accelerator, rounds.name)
        self.processes, self.device = Processes(accelerator), accelerator.device
        self.prompts = asked(task.examples, answered="responses" in rounds.needs)
        self.held = asked(task.evaluation)[: self.settings.eval_prompts] if task.evaluation else []
        self.folder = RunFolder(task.output)
        self.renderer = make_renderer(self.policy, self.config)
        every = [self.renderer.prompt(one.prompt) for one in (*self.prompts, *self.held)]
        rows_of(
            self.policy.model, every, Settings()
        )  # a prompt without room for a reply shows now, not in some round
        self.seconds: dict[str, float] = {}
        self.record: Row = {
            **task.record,
            "loop": rounds.name,
            "model": self.policy.path,
            "model_fingerprint": model_fingerprint(self.policy.model),
            "prompts_fingerprint": fingerprint([*self.prompts, *self.held]),
            **self.settings.model_dump(mode="json"),
        }

    def run(self) -> Run:
        """Everything, in order."""
        logged = {row["step"]: row for row in self.processes.by_main(self._claim)}
        self.policy.move(self.device)  # sampling comes before training
        first = self.settings.start == "first"
        self.start = copy.deepcopy(self.policy) if self.held or first else None
        last = max(logged, default=0)
        self._become(last)
        if self.held and not logged:
            self._log({"step": 0, "split": "eval", **self._evaluated(0)})
        number = last
        while number < self.settings.rounds and not logged.get(number, {}).get("exhausted"):
            number += 1
            row = self._round(number)
            self._log(row)
            logged[number] = row
        self.policy.rendering = self.renderer.settings
        self.processes.by_main(lambda: self.folder.finish(self.policy, {"rounds": number}))
        return Run(self.folder.path, self.folder.metrics(), self.policy)

    def _claim(self) -> list[Row]:
        """Begin or go on in the folder, with the settings it was begun with; the rounds' rows so far."""
        if self.task.overwrite:
            self.folder.clear()
        if (self.folder.path / "rounds").exists():
            self.folder.check(self.record)
        else:
            self.folder.start(self.record)
            (self.folder.path / "rounds").mkdir()
        # every row stays; a line that a dying process left unfinished does not
        self.folder.forget_after(self.settings.rounds)
        return self.folder.metrics()

    def _log(self, row: Row) -> None:
        if self.processes.main:
            self.folder.log(row)

    # -- one round -----------------------------------------------------------------------------------------------------

    def _round(self, number: int) -> Row:
        """Sample, judge, build, train, evaluate; the row of metrics.jsonl."""
        self.seconds = {}
        prompts = self._prompts(number)
        samples = self._sampled(number, prompts)
        groups = self._judged(number, prompts, samples)
        row: Row = {"step": number, "split": "eval" if self.held else "train", **described(samples, groups)}
        made = self.rounds.examples([g for g in groups if g.replies], self.settings)
        row |= {"examples": len(made.examples), "dropped": {**left_out(samples), **made.dropped}}
        if not made.examples:
            if number == 1:
                why = ", ".join(f"{n} {reason}" for reason, n in row["dropped"].items())
                raise HalignError(f"round 1 gives nothing to learn from: {why or 'no replies'}")
            row["exhausted"] = True
        else:
            self.processes.by_main(partial(write_jsonl, made.examples, self._at(number) / "data.jsonl"))
            row["loss"] = self._trained(number)
        if self.held:
            row |= self._evaluated(number)
        return row | {"seconds": {phase: round(s, 1) for phase, s in self.seconds.items()}}

    def _prompts(self, number: int) -> list[Asked]:
        s = self.settings
        return [self.prompts[i] for i in of_round(len(self.prompts), s.prompts, number, s.seed)]

    def _sampled(self, number: int, prompts: Sequence[Asked]) -> list[Row]:
        s = self.settings

        def make(chunk: int, places: range) -> list[Row]:
            some = prompts[places.start : places.stop]
            drawn = self._draw(
                some,
                s.samples,
                (s.seed, number, chunk),
                places.start - chunk,
                temperature=s.temperature,
                top_p=s.top_p,
            )
            return [
                {**prompt_row(one), "responses": [to_row(sample) for sample in samples]}
                for one, samples in zip(some, drawn, strict=True)
            ]

        with self._phase("sampling", number, len(prompts)) as after:
            return self._chunked(number, "samples.jsonl", len(prompts)).fill(make, after)

    def _judged(self, number: int, prompts: Sequence[Asked], samples: Sequence[Row]) -> list[Group]:
        groups = [
            Group(one.prompt, one.conversation, usable(row), one.own, seed=(self.settings.seed, number, n))
            for n, (one, row) in enumerate(zip(prompts, samples, strict=True))
        ]
        asks = self.rounds.pairs(self.settings)
        reward = self.task.reward if "reward" in self.rounds.needs else None
        preferences = self.task.preferences if asks else None
        if reward is None and preferences is None:
            return groups

        def make(chunk: int, places: range) -> list[Row]:
            mine = groups[places.start : places.stop]
            return [judgement(g) for g in judge(mine, reward, preferences, asks)]

        with self._phase("judging", number, len(groups)) as after:
            rows = self._chunked(number, "judged.jsonl", len(groups)).fill(make, after)
        return [with_judgement(g, row) for g, row in zip(groups, rows, strict=True)]

    def _trained(self, number: int) -> float:
        """Learn this round's examples and those that are mixed in, as they stand on disk; the last step's loss."""
        files = [self._at(n) / "data.jsonl" for n in range(max(1, number - self.settings.mix), number + 1)]
        examples: list[Example] = [e for file in files for e in read(file)]
        run = RunFolder(self._at(number) / "run")
        if self.processes.by_main(lambda: run.done):
            self._become(number)
            return _loss(run)
        if number > 1 and self.settings.start == "first":
            assert self.start is not None
            self.policy.model = copy.deepcopy(self.start.model)
        settings = self.config.to_dict()
        objective = settings.pop("objective")
        began = time.monotonic()
        train(
            self.policy,
            examples,
            objective,
            output=run.path,
            quiet=self.task.quiet,
            record={"data": [str(f.relative_to(self.folder.path)) for f in files]},
            **settings,
        )
        self.seconds["training"] = time.monotonic() - began
        return _loss(run)

    def _evaluated(self, number: int) -> Row:
        """What the held-out prompts say of the policy as it is."""

        def draw(chunk: int, places: range) -> list[Sample]:
            seed = (self.settings.seed, EVALUATION, chunk)
            found = self._draw(self.held[places.start : places.stop], 1, seed, places.start - chunk)
            return [samples[0] for samples in found]

        if self.start is not None:
            self.start.rendering = self.policy.rendering = self.renderer.settings
        with self._phase("evaluating", number, len(self.held)) as after:
            return evaluate(
                self._chunked(number, EVALUATION_FILE, len(self.held)),
                self.held,
                draw,
                policy=self.policy,
                start=self.start if number else None,
                reward=self.task.reward,
                preferences=self.task.preferences,
                before=self._chunked(0, EVALUATION_FILE, len(self.held)) if number else None,
                after=after,
            )

    # -- odds and ends -------------------------------------------------------------------------------------------------

    def _draw(
        self,
        prompts: Sequence[Asked],
        n: int,
        seed: tuple[int, ...],
        first: int,
        **settings: Any,
    ) -> list[list[Sample]]:
        """Replies that depend on model, prompts, seed, and the place of the first among those that the seed is for."""
        return TransformersSampler(self.policy, renderer=self.renderer).sample(
            [one.prompt for one in prompts],
            n=n,
            max_new_tokens=self.settings.max_new_tokens,
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),
            first=first,
            **settings,
        )

    def _become(self, number: int) -> None:
        """Let the policy, as it was given, be what it was after a round: the result of the last training up to there."""
        done = [n for n in range(1, number + 1) if RunFolder(self._at(n) / "run").done]
        if done:
            load_result(self.policy, RunFolder(self._at(done[-1]) / "run").model_path)

    def _at(self, number: int) -> Path:
        return self.folder.path / "rounds" / str(number)

    def _chunked(self, number: int, name: str, total: int) -> Chunked:
        return Chunked(self._at(number) / name, total, self.settings.chunk, self.processes)

    @contextmanager
    def _phase(self, name: str, number: int, total: int) -> Iterator[Callable[[int], None]]:
        """Shows how far a phase of a round is, times it, and stops it between chunks on Ctrl-C."""
        began = time.monotonic()
        quiet = self.task.quiet or not self.processes.main
        with Display(quiet=quiet) as display, stop_asked(display.say) as stopped:
            display.phase(f"round {number}: {name}", total)

            def after(done: int) -> None:
                display.advance(done, total)
                if self.processes.agreed(stopped()):
                    raise Interrupted(
                        f"stopped {name} in round {number} after {done} of {total} prompts. Saved in "
                        f"{self.folder.path}; the same command goes on from there"
                    )

            yield after
        self.seconds[name] = time.monotonic() - began


def _loss(run: RunFolder) -> float:
    """Of the last step."""
    return float([row for row in run.metrics() if row["split"] == "train"][-1]["loss"])
