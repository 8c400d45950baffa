"""Rewards by a language model that grades: the mean of its grades under their probabilities (RLAIF's direct variant).

Source: Lee et al. 2023, arXiv 2309.00267 (direct RLAIF): the model is asked for a score from 1 to 10, and the reward is not the
likeliest score but the expectation over the probabilities of the score tokens, if wished brought to [-1, 1].

Behind an endpoint (``LanguageModelReward``) those probabilities are what the endpoint tells. Of a model in this process
(``LocalLanguageModelReward``) they are computed: all score words are branches of one trie behind one question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.local_answers import answer_logps, asked_as
from halign.judges.questions import CRITERIA, SCORE_TEMPLATE, filled, transcript
from halign.judges.scorer import SCORES, DirectScorer
from halign.llm import Client, Endpoint, Estimate, Failure
from halign.models import Policy

SHOWN = 3
"""Failures that an error spells out."""


class LanguageModelReward:
    """A language model behind an endpoint as a ``Reward``: the expected score of a reply, in [1, 10].

    Every answer is in the client's cache before it is used, so that whatever stops a call, the next one pays only for what is
    missing.

    Args:
        grader: a ``DirectScorer``; or a client or an endpoint, of which one is made with the options.
        scaled: bring scores from [1, 10] to [-1, 1], as the paper does before reinforcement learning.
        options: of ``DirectScorer`` (``criteria``, ``template``, ``read``, ``samples`` ...).

    Raises:
        HalignError: if options are given beside a scorer that is made already.
    """

    def __init__(
        self, grader: DirectScorer | Client | Endpoint, *, scaled: bool = False, **options: Any
    ) -> None:
        if isinstance(grader, DirectScorer):
            if options:
                raise HalignError(
                    f"reward: {', '.join(options)} would have no effect beside a DirectScorer, which has its own; give them to "
                    "it, or give a client here"
                )
            self.scorer = grader
        else:
            self.scorer = DirectScorer(grader, **options)
        self.scaled = scaled

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Expected scores, one per reply.

        Raises:
            HalignError: if a reply got no score (it names the first of them and why), the endpoint or the budget ended the job,
                or the sequences differ in length. What was answered is in the cache.
        """
        found = self.scorer.score(prompts, replies).scores
        failures = [f for f in found if isinstance(f, Failure)]
        if failures:
            shown = "\n".join(f"  {f}" for f in failures[:SHOWN])
            raise HalignError(
                f"reward: {len(failures)} of {len(found)} replies got no score; what was answered is in the cache and not paid "
                f"for again when this is repeated:\n{shown}"
            )
        return [_scaled(float(s)) if self.scaled else float(s) for s in found if not isinstance(s, Failure)]

    def dry_run(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> Estimate:
        """What ``score`` would call for; nothing is sent."""
        return self.scorer.dry_run(prompts, replies)


class LocalLanguageModelReward:
    """A language model in this process as a ``Reward``: the expected score of a reply, in [1, 10].

    The model is asked as an endpoint would be, in one user's message of its chat template. An answer is a score's word and the
    end of the turn, so that a 1 is never the beginning of a 10. The ten answers are branches of one trie, and questions about
    replies to one prompt share its reading.

    Args:
        policy: from ``halign.load``.
        criteria, template: what is asked; the template is over ``criteria``, ``conversation`` and ``reply``, and the answer must
            be a number from 1 to 10.
        scaled: bring scores from [1, 10] to [-1, 1].
        prefix: words that the answer is made to begin with ("Grade: "), given and not scored; None: those the policy was trained
            for ("" for most).
        least_mass: of the probability, how much must lie on the ten answers; below it the model does not grade, and the mean of
            what it would say if it had to is noise. 0 takes it all the same.
        max_tokens: distinct tokens in one forward pass.
        dtype: ``fp32``, or ``bf16`` for autocast.

    Raises:
        HalignError: if ``least_mass`` is no probability.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        criteria: str = CRITERIA,
        template: str = SCORE_TEMPLATE,
        scaled: bool = False,
        prefix: str | None = None,
        least_mass: float = 0.01,
        max_tokens: int = 4096,
        dtype: str = "fp32",
    ) -> None:
        if not 0 <= least_mass <= 1:
            raise HalignError(f"reward: least_mass = {least_mass:g} is out of range; a probability, 0 to 1")
        self.policy, self.criteria, self.template = policy, criteria, template
        self.scaled, self.least_mass = scaled, least_mass
        self.prefix = prefix
        self.options: dict[str, Any] = {"max_tokens": max_tokens, "dtype": dtype}

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Expected scores, one per reply.

        Raises:
            HalignError: if the model does not answer with a score (see ``least_mass``), or the sequences differ in length.
        """
        logps = self.score_logps(prompts, replies)
        masses = logps.exp().sum(1)
        low = (masses < self.least_mass).nonzero().flatten().tolist()
        if low:
            raise HalignError(
                f"reward: on reply {low[0]} this model gives the answers {SCORES[0]} to {SCORES[-1]} a probability of "
                f"{float(masses[low[0]]):.2g} together, less than least_mass = {self.least_mass:g} ({len(low)} of {len(logps)} "
                "replies): it does not grade. Take a model that follows instructions, give a template or a prefix that it "
                "answers with a number, or set least_mass=0"
            )
        values = torch.tensor(list(SCORES), dtype=logps.dtype)
        means: list[float] = (logps.softmax(1) @ values).tolist()
        return [_scaled(m) if self.scaled else m for m in means]

    def score_logps(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> Tensor:
        """log P(the answer is this score, and nothing after it), float32 [R, 10], nats.

        Raises:
            HalignError: if the sequences differ in length.
        """
        if len(prompts) != len(replies):
            raise HalignError(
                f"reward: {len(prompts)} prompts and {len(replies)} replies; one of each is needed"
            )
        asked = list(map(self._question, prompts, replies))
        return answer_logps(self.policy, asked, [str(s) for s in SCORES], prefix=self.prefix, **self.options)

    def _question(self, prompt: Dialogue, reply: str) -> Dialogue:
        words = filled(self.template, criteria=self.criteria, conversation=transcript(prompt), reply=reply)
        return asked_as(self.policy, words)


def _scaled(score: float) -> float:
    """From [1, 10] to [-1, 1].

    >>> _scaled(1), _scaled(5.5), _scaled(10)
    (-1.0, 0.0, 1.0)
    """
    low, high = SCORES[0], SCORES[-1]
    return (2 * score - low - high) / (high - low)
