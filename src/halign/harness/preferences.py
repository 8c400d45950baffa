"""Does a model find the better of two replies likelier? Comparison by log-probability, as HHH is scored (Askell and others, arXiv
2112.00861): no sampling, no judge; the replies are read after their prompt in the model's own chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halign.errors import HalignError
from halign.evaluate.intervals import Interval, mean
from halign.examples import Preference
from halign.harness.likelihoods import Progress, Reading, in_parts
from halign.likelihood import Likelihood, as_path, make_renderer
from halign.models import Policy


@dataclass(frozen=True, slots=True)
class Compared:
    """The two replies of a preference, end-of-turn token included."""

    conversation: str
    chosen: Likelihood
    rejected: Likelihood

    def margin(self, per_token: bool = False) -> float:
        """By how much the chosen one is likelier, nats (per token of each reply)."""
        if per_token:
            return self.chosen.logp / self.chosen.tokens - self.rejected.logp / self.rejected.tokens
        return self.chosen.logp - self.rejected.logp


@dataclass(frozen=True)
class Preferred:
    """What came of some preferences."""

    compared: tuple[Compared, ...]

    def accuracy(self, per_token: bool = False) -> Interval:
        """Share of the pairs whose chosen reply is likelier, a tie counting half, with its 95 % interval over conversations.

        Args:
            per_token: compare means over the tokens, which takes away what favours short replies.

        Raises:
            HalignError: all pairs are of one conversation.
        """
        if len({c.conversation for c in self.compared}) < 2:
            raise HalignError("an interval needs pairs of at least two conversations")
        margins = [c.margin(per_token) for c in self.compared]
        right = [0.5 if m == 0 else float(m > 0) for m in margins]
        return mean(right, [c.conversation for c in self.compared])

    @property
    def ties(self) -> int:
        """Pairs whose replies are exactly as likely (the same text)."""
        return sum(c.margin() == 0 for c in self.compared)


def preferred(
    policy: Policy,
    pairs: Sequence[Preference],
    *,
    reading: Reading | None = None,
    progress: Progress = lambda done, total: None,
) -> Preferred:
    """Compare the replies of preferences (``halign.read``) by log-probability.

    Raises:
        HalignError: an example that is no preference, or does not fit the model's template.
    """
    other = next((e for e in pairs if not isinstance(e, Preference)), None)
    if other is not None:
        raise HalignError(
            f"a comparison needs pairs of a chosen and a rejected reply, got a {type(other).__name__}"
        )
    renderer = make_renderer(policy)
    paths = (
        as_path(renderer, pair.prompt, reply) for pair in pairs for reply in (pair.chosen, pair.rejected)
    )
    found = iter(in_parts(policy, paths, 2 * len(pairs), reading or Reading(), progress))
    return Preferred(tuple(Compared(p.conversation, next(found), next(found)) for p in pairs))
