"""The loop that policy gradients share: sample, read, grade, weigh, learn; again.

An iteration is a pure function of the weights and the state before it: prompts, draws and the order of minibatches come from the
seed and the iteration's number. So a run that is stopped after any iteration goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from accelerate.utils import set_seed

from halign import optimizers, processor
from halign.checkpoints import Checkpoints, Part, random_state, set_random_state
from halign.convert import as_kind
from halign.critics import make_critic
from halign.equip import build_optimizers, equip
from halign.errors import HalignError
from halign.items import Item
from halign.loops import gradient_log, one_trunk
from halign.loops.asked import of_round
from halign.loops.contract import Task
from halign.loops.policy_gradient import PolicyGradient, Row
from halign.loops.prompts import demonstrations, find_prompts, fingerprint
from halign.loops.rollouts import Collector, Rollout, reference_of
from halign.models import fingerprint as model_fingerprint
from halign.processes import Processes, make_accelerator, put_on_device
from halign.progress import Display
from halign.quantize import quantized_to
from halign.render import Renderer
from halign.run_folder import RunFolder
from halign.scoring import unwrap
from halign.stepping import Stepper, stop_unless_finite
from halign.training import Interrupted, Run
from halign.watch import stop_asked, tensorboard

EVALUATION_SEED = 0x6576616C
"""Held-out prompts are answered with the same draws every time, so that evaluations differ by the policy alone."""
SHIFT_REPLIES = 256
"""Demonstrations that ``shift_rewards`` takes the mean over, at most."""


def run_online(method: type[PolicyGradient], task: Task) -> Run:
    """Run a policy gradient; what ``halign.loops.Loop.run`` is for it.

    Raises:
        HalignError: for settings, data, a reward or a model that will not do; before the first iteration where possible.
        Interrupted: on Ctrl-C, after a checkpoint was saved.
    """
    with Display(quiet=task.quiet) as display, contextlib.ExitStack() as undo:
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
        self.train = s.of_training()
        if method.compares and s.samples < 2:
            raise HalignError(
                f"{method.name} compares a prompt's replies with each other: samples={s.samples}, at least 2 are needed"
            )
        self.policy, self.folder = task.policy, RunFolder(task.output)
        self.accelerator = make_accelerator(s.dtype)
        put_on_device(task.policy, self.accelerator)
        if Processes(self.accelerator).ranks > 1:
            raise HalignError(f"{method.name} runs in one process; start it without accelerate launch")
        set_seed(s.seed)
        known = {"stop_ids": self.policy.stop_ids or None, **self.policy.rendering}
        self.renderer = Renderer(self.policy.tokenizer, **known)
        longest = getattr(unwrap(self.policy.model).config, "max_position_embeddings", None)
        room = longest - s.max_new_tokens if isinstance(longest, int) else None
        self.prompts = find_prompts(task.examples, self.renderer, room)
        self.held_out = self._held_out(room)
        self.pretrain = self._pretrain_items()
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
        if self.task.overwrite:
            self.folder.clear()
        resuming = self.folder.start(self.record)
        self._set_up_model()
        self._set_up_checkpoints()
        first = self._resume() if resuming else self._begin()
        self.policy.rendering = self.renderer.settings
        started = time.monotonic()
        figures = self.folder.path / "tensorboard" if s.tensorboard else None
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
        self.folder.finish(self.policy, {"iterations": s.iterations, "seconds": seconds})

    # -- setting up --------------------------------------------------------------------------------------------------

    def _held_out(self, room: int | None) -> list[Any]:
        """Prompts to be evaluated on: some of the evaluation data's, always the same."""
        if not self.task.evaluation:
            if self.settings.eval_every:
                raise HalignError("eval_every would have no effect: there is no evaluation data")
            return []
        found = find_prompts(self.task.evaluation, self.renderer, room)
        return [
            found[i] for i in sorted(of_round(len(found), self.settings.eval_prompts, 1, EVALUATION_SEED))
        ]

    def _pretrain_items(self) -> list[Item]:
        """Demonstrations for PPO-ptx, in an order of their own."""
        s = self.settings
        if not getattr(s, "pretrain_weight", 0.0):
            return []
        examples: Sequence[Any] = self.task.examples
        if s.pretrain_data:
            from halign.readers import read

            examples = list(read(s.pretrain_data))
        items = self.renderer.render(as_kind(examples, "tokens").examples, "tokens")
        if not items:
            raise HalignError(
                "pretrain_weight needs demonstrations: give examples with responses, or pretrain_data"
            )
        return [items[i] for i in np.random.default_rng((s.seed, 0x707478)).permutation(len(items))]

    def _set_up_model(self) -> None:
        s, inner = self.settings, unwrap(self.policy.model)
        attention = inner.config._attn_implementation
        share = one_trunk.can_share(self.policy, s)
        if share:
            one_trunk.share_reward(self.policy, self.task.reward)
        self.critic = None
        if kind := getattr(s, "critic", None):
            self.critic = make_critic(
                kind,
                self.policy,
                self.task.reward,
                self.undo,
                detached=s.critic_detached,
                seed=s.seed,
                adapters=self.train if self.train.adapter_kind else None,
                share=share,
                checkpointed=s.gradient_checkpointing,
            )
        equipped = equip(self.policy, self.train, self.undo, self.critic)
        built = build_optimizers(self.policy.model, self.train)
        if self.critic is not None:
            rate = s.critic_learning_rate or self.train.learning_rate
            built += optimizers.build(self.critic, "adamw", learning_rate=rate or 0.0)
        self.losses = self.method.losses(getattr(s, "pretrain_weight", 0.0))
        pad = self.policy.tokenizer.pad_token_id or 0
        self.stepper = Stepper(
            equipped.scorer, built, self.losses, self.accelerator, clip=s.gradient_clip, pad_id=pad
        )
        if share:
            one_trunk.follow(self.task.reward, self.policy, self.accelerator.device)
            if line := one_trunk.told(self.policy, self.task.reward, self.critic):
                self.display.say(line)
        reference = reference_of(self.stepper, self.policy.model, equipped.fresh_adapters)
        packing = {"max_tokens": s.max_tokens, "flat": equipped.flat, "separate": equipped.separate}
        self.collector = Collector(
            self.policy, self.renderer, self.stepper, reference, attention, packing, s.dtype == "bf16"
        )
        self.factor = optimizers.schedule(s.schedule, steps=s.iterations, warmup=s.warmup)

    def _set_up_checkpoints(self) -> None:
        parts = [
            Part(random_state, set_random_state),
            Part(self.method.state_tensors, self.method.load_state_tensors),
        ]
        if self.critic is not None:
            parts.append(gradient_log.module_part(self.critic, "critic."))
        built = self.stepper.optimizers
        parts.append(
            Part(partial(optimizers.state_tensors, built), partial(optimizers.load_state_tensors, built))
        )
        self.checkpoints = Checkpoints(self.folder, self.policy, parts, self.settings.keep_checkpoints)

    def _begin(self) -> int:
        gradient_log.forget_samples(
            self.folder.path, -1
        )  # of a run that was killed before its first checkpoint
        if getattr(self.settings, "shift_rewards", False):
            shown = demonstrations(self.task.examples)
            if not shown:
                raise HalignError("shift_rewards needs replies in the examples: there are prompts alone")
            chosen = of_round(len(shown), SHIFT_REPLIES, 1, self.settings.seed)
            scores = self._scores([shown[i][0] for i in chosen], [shown[i][1] for i in chosen])
            self.method.memory["shift"] = float(np.mean(scores))
        return 0

    def _resume(self) -> int:
        done = self.checkpoints.resume()
        self.folder.forget_after(done)
        gradient_log.forget_samples(self.folder.path, done)
        self.display.say(f"resuming {self.folder.path} after iteration {done}")
        return done

    # -- one iteration -----------------------------------------------------------------------------------------------

    def _iterate(self, index: int) -> Row:
        s = self.settings
        clock = gradient_log.Clock()
        prompts = [self.prompts[i] for i in of_round(len(self.prompts), s.prompts, index + 1, s.seed)]
        rollouts = self.collector.draw(prompts, s.samples, s.max_new_tokens, _derived(s.seed, index))
        clock.lap("sample")
        sharing = self.collector.read(rollouts)
        self._grade(rollouts)
        clock.lap("score")
        row = {"step": index + 1, "split": "train", **gradient_log.figures(rollouts), "sharing": sharing}
        row |= self.method.credit(rollouts)
        row["learning_rate"] = self.stepper.set_rate(self.factor(index))
        row |= self._learn(index, rollouts, row)
        clock.lap("learn")
        row |= clock.row(len(rollouts))
        self.folder.log(row)
        if index % s.samples_every == 0:
            gradient_log.write_samples(self.folder.path, index + 1, rollouts)
        return row

    def _grade(self, rollouts: Sequence[Rollout]) -> None:
        """Ask the reward what it thinks of the replies."""
        scores = self._scores([r.prompt.dialogue for r in rollouts], [r.text for r in rollouts])
        for rollout, found in zip(rollouts, scores, strict=True):
            rollout.score = found

    def _scores(self, prompts: Sequence[Any], replies: Sequence[str]) -> list[float]:
        if self.task.reward is None:
            raise HalignError(
                f"{self.method.name} needs reward: a reward model's folder, a function, or rules"
            )
        found = [float(x) for x in self.task.reward.score(prompts, replies)]
        if len(found) != len(replies):
            raise HalignError(f"the reward gave {len(found)} numbers for {len(replies)} replies")
        bad = next((k for k, x in enumerate(found) if not np.isfinite(x)), None)
        if bad is not None:
            raise HalignError(
                f"the reward says {found[bad]} of the reply {replies[bad][:80]!r}; a number was expected"
            )
        return found

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
                plan = self.collector.plan([items[i] for i in chosen] + beside)
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
        s = self.settings
        self.display.phase("evaluating", 1)
        rollouts = self.collector.draw(self.held_out, 1, s.max_new_tokens, EVALUATION_SEED)
        self.collector.read(rollouts)
        self._grade(rollouts)
        row = {
            "step": done,
            "split": "eval",
            **gradient_log.figures(rollouts),
            **gradient_log.intervals(rollouts),
        }
        self.folder.log(row)
        return row

    def _look_after(self, done: int, board: Callable[[Row], None], asked: Callable[[], bool]) -> None:
        """Evaluate, save and stop where that is due."""
        s, finished, stopping = self.settings, done == self.settings.iterations, asked()
        if finished or (s.eval_every and done % s.eval_every == 0):
            board(self._evaluate(done))
            self.display.phase(self.method.name, s.iterations, done)
        if not finished and (stopping or (s.save_every and done % s.save_every == 0)):
            self.checkpoints.save(done)
        if not finished and stopping:
            raise Interrupted(
                f"stopped after iteration {done} of {s.iterations}. Saved in {self.folder.path}; the same command goes "
                f"on from there"
            )


def minibatches(groups: Sequence[int], count: int, seed: tuple[int, ...]) -> list[list[int]]:
    """Replies in ``count`` parts of nearly equal size (fewer where there are fewer prompts), a prompt's replies all in one part,
    in an order that the seed decides; indices of replies.

    >>> [sorted(part) for part in minibatches([0, 0, 1, 1, 2, 2], 2, (0,))]
    [[0, 1, 4, 5], [2, 3]]
    """
    own: dict[int, list[int]] = {}
    for reply, group in enumerate(groups):
        own.setdefault(group, []).append(reply)
    order = np.random.default_rng(seed).permutation(sorted(own))
    return [
        [reply for group in part for reply in own[int(group)]]
        for part in np.array_split(order, min(count, len(own)))
    ]


def _derived(seed: int, index: int) -> int:
    """The seed of an iteration's draws."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
