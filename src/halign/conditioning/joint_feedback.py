"""Joint feedback modelling."""

from __future__ import annotations

from collections.abc import Sequence

from halign.conditioning.contract import asks
from halign.conditioning.responses import responses
from halign.convert import Converted
from halign.dialogue import RAW, Message
from halign.errors import HalignError
from halign.examples import Demonstration, Example
from halign.spans import prefixed

RAW_MARKER = "\n\nFeedback: "


@asks(lambda settings: "")
def joint_feedback(examples: Sequence[Example], *, marker: str | None = None) -> Converted[Demonstration]:
    r"""Learn a response and then, as the next turn of the user, what somebody said about it.

    .. math:: -\left(\log p(f \mid y, x) + \log p(y \mid x)\right)

    Both turns share their trunk in the trie. Nothing is asked for at sampling.

    Source: "joint feedback modelling" in the survey of feedback methods, arXiv 2305.00955.

    Args:
        examples: any, whose responses carry ``feedback``, a text.
        marker: words before the feedback, not learnt. None: none in a chat, "\\n\\nFeedback: " in plain text.

    Returns:
        one demonstration of two turns per response with feedback. Responses without are dropped where others of their example
        have one.

    Raises:
        HalignError: for an example without any feedback.

    >>> from halign.readers import read
    >>> data = read([{"prompt": [{"role": "user", "content": "2+2?"}], "completion": "5", "feedback": "No, 4."}])
    >>> made = joint_feedback(data).examples[0]
    >>> [m.content for m in made.dialogue.messages], made.turns
    (['2+2?', '5', 'No, 4.'], (1, 2))
    """
    made: list[Demonstration] = []
    dropped = 0
    for e in examples:
        before = len(made)
        for r in responses(e):
            said = r.message.extra.get("feedback")
            if not said:
                dropped += 1
                continue
            words = _turn(r.message.role, str(said), marker)
            turn = len(r.prompt)
            made.append(
                Demonstration(r.prompt + r.message + words, e.conversation, (turn, turn + 1), e.weight)
            )
        if len(made) == before:
            raise HalignError(
                f"joint_feedback needs feedback, and no response of conversation {e.conversation!r} has any: give its "
                "replies the key 'feedback' beside their content, or the row a column 'feedback' beside its completion"
            )
    return Converted(made, {"responses without feedback": dropped} if dropped else {})


def _turn(role: str, words: str, marker: str | None) -> Message:
    """The feedback as a turn of its own."""
    raw = role == RAW
    given = marker if marker is not None else RAW_MARKER if raw else ""
    return prefixed(Message(RAW if raw else "user", words), given)
