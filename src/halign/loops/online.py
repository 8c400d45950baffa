"""The loop that policy gradients share: sample, read, grade, weigh, learn; again.

An iteration is a pure function of the weights and the state before it: prompts, draws and the order of minibatches come from the
seed and the iteration's number. So a run that is stopped after any iteration goes on as if it had not been.

On several ranks each answers, reads and grades its share of the prompts. Then every rank knows all replies, so advantages,
minibatches and whatever is adapted or stopped are those of one process; the optimiser step is shared out as in training.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from accelerate.utils import set_seed

from halign import measures, optimizers, processor
from halign.checkpoints import Checkpoints
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.items import Item
from halign.loops import gradient_log
from halign.loops.asked import of_round
from halign.loops.contract import Task
from halign.loops.gradient_models import checkpointed, make_ready
from halign.loops.judging import rewards_of
from halign.loops.minibatches import minibatches
from halign.loops.policy_gradient import PolicyGradient, Row
from halign.loops.prompts import (
    EVALUATION_SEED,
    Prompt,
    demonstrations,
    find_prompts,
    fingerprint,
    held_out,
    to_pretrain,
)
from halign.loops.rollouts import Rollout
from halign.models import fingerprint as model_fingerprint
from halign.processes import Processes, check_whole, make_accelerator, put_on_device, speaks
from halign.progress import Display
from halign.quantize import quantized_to
from halign.render import Renderer
from halign.run_folder import RunFolder
from halign.scoring import unwrap
from halign.stepping import stop_unless_finite
from halign.training import Interrupted, Run
from halign.watch import stop_asked, tensorboard

SHIFT_REPLIES = 256
"""Demonstrations that ``shift_rewards`` takes the mean over, at most."""


def run_online(method: type[PolicyGradient], task: Task) -> Run:
    """Run a policy gradient; what ``halign.loops.Loop.run`` is for it.

    Raises:
        HalignError: for settings, data, a reward or a model that will not do; before the first iteration where possible.
        Interrupted: on Ctrl-C, after a checkpoint was saved.
    """
    with Display(quiet=task.quiet or not speaks()) as display, contextlib.ExitStack() as undo:
        Online(method(task.settings), task, display, undo).run()
    folder = RunFolder(task.output)
    return Run(folder.path, folder.metrics(), task.policy)


class Online:
    """One run: set up, loop, wind up. ``run`` reads from top to bottom."""

    def __init__(
        self, method: PolicyGradient, task: Task, display: Display, undo: contextlib.ExitStack
    ) -> None:
        processor.prepare()
        self.method, self.task, self.display, self.undo = method, task, display, undo
        self.settings = s = task.settings
        if method.compares and s.samples < 2:
            raise HalignError(
                f"{method.name} compares a prompt's replies with each other: samples={s.samples}, at least 2 are needed"
            )
        self.policy, self.folder = task.policy, RunFolder(task.output)
        self.accelerator = make_accelerator(s.dtype)
        check_whole(self.accelerator, method.name)
        self.processes = Processes(self.accelerator)
        put_on_device(task.policy, self.accelerator)
        set_seed(s.seed)
        known = {"stop_ids": self.policy.stop_ids or None, **self.policy.rendering}
        self.renderer = Renderer(self.policy.tokenizer, **known)
        longest = getattr(unwrap(self.policy.model).config, "max_position_embeddings", None)
        room = longest - s.max_new_tokens if isinstance(longest, int) else None
        self.prompts = find_prompts(task.examples, self.renderer, room)
        self.held_out = self._held_out(room)
        self.pretrain: list[Item] = []
        if getattr(s, "pretrain_weight", 0.0):
            self.pretrain = to_pretrain(task.examples, s.pretrain_data, self.renderer, s.seed)
        self.record: Row = {
            **task.record,
            **({"quantize": bits} if (bits := quantized_to(self.policy.model)) else {}),
            "loop": method.name,
            "model": self.policy.path,
            "model_fingerprint": model_fingerprint(self.policy.model),
            "data_fingerprint": fingerprint([*self.prompts, *self.held_out]),
            **s.model_dump(mode="json"),
        }

    def run(self) -> None:
        """Everything, in order."""
        s = self.settings
        resuming = self.processes.by_main(self._claim_folder)
        self._set_up_model()
        self._set_up_checkpoints()
        first = self._resume() if resuming else self._begin()
        self.policy.rendering = self.renderer.settings
        started = time.monotonic()
        figures = self.folder.path / "tensorboard" if s.tensorboard and self.processes.main else None
        with stop_asked(self.display.say) as asked, tensorboard(figures) as board:
            if first == 0:
                board(self._evaluate(0))
            self.display.phase(self.method.name, s.iterations, first)
            for index in range(first, s.iterations):
                row = self._iterate(index)
                board(row)
                self.display.advance(index + 1, s.iterations, gradient_log.note(row))
                self._look_after(index + 1, board, asked)
        seconds = round(time.monotonic() - started, 2)
        facts = {"iterations": s.iterations, "seconds": seconds}
        self.processes.by_main(lambda: self.folder.finish(self.policy, facts))

    # -- setting up --------------------------------------------------------------------------------------------------

    def _claim_folder(self) -> bool:
        """Begin or go on in the folder; True if there is something to resume."""
        if self.task.overwrite:
            self.folder.clear()
        return self.folder.start(self.record)

    def _held_out(self, room: int | None) -> list[Prompt]:
        """Prompts of the evaluation data, where there is some."""
        if not self.task.evaluation:
            if self.settings.eval_every:
                raise HalignError("eval_every would have no effect: there is no evaluation data")
            return []
        return held_out(find_prompts(self.task.evaluation, self.renderer, room), self.settings.eval_prompts)

    def _set_up_model(self) -> None:
        made = make_ready(self.method, self.task, self.renderer, self.accelerator, self.undo)
        self.stepper, self.critic, self.collector = made.stepper, made.critic, made.collector
        if made.shared:
            self.display.say(made.shared)
        s = self.settings
        self.factor = optimizers.schedule(s.schedule, steps=s.iterations, warmup=s.warmup)

    def _set_up_checkpoints(self) -> None:
        parts = checkpointed(self.method, self.stepper, self.critic)
        self.checkpoints = Checkpoints(self.folder, self.policy, parts, self.settings.keep_checkpoints)

    def _begin(self) -> int:
        if self.processes.main:  # samples of a run that was killed before its first checkpoint
            gradient_log.forget_samples(self.folder.path, -1)
        if getattr(self.settings, "shift_rewards", False):
            shown = demonstrations(self.task.examples)
            if not shown:
                raise HalignError("shift_rewards needs replies in the examples: there are prompts alone")
            chosen = [shown[i] for i in of_round(len(shown), SHIFT_REPLIES, 1, self.settings.seed)]
            scores = self.processes.shared(
                len(chosen), lambda places: self._scores(chosen[places.start : places.stop])
            )
            self.method.memory["shift"] = float(np.mean(scores))
        return 0

    def _resume(self) -> int:
        done = self.checkpoints.resume()
        if self.processes.main:
            self.folder.forget_after(done)
            gradient_log.forget_samples(self.folder.path, done)
        self.display.say(f"resuming {self.folder.path} after iteration {done}")
        return done

    # -- one iteration -----------------------------------------------------------------------------------------------

    def _iterate(self, index: int) -> Row:
        s = self.settings
        clock = gradient_log.Clock()
        prompts = [self.prompts[i] for i in of_round(len(self.prompts), s.prompts, index + 1, s.seed)]
        rollouts, sharing = self._rollouts(prompts, s.samples, _derived(s.seed, index), clock)
        row = {"step": index + 1, "split": "train", **gradient_log.figures(rollouts), **sharing}
        row |= self.method.credit(rollouts)
        row["learning_rate"] = self.stepper.set_rate(self.factor(index))
        row |= self._learn(index, rollouts, row)
        clock.lap("learn")
        row |= clock.row(len(rollouts))
        if self.processes.main:
            self.folder.log(row)
            if index % s.samples_every == 0:
                gradient_log.write_samples(self.folder.path, index + 1, rollouts)
        return row

    def _rollouts(
        self, prompts: Sequence[Prompt], n: int, seed: int, clock: gradient_log.Clock
    ) -> tuple[list[Rollout], Row]:
        """``n`` replies to every prompt, read and graded, and ``sharing``. Each rank does its share and hears of the others'."""
        sums: measures.Sums = {}

        def own(places: range) -> list[Rollout]:
            drawn = self.collector.draw(prompts, n, self.settings.max_new_tokens, seed, places)
            clock.lap("sample")
            sums.update(self.collector.read(drawn))
            scores = self._scores([(r.prompt.dialogue, r.text) for r in drawn])
            for rollout, found in zip(drawn, scores, strict=True):
                rollout.score = found
            return drawn

        rollouts = self.processes.shared(len(prompts), own)
        found = measures.means(self.processes.reduced(sums))
        clock.lap("score")
        return rollouts, found

    def _scores(self, replies: Sequence[tuple[Dialogue, str]]) -> list[float]:
        """What the reward says of replies to prompts."""
        assert self.task.reward is not None  # whoever runs a loop gives it what it needs
        return rewards_of(self.task.reward, [p for p, _ in replies], [reply for _, reply in replies])

    def _learn(self, index: int, rollouts: Sequence[Rollout], row: Row) -> Row:
        """Epochs of minibatches, whole prompts together; the updates' figures."""
        s = self.settings
        items = [r.item() for r in rollouts]
        rows: list[Row] = []
        for epoch in range(s.epochs):
            parts = minibatches([r.group for r in rollouts], s.minibatches, (s.seed, index, epoch))
            for number, chosen in enumerate(parts):
                beside = self._demonstrations(
                    (index * s.epochs + epoch) * s.minibatches + number, len(chosen)
                )
                plan = self.collector.plan([items[i] for i in chosen] + beside, self.processes.ranks)
                found = self.stepper.gradients(plan, plan.step(0))
                stop_unless_finite({**row, **found}, [i.conversation for i in plan.items])
                self.stepper.update(index + 1)
                rows.append(found)
                if s.stop_kl is not None and found["update_kl"] > s.stop_kl:
                    return {**gradient_log.over_updates(rows), "stopped_early": 1.0}
        return gradient_log.over_updates(rows)

    def _demonstrations(self, step: int, replies: int) -> list[Item]:
        """The step's share of the demonstrations, one after the other, over and over."""
        if not self.pretrain:
            return []
        count = self.settings.pretrain_items or replies
        return [self.pretrain[(step * count + k) % len(self.pretrain)] for k in range(count)]

    # -- between iterations ------------------------------------------------------------------------------------------

    def _evaluate(self, done: int) -> Row:
        """One reply to each held-out prompt, graded; an empty row if there are none."""
        if not self.held_out:
            return {}
        self.display.phase("evaluating", 1)
        rollouts, _ = self._rollouts(self.held_out, 1, EVALUATION_SEED, gradient_log.Clock())
        row = {
            "step": done,
            "split": "eval",
            **gradient_log.figures(rollouts),
            **gradient_log.intervals(rollouts),
        }
        if self.processes.main:
            self.folder.log(row)
        return row

    def _look_after(self, done: int, board: Callable[[Row], None], asked: Callable[[], bool]) -> None:
        """Evaluate, save and stop where that is due."""
        s, finished = self.settings, done == self.settings.iterations
        stopping = self.processes.agreed(asked())
        if finished or (s.eval_every and done % s.eval_every == 0):
            board(self._evaluate(done))
            self.display.phase(self.method.name, s.iterations, done)
        if not finished and (stopping or (s.save_every and done % s.save_every == 0)):
            self.processes.by_main(partial(self.checkpoints.save, done))
        if not finished and stopping:
            raise Interrupted(
                f"stopped after iteration {done} of {s.iterations}. Saved in {self.folder.path}; the same command goes "
                f"on from there"
            )


def _derived(seed: int, index: int) -> int:
    """The seed of an iteration's draws."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
