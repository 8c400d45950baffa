"""What an objective is given: Pairs, Lists, Singles, Tokens, Rollouts; of reward models ValuePairs, ValueLists, ValueSingles.

Every tensor is float32 and holds what the docstring says; a field that an objective does not use may be left out.
``logps`` are sums over a response's tokens, in nats, unless a name says mean. ``ref_*`` come from the reference model.
Every type has ``weight`` (1 when left out), ``conversation`` (an id per item) and ``step``, statistics of the global step that
have no field of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """P preference pairs; tensors are float32 [P]."""

    chosen_logps: Tensor
    rejected_logps: Tensor
    ref_chosen_logps: Tensor | None = None
    ref_rejected_logps: Tensor | None = None
    chosen_lengths: Tensor | None = None
    """Response tokens, counted [P]."""
    rejected_lengths: Tensor | None = None
    preference: Tensor | None = None
    """P(chosen beats rejected) [P]; None means 1."""
    chosen_win_rate: Tensor | None = None
    rejected_win_rate: Tensor | None = None
    target_logps: Tensor | None = None
    """log-probability of the SFT target (SLiC's ``ce`` regulariser) [P]."""
    target_kl: Tensor | None = None
    """KL(ref || policy) summed over the target's tokens (SLiC's ``kl`` regulariser) [P]."""
    chosen_kl: Tensor | None = None
    """Detached scalar over the global step (KTO pair)."""
    rejected_kl: Tensor | None = None
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Lists:
    """L groups of up to K ranked responses, best first; tensors are [L, K]."""

    logps: Tensor
    ref_logps: Tensor | None = None
    lengths: Tensor | None = None
    rewards: Tensor | None = None
    """Scores, higher is better; None where only the order is known."""
    mask: Tensor | None = None
    """bool, True where a response exists; None: everywhere. What stands elsewhere is finite and means nothing."""
    ranks: Tensor | None = None
    """1 is best, equal ranks are ties; None: 1, 2, 3 ..."""
    behaviour_logps: Tensor | None = None
    """log-probability under the model that the responses were sampled from (SteerLM 2's Q')."""
    prior_logps: Tensor | None = None
    """log P(y|x) without attributes (SteerLM 2)."""
    attribute_logps: Tensor | None = None
    """log P(a|x, y) of the attribute model (SteerLM 2)."""
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Singles:
    """R responses, each good or bad on its own; tensors are float32 [R], ``desirable`` is bool [R]."""

    logps: Tensor
    ref_logps: Tensor | None = None
    lengths: Tensor | None = None
    desirable: Tensor | None = None
    kl: Tensor | None = None
    """Detached scalar z0 over the global step (KTO)."""
    mismatch_logps: Tensor | None = None
    """log-probability of another conversation's completion after this prompt, detached [R]; what z0 is estimated from."""
    ref_mismatch_logps: Tensor | None = None
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Tokens:
    """T response tokens, flat; tensors are float32 [T], ``owner`` int64 [T] is the response each token belongs to."""

    logps: Tensor
    ref_logps: Tensor | None = None
    old_logps: Tensor | None = None
    """Under the policy that drew the token, before the updates that it is used for."""
    advantages: Tensor | None = None
    returns: Tensor | None = None
    """What the critic's value is to become."""
    values: Tensor | None = None
    """The critic's value of the state before the token."""
    old_values: Tensor | None = None
    """The same, before the updates."""
    weight: Tensor | None = None
    owner: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Rollouts(Tokens):
    """Tokens of replies that the policy drew itself. A type of its own, so that a mixture tells them from demonstrations."""


@dataclass(frozen=True)
class ValueLists:
    """L groups of up to K ranked responses to one prompt, with their rewards by the model; tensors are float32 [L, K]."""

    values: Tensor
    """What the model makes of each response; what stands where none is means nothing."""
    mask: Tensor | None = None
    """bool, True where a response exists; None: everywhere."""
    ranks: Tensor | None = None
    """1 is best, equal ranks are ties; None: 1, 2, 3 ..."""
    rewards: Tensor | None = None
    """Scores of the data, higher is better; None where only the order is known."""
    lengths: Tensor | None = None
    """Response tokens, counted."""
    preference: Tensor | None = None
    """P(the first beats the second) [L], for lists of two; 1 elsewhere. None: 1."""
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class ValuePairs:
    """P preference pairs, each read whole by the model, in both orders; tensors are float32 [P]."""

    chosen_values: Tensor
    """Logit of P(the first beats the second) where the chosen response is the first."""
    rejected_values: Tensor
    """The same where the rejected response is the first."""
    preference: Tensor | None = None
    """P(chosen beats rejected) [P]; None means 1."""
    chosen_lengths: Tensor | None = None
    """Characters."""
    rejected_lengths: Tensor | None = None
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class ValueSingles:
    """R responses with k attributes."""

    values: Tensor
    """The model's outputs, float32 [R, n]."""
    attributes: Tensor
    """What the data says of them, float32 [R, k]; NaN where it says nothing."""
    weight: Tensor | None = None
    conversation: Any = None
    step: Mapping[str, Tensor] | None = None


Items = Pairs | Lists | Singles | Tokens | Rollouts | ValueLists | ValuePairs | ValueSingles
VALUED = (ValueLists, ValuePairs, ValueSingles)
"""Those that hold a reward model's outputs instead of a language model's log-probabilities."""
