"""Training on data: a plan's steps one after the other, with what has to be set up before and looked after meanwhile.

The step itself is ``halign.stepping``'s. The loop knows log-probabilities and objectives; it knows no chat template.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from halign import optimizers, processor
from halign.adapters.adalora import Allocation
from halign.adapters.virtual import virtual_tokens
from halign.attention import hide_past
from halign.checkpoints import Checkpoints, Part, random_state, set_random_state
from halign.config import RunConfig, resolve
from halign.equip import build_optimizers, equip
from halign.errors import HalignError
from halign.examples import Example
from halign.held_out import held_out
from halign.lanes import lanes_of
from halign.losses import Losses
from halign.models import Policy, fingerprint
from halign.plan import Pack, Plan, Step
from halign.preflight_model import check_positions, preflight
from halign.prepare import Prepared, prepare
from halign.processes import Processes, make_accelerator, put_on_device, speaks
from halign.progress import Display, step_note
from halign.quantize import quantized_to
from halign.reference import items_fingerprint
from halign.reference_source import set_up_reference
from halign.rewards.loading import load_any
from halign.rewards.starting import as_reward
from halign.run_folder import RunFolder
from halign.stepping import Diverged, Row, Stepper, stop_unless_finite
from halign.trie import TreeBatch
from halign.watch import Watch, stop_asked, tensorboard

__all__ = ["Diverged", "Interrupted", "Run", "Trainer", "train"]


class Interrupted(HalignError):
    """The run was stopped from outside, or by a limit it was given; what it had done is saved."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        metrics: rows of metrics.jsonl.
    """

    path: Path
    metrics: list[Row]
    trained: Policy | None = None

    @cached_property
    def policy(self) -> Policy:
        """The trained model: the one still at hand, else loaded from the folder."""
        if self.trained is None:
            return load_any(RunFolder(self.path).model_path)
        return self.trained

    @property
    def last(self) -> Row:
        """The last evaluation's figures, or the last step's where there was no evaluation."""
        evaluations = [r for r in self.metrics if r["split"] == "eval"]
        return (evaluations or self.metrics)[-1]


def train(
    policy: Policy | str | Path,
    examples: Sequence[Example],
    objective: str | Mapping[str, float] = "sft",
    *,
    output: str | Path,
    evaluation: Sequence[Example] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    record: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Train a policy. The policy object's own weights are changed; the result is also in ``output/model``.

    Objectives that read values (``reward``, ``plackett_luce``, ``attributes``, ``pairwise``) train a reward model: a language
    model gives its trunk for it, and is no good as a language model any more; a reward model goes on being trained. The run's
    ``policy`` is a ``halign.rewards.RewardModel``.

    The same call on an unfinished output resumes it, on a finished one does nothing.

    Args:
        policy: from ``halign.load`` or ``halign.load_reward``, or a folder or hub name.
        examples: from ``halign.read``, or made by hand; converted to what the objective takes where that needs no choice.
        objective: name, mixture (``dpo+0.2*sft``), or weights by name.
        output: the run's folder.
        evaluation: held-out examples; see also ``eval_share``.
        overwrite: start anew even if there is a run in the folder.
        quiet: show nothing.
        record: more to keep in config.yaml (where model and data came from).
        settings: see ``halign.train_settings.TrainSettings``; objective settings too.

    Raises:
        HalignError: for settings, data or a model that will not do; before the first step where possible.
        Interrupted: on Ctrl-C, after a checkpoint was saved.
    """
    config = resolve(objective, settings)
    folder = RunFolder(output)
    if folder.done and not overwrite:
        return Run(folder.path, folder.metrics())
    if not isinstance(policy, Policy):
        policy = load_any(policy)
    policy = as_reward(policy, config, examples)
    with Display(quiet=quiet or not speaks()) as display:
        Trainer(policy, examples, evaluation, config, folder, display, dict(record or {}), overwrite).run()
    return Run(folder.path, folder.metrics(), policy)


class Trainer:
    """One run: set up, loop, wind up. ``run`` reads from top to bottom."""

    def __init__(
        self,
        policy: Policy,
        examples: Sequence[Example],
        evaluation: Sequence[Example] | None,
        config: RunConfig,
        folder: RunFolder,
        display: Display,
        record: Row,
        overwrite: bool = False,
    ) -> None:
        processor.prepare()
        self.undo = contextlib.ExitStack()
        self.overwrite = overwrite
        self.policy, self.config, self.settings = policy, config, config.train
        self.folder, self.display = folder, display
        self.accelerator = make_accelerator(self.settings.dtype)
        put_on_device(policy, self.accelerator)
        self.processes = Processes(self.accelerator)
        self.rank, self.ranks, self.main = self.processes.rank, self.processes.ranks, self.processes.main
        set_seed(self.settings.seed)
        if evaluation is not None and self.settings.eval_share:
            raise HalignError("eval_share would have no effect: evaluation data was given")
        display.phase("rendering", len(examples))
        self.prepared: Prepared = prepare(policy, examples, evaluation, config, display.advance)
        if self.settings.eval_every and not self.prepared.evaluation:
            raise HalignError(
                "eval_every would have no effect: nothing is held out (eval_share, or evaluation data)"
            )
        check_positions(self.prepared, policy.model, self.settings)
        self.losses = Losses.of_run(config, self.prepared.train, self.prepared.evaluation)
        self.record = {
            **record,
            **({"quantize": bits} if (bits := quantized_to(policy.model)) else {}),
            "model": policy.path,
            "model_fingerprint": fingerprint(policy.model),
            "data_fingerprint": items_fingerprint(self.prepared.train),
            **config.to_dict(),
        }
        self.watch = Watch(self.settings, display.warn)

    def run(self) -> None:
        """Everything, in order. The model is left as it was but for its weights (and adapters)."""
        with self.undo:
            self._run()

    def _run(self) -> None:
        resuming = self.processes.agreed(self.main and self._claim_folder())
        self._set_up_model()
        self._set_up_plans()
        self._set_up_reference()
        self._set_up_checkpoints()
        if not resuming:
            preflight(self)
        self.policy.rendering = (
            self.prepared.renderer.settings
        )  # not before: a run that stops here leaves the policy as it was
        first = self._resume() if resuming else 0
        started = time.monotonic()
        figures = self.folder.path / "tensorboard" if self.main and self.settings.tensorboard else None
        with stop_asked(self.display.say) as asked, tensorboard(figures) as board:
            if first == 0:
                board(self._evaluate(0))
            self.display.phase("training", self.plan.steps, first)
            for index in range(first, self.plan.steps):
                row = self._step(self.plan.step(index))
                board(row)
                self.display.advance(index + 1, self.plan.steps, step_note(row))
                self._look_after(index + 1, row, board, asked)
        if self.main:
            seconds = round(time.monotonic() - started, 2)
            self.folder.finish(self.policy, {"steps": self.plan.steps, "seconds": seconds})
        self.accelerator.wait_for_everyone()

    def _claim_folder(self) -> bool:
        """Begin or go on in the folder; True if there is something to resume. Only now that model and data will do is an old run
        deleted that was to be overwritten."""
        if self.overwrite:
            self.folder.clear()
        return self.folder.start(self.record)

    # -- setting up --------------------------------------------------------------------------------------------------

    def _set_up_model(self) -> None:
        s = self.settings
        equipped = equip(self.policy, s, self.undo)
        self.fresh_adapters, self.separate, self.flat = (
            equipped.fresh_adapters,
            equipped.separate,
            equipped.flat,
        )
        self.stepper = Stepper(
            equipped.scorer,
            build_optimizers(self.policy.model, s),
            self.losses,
            self.accelerator,
            clip=s.clip,
            pad_id=self.policy.tokenizer.pad_token_id or 0,
            lanes=lanes_of(
                self.policy.model,
                s.lanes,
                in_turn={
                    "dropout": s.dropout,
                    "lora_dropout": s.lora_dropout,
                    "whole distributions of the reference": self.losses.compare_distributions,
                    "several ranks": self.ranks > 1,
                },
            ),
        )
        self.stepper.disturb = self._noisy
        self.scorer = self.stepper.scorer
        if any(p.dtype != torch.float32 for p in self.stepper.trainable):
            self.display.warn(
                "the trained weights are kept in bf16: changes smaller than 1/256 of a weight are lost, which at the usual "
                "learning rates is nearly all of them. Load them in fp32 and train with dtype=bf16"
            )

    def _set_up_plans(self) -> None:
        s, held = self.settings, self.prepared.evaluation
        common: Row = {
            "max_tokens": s.max_tokens,
            "seed": s.seed,
            "separate": self.separate,
            "flat": self.flat,
            "mismatch": self.losses.mismatched,
            "ranks": self.ranks,
            "lanes": self.stepper.lanes.count,
        }
        self.plan = Plan(
            self.prepared.train,
            batch_items=s.batch_items,
            epochs=s.epochs,
            max_steps=s.max_steps,
            shuffle=s.shuffle,
            **common,
        )
        self.eval_plan = (
            Plan(held, batch_items=len(held), shuffle="none", spare=self.prepared.train, **common)
            if held
            else None
        )
        warmup = round(s.warmup if s.warmup >= 1 else s.warmup * self.plan.steps)
        self.factor = optimizers.schedule(s.schedule, steps=self.plan.steps, warmup=warmup)
        self.stepper.layers = Allocation.of(self.policy.model, self.plan.steps, moving=self.fresh_adapters)

    def _set_up_reference(self) -> None:
        self.reference = self.stepper.reference
        plans = [plan for plan in (self.plan, self.eval_plan) if plan]
        source = set_up_reference(
            self.stepper, plans, self.settings, self.display, fresh_adapters=self.fresh_adapters
        )
        # fresh virtual tokens say something already
        self.starts_elsewhere = source == "adapter" and bool(virtual_tokens(self.policy.model))

    def _set_up_checkpoints(self) -> None:
        ranks = self.stepper.layers
        parts = [Part(ranks.state_tensors, ranks.load_state_tensors)] if ranks else []
        parts += [
            Part(random_state, set_random_state),
            Part(self.losses.state_tensors, self.losses.load_state_tensors),
            Part(
                partial(optimizers.state_tensors, self.stepper.optimizers),
                partial(optimizers.load_state_tensors, self.stepper.optimizers),
            ),
        ]
        self.checkpoints = Checkpoints(self.folder, self.policy, parts, self.settings.keep_checkpoints)

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Row:
        started = time.perf_counter()
        rate = self.stepper.set_rate(self.factor(step.index))
        row = self._row(step, self.stepper.gradients(self.plan, step), rate)
        stop_unless_finite(row, [self.plan.items[i].conversation for i in step.items])
        self.stepper.update(step.index + 1)
        row["tokens_per_s"] = row["tokens"] / (time.perf_counter() - started)
        if self.main:
            self.folder.log(row)
        return row

    def _noisy(self, batch: TreeBatch, step: Step, number: int) -> TreeBatch:
        """A pack's batch as training sees it: with some of the past hidden, if that was asked for."""
        shares = self.settings.past_masking
        if not shares:
            return batch
        return hide_past(batch, shares, (self.settings.seed, step.index, self.rank, number))

    def _row(self, step: Step, means: Row, rate: float) -> Row:
        flat = sum(self.plan.items[i].tokens for i in step.items)
        return {
            "step": step.index + 1,
            "split": "train",
            **means,
            "learning_rate": rate,
            "items": len(step.items),
            "sharing": flat / max(1.0, means["tokens"]),
            "epoch": round((step.index + 1) / self.plan.steps_per_epoch, 4),
        }

    # -- between steps -----------------------------------------------------------------------------------------------

    def _evaluate(self, done: int) -> Row:
        """Loss and measures on the held-out items; an empty row if there are none."""
        if self.eval_plan is None:
            return {}
        found, card = held_out(self.stepper, self.eval_plan, self.display)
        row = {"step": done, "split": "eval", **found}
        if self.main:
            self.folder.log(row)
            if card:
                self.folder.write_card(card)
        return row

    def _look_after(
        self, done: int, row: Row, board: Callable[[Row], None], stop_asked: Callable[[], bool]
    ) -> None:
        """Evaluate, save, warn and stop where that is due."""
        s, finished = self.settings, done == self.plan.steps
        if finished or (s.eval_every and done % s.eval_every == 0):
            board(self._evaluate(done))
            self.display.phase("training", self.plan.steps, done)
        reason = self.watch(row)
        asked = self.processes.agreed(stop_asked())
        if not finished and (reason or asked or (s.save_every and done % s.save_every == 0)):
            if self.main:
                self.checkpoints.save(done)
            self.accelerator.wait_for_everyone()
        if not finished and (reason or asked):
            raise Interrupted(
                f"stopped after step {done} of {self.plan.steps}{f': {reason}' if reason else ''}. Saved in {self.folder.path}; "
                "the same command goes on from there"
            )

    def _resume(self) -> int:
        """Put the newest checkpoint back; its number of steps done."""
        done = self.checkpoints.resume()
        if done:
            if self.main:
                self.folder.forget_after(done)
            self.display.say(f"resuming {self.folder.path} after step {done}")
        return done

    # -- odds and ends -----------------------------------------------------------------------------------------------

    def batch(self, plan: Plan, pack: Pack) -> TreeBatch:
        """The pack's tensors, on the device."""
        return self.stepper.batch(plan, pack)
