"""Conditional behaviour cloning."""

from __future__ import annotations

from collections.abc import Sequence

from halign.conditioning.contract import asks
from halign.convert import Converted, to_singles
from halign.errors import HalignError
from halign.examples import Demonstration, Example
from halign.spans import prefixed


@asks(lambda settings: settings["good"])
def conditional(
    examples: Sequence[Example],
    *,
    good: str = "A good answer:\n",
    bad: str = "A poor answer:\n",
    from_score: float | None = None,
) -> Converted[Demonstration]:
    r"""Imitate good and bad responses alike, each after words that say which it is; then ask for a good one.

    .. math:: -\log \pi(y \mid x, c(y)), \quad c(y) \in \{\text{good}, \text{bad}\}

    The words are given, not learnt. Every agent turn is told by its own words only: those of earlier turns are not in its prompt.

    Source: concept behaviour cloning in the survey arXiv 2307.12966; conditioned on a source's quality in OpenChat, arXiv
    2309.11235.

    Args:
        examples: pairs, rankings, ratings, or conversations with alternatives.
        good, bad: what a response of either class follows. The finished model is asked with ``good``.
        from_score: score from which a response is good. None: as rated; of what is only compared, the best are good and the
            rest are bad.

    Returns:
        one demonstration per response.

    Raises:
        HalignError: for demonstrations, of which nobody said whether they are good, and for words that do not differ.

    >>> from halign.readers import read
    >>> data = read([{"prompt": [{"role": "user", "content": "2+2?"}], "chosen": "4", "rejected": "5"}])
    >>> [d.dialogue.messages[-1].content for d in conditional(data).examples]
    ['A good answer:\n4', 'A poor answer:\n5']
    """
    if good == bad:
        raise HalignError(f"conditional: good and bad are both {good!r}: nothing tells them apart")
    for e in examples:
        if isinstance(e, Demonstration):
            raise HalignError(
                f"conditional needs to know which responses are good, and conversation {e.conversation!r} does not say: "
                "give its agent turns 'alternatives', or its replies a 'label' (prompt, completion, label)"
            )
    rated, dropped = to_singles(examples, threshold=from_score)
    made = [
        Demonstration(
            r.prompt + prefixed(r.response, good if r.desirable else bad),
            r.conversation,
            (len(r.prompt),),
            r.weight,
        )
        for r in rated
    ]
    return Converted(made, dropped)
