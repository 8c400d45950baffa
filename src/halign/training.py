"""The only optimiser loop.

A step is a global batch of items, cut into packs. For every pack: forward, losses, backward; the sum of all losses is divided by
what the *global* step holds (items, or supervised tokens), so that one pack of eight, eight of one, and two ranks of four give
the same gradient. The loop knows log-probabilities and objectives; it knows no chat template.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed

from halign import measures, optimizers, processor
from halign.adapters.adalora import Allocation
from halign.adapters.build import add_adapters, check_adapters, has_adapters
from halign.adapters.virtual import virtual_tokens
from halign.attention import hide_past
from halign.binding import Scored
from halign.checkpoints import Checkpoints, Part, random_state, set_random_state
from halign.config import RunConfig, resolve
from halign.errors import HalignError
from halign.examples import Example
from halign.lean import lean_layers
from halign.losses import Losses, Statistics
from halign.models import Policy, checkpoint_gradients, disable_dropout, fingerprint
from halign.plan import Pack, Plan, Step
from halign.preflight_model import check_positions, preflight
from halign.prepare import Prepared, prepare
from halign.probe import with_adapters
from halign.progress import Display, step_note
from halign.quantize import check_trainable, quantized_to
from halign.reference import CachedReference, LiveReference, Reference, items_fingerprint
from halign.rewards.card import Compared, figures, report_card
from halign.rewards.loading import load_any
from halign.rewards.starting import as_reward
from halign.run_folder import RunFolder
from halign.scoring import make_scorer, score
from halign.trie import TreeBatch, tree_batch
from halign.watch import Watch, stop_asked, tensorboard

Row = dict[str, Any]


class Diverged(HalignError):
    """A loss or a gradient was not finite: the run cannot go on."""


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
        settings: see ``halign.config.TrainSettings``; objective settings too.

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
    with Display(quiet=quiet or os.environ.get("RANK", "0") != "0") as display:
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
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.main = self.accelerator.is_main_process
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
        self.losses = Losses(config, self.prepared.train, self.prepared.evaluation)
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
        resuming = self._agreed(self.main and self._claim_folder())
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
        s, model = self.settings, self.policy.model
        capability = self.policy.capability
        self.fresh_adapters = s.adapter_kind is not None and not has_adapters(model)
        if self.fresh_adapters:
            model = self.policy.model = add_adapters(model, s)
            capability = self.policy.capability = with_adapters(capability, model)
        elif s.adapter_kind:
            check_adapters(model, s)
        elif not has_adapters(model):
            check_trainable(model)
        if s.gradient_checkpointing:
            self.undo.callback(checkpoint_gradients(model))
        if not s.dropout:
            self.undo.callback(disable_dropout(model, keep_adapters=bool(s.lora_dropout)))
        self.undo.callback(lean_layers(model, checkpointed=s.gradient_checkpointing))
        self.undo.callback(model.train, model.training)
        model.train()
        scheme = capability.scheme
        if s.past_masking and not scheme.shares:
            raise HalignError(
                "past_masking: paths of this model are not masked (it takes no attention mask, or has virtual tokens), so "
                "nothing can be hidden from it"
            )
        if s.dropout or s.past_masking:
            scheme = replace(
                scheme, kernel="dense"
            )  # trie attention has no dropout on its weights, nor a mask of pairs
        scorer = make_scorer(model, scheme, capability.transform)
        self.separate = s.separate or not scheme.shares
        self.flat = scheme.kernel == "trie" and not self.separate
        built = optimizers.build(
            model,
            s.optimizer,
            learning_rate=s.learning_rate or 0.0,
            weight_decay=s.weight_decay,
            betas=(0.9, s.adam_beta2),
            embedding_learning_rate=s.embedding_learning_rate,
        )
        prepared = self.accelerator.prepare(scorer, *built)
        self.scorer, self.optimizers = prepared[0], list(prepared[1:])
        self.trainable = [p for p in self.scorer.parameters() if p.requires_grad]
        if any(p.dtype != torch.float32 for p in self.trainable):
            self.display.warn(
                "the trained weights are kept in bf16: changes smaller than 1/256 of a weight are lost, which at the usual "
                "learning rates is nearly all of them. Load them in fp32 and train with dtype=bf16"
            )
        self.rates = optimizers.base_rates(self.optimizers)

    def _set_up_plans(self) -> None:
        s, held = self.settings, self.prepared.evaluation
        common: Row = {
            "max_tokens": s.max_tokens,
            "seed": s.seed,
            "separate": self.separate,
            "flat": self.flat,
            "mismatch": self.losses.mismatched,
            "ranks": self.ranks,
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
        self.ranks_of_layers = Allocation.of(self.policy.model, self.plan.steps, moving=self.fresh_adapters)

    def _set_up_reference(self) -> None:
        """Before a checkpoint is loaded, so that the reference is what training started from, also in a resumed run."""
        self.reference: dict[int, Reference] = {}
        self.starts_elsewhere = False  # fresh virtual tokens say something already
        if not (self.losses.need_reference or self.losses.compare_distributions):
            return
        plans = [plan for plan in (self.plan, self.eval_plan) if plan]
        source = self.settings.reference
        if source == "auto":
            # without adapters that were trained before, the model is not the one that training starts from; without virtual
            # tokens that are new, it is the one that was given
            source = "frozen" if self.losses.compare_distributions else "cached"
            if self.fresh_adapters:
                source = "adapter"
        if source == "cached":
            if self.losses.compare_distributions:
                raise HalignError(
                    "reference=cached keeps the log-probabilities of the data's tokens, and this objective compares whole "
                    "distributions: say reference=frozen, or leave it out"
                )
            self.reference = {id(plan): self._compute_reference(plan) for plan in plans}
            return
        live = (
            LiveReference.without_adapters(self.scorer, score)
            if source == "adapter"
            else LiveReference.frozen(self.scorer, score)
        )
        self.starts_elsewhere = source == "adapter" and bool(virtual_tokens(self.policy.model))
        self.reference = {id(plan): live for plan in plans}

    def _compute_reference(self, plan: Plan) -> CachedReference:
        self.display.phase("reference", len(plan.items))
        self.scorer.eval()
        with torch.no_grad():
            computed = CachedReference.compute(
                self.scorer,
                plan,
                score=score,
                batch=self.batch,
                precision=self.settings.dtype,
                progress=self.display.advance,
                rank=self.rank,
                ranks=self.ranks,
                gather=self._gathered,
            )
        self.scorer.train()
        return computed

    def _set_up_checkpoints(self) -> None:
        ranks = self.ranks_of_layers
        parts = [Part(ranks.state_tensors, ranks.load_state_tensors)] if ranks else []
        parts += [
            Part(random_state, set_random_state),
            Part(self.losses.state_tensors, self.losses.load_state_tensors),
            Part(
                partial(optimizers.state_tensors, self.optimizers),
                partial(optimizers.load_state_tensors, self.optimizers),
            ),
        ]
        self.checkpoints = Checkpoints(self.folder, self.policy, parts, self.settings.keep_checkpoints)

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Row:
        started = time.perf_counter()
        optimizers.set_learning_rate(self.optimizers, self.rates, self.factor(step.index))
        packs = step.packs[self.rank]
        batches = [self._noisy(self.batch(self.plan, pack), step, n) for n, pack in enumerate(packs)]
        statistics, only = self._statistics(self.plan, step, batches)
        norms = self.losses.normalisers([self.plan.items[i] for i in step.items])
        penalty = self.ranks_of_layers.penalty() if self.ranks_of_layers else None
        sums: measures.Sums = {"tokens": (float(sum(b.distinct_tokens for b in batches)), 0.0)}
        for number, (pack, batch) in enumerate(zip(packs, batches, strict=True)):
            last = number + 1 == len(packs)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.scorer):
                scored = only or self._scored(self.plan, pack, batch)
                loss, parts = self.losses.share(scored, statistics, norms)
                if last and penalty is not None:
                    loss = loss + penalty / self.ranks
                # ranks' gradients are averaged, but the normalisers already count every rank's items
                self.accelerator.backward(loss * self.ranks)
            sums = measures.add(sums, parts)
        if not packs:
            self._join_with_nothing(step, penalty)
        norm = float(self.accelerator.clip_grad_norm_(self.trainable, self.settings.clip or math.inf))
        row = self._row(step, measures.means(self._reduced(sums)), norm)
        if penalty is not None:
            row["orthogonality"] = float(penalty.detach())
        self._stop_unless_finite(step, row)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.ranks_of_layers:
            self.ranks_of_layers.step(step.index + 1)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
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

    def _scored(self, plan: Plan, pack: Pack, batch: TreeBatch) -> Scored:
        reference = self.reference.get(id(plan))
        whole = batch if batch.hidden is None else replace(batch, hidden=None)
        against = None
        if self.losses.compare_distributions and isinstance(reference, LiveReference):
            with self.accelerator.autocast():
                against = reference.distributions(whole)
        ref_logps = reference(plan, pack, whole) if reference and self.losses.need_reference else None
        return Scored(plan.items, pack, score(self.scorer, batch, against), ref_logps)

    def _statistics(
        self, plan: Plan, step: Step, batches: Sequence[TreeBatch], training: bool = True
    ) -> tuple[Statistics, Scored | None]:
        """Statistics of the global step, and the scores of its only pack where there is just one (no need to score it twice)."""
        extra = step.extra[self.rank]
        with torch.no_grad():
            mismatched = [self._scored(plan, pack, self.batch(plan, pack)) for pack in extra]
        own: list[Scored] = []
        only: Scored | None = None
        if self.losses.want_own_statistics:
            packs = step.packs[self.rank]
            if training and sum(len(share) for share in step.packs) == 1 and packs:
                only = self._scored(plan, packs[0], batches[0])
                own = [only]
            else:
                with torch.no_grad():
                    own = [self._scored(plan, p, b) for p, b in zip(packs, batches, strict=True)]
        parts = self.losses.statistics_parts(own, mismatched)
        gathered = self._gathered([parts]) if parts else []
        return self.losses.statistics(gathered, training=training), only

    def _join_with_nothing(self, step: Step, penalty: torch.Tensor | None) -> None:
        """A rank without packs still joins the others' reduction of gradients."""
        pack = next(pack for share in step.packs for pack in share)
        scores = score(self.scorer, self.batch(self.plan, pack))
        nothing = scores.zero
        self.accelerator.backward(nothing if penalty is None else nothing + penalty)

    def _row(self, step: Step, means: dict[str, float], norm: float) -> Row:
        flat = sum(self.plan.items[i].tokens for i in step.items)
        return {
            "step": step.index + 1,
            "split": "train",
            **means,
            "gradient_norm": norm,
            "learning_rate": self.rates[0][0] * self.factor(step.index),
            "items": len(step.items),
            "sharing": flat / max(1.0, means["tokens"]),
            "epoch": round((step.index + 1) / self.plan.steps_per_epoch, 4),
        }

    def _stop_unless_finite(self, step: Step, row: Row) -> None:
        if math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"]):
            return
        conversations = sorted({self.plan.items[i].conversation for i in step.items})[:5]
        raise Diverged(
            f"step {row['step']}: the loss is {row['loss']}, the norm of its gradient {row['gradient_norm']}. "
            f"Lower learning_rate (now {row['learning_rate']:.2g}), or look at conversations {', '.join(conversations)}"
        )

    # -- between steps -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _evaluate(self, done: int) -> Row:
        """Loss and measures on the held-out items; an empty row if there are none."""
        plan = self.eval_plan
        if plan is None:
            return {}
        self.scorer.eval()
        step = plan.step(0)
        packs = step.packs[self.rank]
        batches = [self.batch(plan, pack) for pack in packs]
        statistics, _ = self._statistics(plan, step, batches, training=False)
        norms = self.losses.normalisers(plan.items)
        self.display.phase("evaluating", len(packs))
        sums: measures.Sums = {"loss": (0.0, 0.0)}
        compared: list[Compared] = []
        for number, (pack, batch) in enumerate(zip(packs, batches, strict=True)):
            scored = self._scored(plan, pack, batch)
            sums = measures.add(sums, self.losses.share(scored, statistics, norms)[1])
            compared += self.losses.comparisons(scored)
            self.display.advance(number + 1, len(packs))
        self.scorer.train()
        row = {"step": done, "split": "eval", **measures.means(self._reduced(sums)), "items": len(plan.items)}
        if everything := [c for part in self._gathered([compared]) for c in part]:
            card = report_card(everything)
            row |= figures(card)
            if self.main:
                self.folder.write_card(card)
        if self.main:
            self.folder.log(row)
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
        asked = self._agreed(stop_asked())
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
        pad = self.policy.tokenizer.pad_token_id or 0
        made = tree_batch(plan.paths(pack), pad_id=pad, flat=plan.flat)
        return made.to(self.accelerator.device)

    def _gathered(self, parts: list[Any]) -> list[Any]:
        """The lists of all ranks, one after the other."""
        found: list[Any] = gather_object(parts) if self.ranks > 1 else parts
        return found

    def _reduced(self, sums: measures.Sums) -> measures.Sums:
        return measures.total(self._gathered([sums]))

    def _agreed(self, flag: bool) -> bool:
        """True on every rank if it is true on any."""
        return any(self._gathered([flag]))


def make_accelerator(dtype: str) -> Accelerator:
    """An accelerator of this precision, whatever one was made before in this process."""
    AcceleratorState._reset_state()
    # a language model's buffers are constants; sending them before a forward pass would make every rank wait for all others'
    # passes, of which there need not be as many
    alone = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision="bf16" if dtype == "bf16" else "no", kwargs_handlers=[alone])
