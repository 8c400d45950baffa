"""Reward models: a language model's trunk with a head that gives numbers instead of words.

A reward model's folder is an ordinary Hugging Face sequence-classification folder. Its pad token never ends a response, because
the classes of transformers read the rightmost token that is no pad token, and would else read one too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from halign.dialogue import Message
from halign.errors import HalignError
from halign.examples import versus
from halign.items import Path as TokenPath
from halign.likelihood import Prompt, Response, as_path, as_prompt, make_renderer, path_values
from halign.models import Policy
from halign.rewards.facts import Facts

Pair = tuple[Prompt, Response]


@dataclass
class RewardModel(Policy):
    """A reward model that can be trained and asked.

    Attributes:
        facts: what its outputs mean.
        weights: of an attribute model, attribute -> its share in ``rewards``; empty: all alike, with a sum of 1.
    """

    facts: Facts = field(default_factory=Facts)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def stop_ids(self) -> frozenset[int]:
        """End-of-turn tokens: those of the language model that it was made from, or else the tokenizer's."""
        known = self.rendering.get("stop_ids")
        return frozenset(known) if known else super().stop_ids

    def save(self, folder: str | Path) -> None:
        """Write a plain sequence-classification folder (of adapters: an adapter folder), and what its outputs mean."""
        super().save(folder)
        self.facts.save(folder)

    def score(
        self,
        responses: Iterable[Pair],
        *,
        separate: bool = False,
        max_tokens: int = 4096,
        dtype: str = "fp32",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """How good responses are. What responses to one prompt share is read once.

        Args:
            responses: (prompt, response) pairs, as ``halign.logps`` takes them.
            separate: read every path apart (the plain way) instead of in tries.
            max_tokens: distinct tokens in one forward pass.
            dtype: ``fp32``, or ``bf16`` for autocast.
            progress: called with (responses done, all).

        Returns:
            float32 [R], rewards, the bias of ``facts`` added; of an attribute model [R, k], its attributes (expected values of
            categorical ones); on the CPU, in the order given.

        Raises:
            HalignError: from a pairwise model, which compares (``prefers``); or if a response does not fit its prompt's template.
        """
        if self.facts.kind == "pairwise":
            raise HalignError(
                "a pairwise model gives no rewards, it compares two responses: prefers([(prompt, a, b)])"
            )
        renderer = make_renderer(self)
        paths = [as_path(renderer, prompt, response) for prompt, response in responses]
        raw = self._raw(paths, separate, max_tokens, dtype, progress)
        if self.facts.kind == "reward":
            return raw[:, 0] + self.facts.bias
        if not self.facts.levels:
            return raw
        scale = torch.arange(self.facts.levels, dtype=torch.float32)
        return (self._split(raw).softmax(-1) * scale).sum(-1)

    def rewards(self, responses: Iterable[Pair], **options: Any) -> Tensor:
        """One number a response, float32 [R]: the reward, or the weighted sum of attributes. Options are ``score``'s."""
        scores = self.score(responses, **options)
        return scores @ self.attribute_weights if scores.dim() == 2 else scores

    @property
    def attribute_weights(self) -> Tensor:
        """float32 [k].

        Raises:
            HalignError: if a weight names no attribute of the model.
        """
        names = self.facts.attributes
        for name in self.weights:
            if name not in names:
                raise HalignError(
                    f"weights: the model has no attribute {name!r}; it has {', '.join(names) or 'none'}"
                )
        return torch.tensor([self.weights.get(n, 0.0) if self.weights else 1 / len(names) for n in names])

    def attribute_logps(self, responses: Iterable[Pair], **options: Any) -> Tensor:
        """log P(value of an attribute | prompt, response), float32 [R, k, levels], nats; what SteerLM 2 weighs by.

        Raises:
            HalignError: unless the attributes are categorical.
        """
        if not self.facts.levels:
            raise HalignError(
                "only an attribute model with head=categorical gives probabilities of attributes"
            )
        renderer = make_renderer(self)
        paths = [as_path(renderer, prompt, response) for prompt, response in responses]
        return self._split(self._raw(paths, **options)).log_softmax(-1)

    def prefers(self, comparisons: Sequence[tuple[Prompt, str, str]], **options: Any) -> Tensor:
        """P(the first response beats the second) of (prompt, first, second), float32 [P]. Swapping the two gives the rest to one,
        exactly: a pairwise model reads both orders; of any other, the logistic function of the difference of rewards.
        """
        if self.facts.kind != "pairwise":
            both = [(p, r) for p, a, b in comparisons for r in (a, b)]
            rewards = self.rewards(both, **options).reshape(-1, 2)
            return torch.sigmoid(rewards[:, 0] - rewards[:, 1])
        raw = self._duels([c for p, a, b in comparisons for c in ((p, a, b), (p, b, a))], **options).reshape(
            -1, 2
        )
        return torch.sigmoid((raw[:, 0] - raw[:, 1]) / 2)

    def first_wins(self, comparisons: Sequence[tuple[Prompt, str, str]], **options: Any) -> Tensor:
        """P(the response shown first beats the second) in this order alone, float32 [P]: what a judge that sees order says.
        ``prefers`` takes the mean logit of both orders.

        Raises:
            HalignError: unless the model is a pairwise one.
        """
        if self.facts.kind != "pairwise":
            raise HalignError("only a pairwise model sees which response is shown first")
        return torch.sigmoid(self._duels(comparisons, **options))

    def _duels(self, comparisons: Sequence[tuple[Prompt, str, str]], **options: Any) -> Tensor:
        """Logits of a pairwise model, the responses in the order given, [P]."""
        renderer = make_renderer(self)
        paths = []
        for prompt, first, second in comparisons:
            dialogue = as_prompt(prompt)
            role = "raw" if dialogue.is_raw else "assistant"
            paths.append(as_path(renderer, dialogue, versus(Message(role, first), Message(role, second))))
        return self._raw(paths, **options)[:, 0]

    def _split(self, raw: Tensor) -> Tensor:
        return raw.unflatten(1, (len(self.facts.attributes), self.facts.levels))

    def _raw(
        self,
        paths: list[TokenPath],
        separate: bool = False,
        max_tokens: int = 4096,
        dtype: str = "fp32",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        found = path_values(
            self, paths, separate=separate, max_tokens=max_tokens, dtype=dtype, progress=progress
        )
        return torch.stack(found) if found else torch.zeros(0, len(self.facts.labels))
