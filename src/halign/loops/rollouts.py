"""Replies that the policy drew, and what it, its reference and its critic make of each token: drawing and reading, no
learning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from halign.items import Item, Path
from halign.loops.prompts import Prompt
from halign.measures import Sums
from halign.models import Policy
from halign.plan import Plan
from halign.reference import LiveReference
from halign.render import Renderer
from halign.sampling import TransformersSampler
from halign.scoring import score, unwrap, use_attention
from halign.stepping import Stepper
from halign.trie import TreeBatch

Array = np.ndarray


@dataclass
class Rollout:
    """One sampled reply. Arrays are of its n tokens, float32 [n], nats.

    Attributes:
        group: number of its prompt in the iteration.
        score: what the reward says of it.
        logps, ref_logps: under the policy that drew it, and under the reference.
        entropy: of the whole distribution each token was drawn from.
        values: the critic's, of the state before each token; None without a critic.
        learnt: what the losses read beside log-probabilities and values (``advantages``, ``returns`` ...).
        weight: of each of its tokens in the mean of the loss.
    """

    prompt: Prompt
    group: int
    path: Path
    text: str
    finished: bool
    score: float = float("nan")
    logps: Array = field(default_factory=lambda: np.empty(0, np.float32))
    ref_logps: Array = field(default_factory=lambda: np.empty(0, np.float32))
    entropy: Array = field(default_factory=lambda: np.empty(0, np.float32))
    values: Array | None = None
    learnt: Mapping[str, Array] = field(default_factory=dict)
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.path.response)

    @property
    def kl(self) -> float:
        """log pi - log pi_ref of the whole reply: the k1 estimate of the divergence from the reference, nats."""
        return float(np.sum(self.logps - self.ref_logps, dtype=np.float64))

    def item(self) -> Item:
        """What the optimiser step takes."""
        noted: dict[str, Array] = {"old_logps": self.logps, "ref_logps": self.ref_logps, **self.learnt}
        if self.values is not None:
            noted["old_values"] = self.values
        return Item(
            "rollouts",
            (self.path,),
            self.prompt.conversation,
            self.weight,
            per_token={name: np.asarray(array, dtype=np.float32) for name, array in noted.items()},
        )


@dataclass
class Collector:
    """Draws replies and reads them in tries, without gradient.

    Attributes:
        attention: the model's own attention, in which it decodes.
        plans: how ``Plan`` is to pack (``max_tokens``, ``flat``, ``separate``).
        bf16: read prompts in bf16 as scoring does; what the draws are scored by is the scorer's own in any case.
    """

    policy: Policy
    renderer: Renderer
    stepper: Stepper
    reference: LiveReference
    attention: str
    plans: Mapping[str, Any]
    bf16: bool = False

    def draw(
        self, prompts: Sequence[Prompt], n: int, max_new_tokens: int, seed: int, places: range | None = None
    ) -> list[Rollout]:
        """``n`` replies to each prompt by the policy as it is, prompt after prompt.

        Args:
            places: answer the prompts at these places only, as they would be answered among all.
        """
        if places is None:
            places = range(len(prompts))
        mine = prompts[places.start : places.stop]
        sampler = TransformersSampler(self.policy, renderer=self.renderer)
        with self._decoding():
            drawn = sampler.sample(
                [p.dialogue for p in mine],
                n=n,
                max_new_tokens=max_new_tokens,
                seed=seed,
                fast_prompts=self.bf16,
                first=places.start,
            )
        return [
            Rollout(prompt, group, Path(prompt.ids, s.ids), s.text, s.finished)
            for group, prompt, samples in zip(places, mine, drawn, strict=True)
            for s in samples
        ]

    @torch.no_grad()
    def read(self, rollouts: Sequence[Rollout]) -> Sums:
        """Fill in log-probabilities, values and entropies; ``sharing``, how many tokens a distinct one stood for."""
        items = [Item("rollouts", (r.path,), r.prompt.conversation) for r in rollouts]
        plan = self.plan(items)
        distinct = 0
        for pack in plan.step(0).packs[0]:
            batch = self.stepper.batch(plan, pack)
            distinct += batch.distinct_tokens
            for slot, found in zip(pack.slots, self._read(plan, pack, batch), strict=True):
                for name, array in found.items():
                    setattr(rollouts[slot.item], name, array)
        return {"sharing": (float(sum(i.tokens for i in items)), float(distinct))}

    def plan(self, items: Sequence[Item], ranks: int = 1) -> Plan:
        """All of the items as one step, spread over this many ranks."""
        return Plan(items, batch_items=len(items), shuffle="none", ranks=ranks, **self.plans)

    def _read(self, plan: Plan, pack: Any, batch: TreeBatch) -> list[dict[str, Array]]:
        scores = score(self.stepper.scorer, batch, entropy=True)
        reference = self.reference(plan, pack, batch)
        columns = {
            "logps": scores.token_logps,
            "ref_logps": reference,
            "entropy": scores.token_entropy,
            "values": scores.token_values,
        }
        lengths = scores.lengths.tolist()
        split = {
            name: [part.numpy() for part in torch.split(column.float().cpu(), lengths)]
            for name, column in columns.items()
            if column is not None
        }
        return [{name: parts[k] for name, parts in split.items()} for k in range(len(lengths))]

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[None]:
        """The model decodes in its own attention: that of tries has no fast way for a prompt."""
        inner = unwrap(self.policy.model)
        scoring = inner.config._attn_implementation
        use_attention(inner, self.attention)
        try:
            yield
        finally:
            use_attention(inner, scoring)


def reference_of(stepper: Stepper, model: torch.nn.Module, fresh_adapters: bool) -> LiveReference:
    """The model as it is before the first update: its adapters switched off where they are fresh, else a frozen copy of what is
    trained. The critic has no part in it."""
    read = partial(score, values=False)
    if fresh_adapters:
        return LiveReference.without_adapters(stepper.scorer, read)
    return LiveReference.frozen(stepper.scorer, read, model)
