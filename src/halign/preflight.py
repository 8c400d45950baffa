"""What can silently go wrong between text and tokens, looked for before the first step.

``check_items`` reads rendered items and says what it saw, one finding per line. Each trap is an error, which
stops the run unless the user accepts it by name. Nothing here needs a model.

>>> print(format_findings([Finding("truncated", "info", "3 of 90 prompts lost turns")]))
note   truncated: 3 of 90 prompts lost turns
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.items import Item, Path
from halign.render import Renderer

ERRORS = {
    "do_not_meet": "the template's generation prompt is no beginning of the answered dialogue",
    "double_bos": "a sequence begins with two BOS tokens",
    "bos_inside": "a BOS token stands elsewhere than at position 0",
    "no_end_of_turn": "a response does not end in a stop token of the model, which would never learn to stop",
    "end_of_turn_masked": "a response ends in a stop token that the loss mask leaves out",
    "no_supervised_token": "a response without a token to learn from",
    "same_responses": "chosen and rejected (or all responses of a list) are the same tokens",
    "left_out": "examples that could not be rendered, or do not fit into max_length",
    "control_tokens": "content that spells a special token, which the tokenizer then reads as one",
    "overlap": "a conversation that both train and test contain",
    "too_long": "a prompt with its response is longer than the model has positions",
    "not_finite": "the model's log-probabilities (or rewards) are not finite before the first step",
    "not_repeatable": "two forward passes over the same batch differ: dropout or other noise is on",
    "trie_differs": "shared and separate passes over the first pack give different log-probabilities (or rewards)",
    "not_reference": "before the first step the policy differs from the reference",
}
"""Names of the errors that ``accept`` takes, and what each means."""

SHOWN = 3
TAIL = 120
"""Characters of a prompt that are shown before a response."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the preflight. An accepted error has the level "info"."""

    name: str
    level: Literal["error", "info"]
    text: str


def check_items(
    items: Sequence[Item], tokenizer: Any, renderer: Renderer, *, accept: Collection[str] = ()
) -> list[Finding]:
    """What rendering made of the data: errors and notes, in a fixed order.

    Args:
        items: rendered by ``renderer``; its report is read too.
        accept: names of errors that the user has seen and accepts.

    Raises:
        HalignError: if ``accept`` names no error there is.
    """
    where = _Where(items, tokenizer)
    found = [
        *_meeting(renderer),
        *_bos(where, tokenizer, renderer),
        *_endings(where, tokenizer, renderer),
        *_supervision(where),
        *_sameness(where),
        *_report(renderer),
        *_settings(tokenizer, renderer),
        Finding("spans", "info", show_spans(items, tokenizer)),
    ]
    return accepted(found, accept)


def check_overlap(
    train: Iterable[Item], test: Iterable[Item], *, accept: Collection[str] = ()
) -> list[Finding]:
    """Whether held-out items are held out: no conversation on both sides. Equal token paths are counted."""
    train, test = list(train), list(test)
    ours = {i.conversation for i in train}
    shared = sorted({i.conversation for i in test} & ours)
    found = []
    if shared:
        names = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        found.append(
            Finding("overlap", "error", f"{len(shared)} conversations are in both train and test: {names}")
        )
    seen = {p.ids.tobytes() for i in train for p in i.paths}
    again = sum(any(p.ids.tobytes() in seen for p in i.paths) for i in test)
    if again:
        text = f"{again} of {len(test)} test items hold a prompt and response that train holds, to the token"
        found.append(Finding("duplicates", "info", text))
    return accepted(found, accept)


def accepted(findings: Iterable[Finding], accept: Collection[str]) -> list[Finding]:
    """The findings with accepted errors turned into notes.

    Raises:
        HalignError: if a name to accept is unknown.
    """
    for name in accept:
        if name not in ERRORS:
            near = get_close_matches(name, ERRORS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(ERRORS)}"
            raise HalignError(f"accept: no such preflight error: {name!r}{hint}")
    return [
        replace(f, level="info", text=f"{f.text} (accepted)") if f.name in accept else f for f in findings
    ]


def format_findings(findings: Iterable[Finding]) -> str:
    """The findings as plain text, one per line; the later lines of a long one are indented."""
    mark = {"error": "ERROR", "info": "note "}
    lines = (f"{mark[f.level]}  {f.name}: {f.text}" for f in findings)
    return "\n".join(line.replace("\n", "\n       ") for line in lines)


def show_spans(items: Sequence[Item], tokenizer: Any, shown: int = SHOWN) -> str:
    """Supervised spans of some items, decoded: the prompt's tail, then what is learnt in ⟦ ⟧."""
    if not items:
        return "no items"
    picked = sorted({round(k * (len(items) - 1) / max(shown - 1, 1)) for k in range(shown)})
    lines = [f"what is supervised, in ⟦ ⟧, of {len(picked)} of {len(items)} items:"]
    for i in picked:
        lines.append(f"[{_name(items[i])}]")
        lines += [f"  {_span(p, tokenizer)}" for p in items[i].paths]
    return "\n".join(lines)


# -- the checks


class _Where:
    """The items, and a way to count offenders and to point at the first."""

    def __init__(self, items: Sequence[Item], tokenizer: Any) -> None:
        self.items, self._tokenizer = items, tokenizer

    def paths(self, test: Callable[[Path], bool], name: str, advice: str) -> Iterator[Finding]:
        """An error if any path fails the test (``test`` is true of bad paths)."""
        bad = [(item, p) for item in self.items for p in item.paths if test(p)]
        if bad:
            total = sum(len(i.paths) for i in self.items)
            item, path = bad[0]
            yield Finding(
                name,
                "error",
                f"{len(bad)} of {total} responses: {ERRORS[name]}. {advice}\n"
                f"first at [{_name(item)}] {_span(path, self._tokenizer)}",
            )


def _meeting(renderer: Renderer) -> Iterator[Finding]:
    """Renders a plain exchange, and one that follows on another: do prompt and response meet?"""
    if not getattr(renderer.tokenizer, "chat_template", None):
        return
    user, agent = Message("user", "Hello."), Message("assistant", "Good day.")
    report, renderer.report = renderer.report, type(renderer.report)()  # this is no data: not to be counted
    try:
        for prompt in (Dialogue((user,)), Dialogue((user, agent, user))):
            renderer.path(prompt, agent)
    except HalignError as error:
        yield Finding("do_not_meet", "error", str(error))
    finally:
        renderer.report = report
    if renderer.response_body:
        text = "where prompt and response do not meet, the response's rendered body follows the prompt"
        yield Finding("response_body", "info", text)


def _bos(where: _Where, tokenizer: Any, renderer: Renderer) -> Iterator[Finding]:
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return
    yield from where.paths(
        lambda p: p.ids[:2].tolist() == [bos, bos],
        "double_bos",
        "The chat template writes a BOS twice, or the text holds one and the tokenizer adds another.",
    )
    if bos not in renderer.stop_ids:  # where BOS is the stop token too (GPT-2), it ends every turn
        yield from where.paths(
            lambda p: bos in p.ids[2:] or (bos in p.ids[1:2] and bos not in p.ids[:1]),
            "bos_inside",
            "Texts that each began with a BOS were joined, or content spells it. (Llama 2 means to.)",
        )
    writes = any(len(i.paths[0].prompt) and i.paths[0].prompt[0] == bos for i in where.items[:100])
    plain = tokenizer("a")["input_ids"]
    if where.items and not writes and plain and plain[0] == bos:
        text = "the tokenizer puts a BOS before plain text; the chat template writes none, so none is used"
        yield Finding("no_bos", "info", text)


def _endings(where: _Where, tokenizer: Any, renderer: Renderer) -> Iterator[Finding]:
    stops = renderer.stop_ids
    names = ", ".join(repr(tokenizer.decode([t])) for t in sorted(stops)) or "none"
    yield from where.paths(
        lambda p: len(p.response) > 0 and int(p.response[-1]) not in stops,
        "no_end_of_turn",
        f"The model stops at {names}. Give the end-of-turn token of the template as a stop token "
        "(stop_ids, generation_config.eos_token_id), or use a template that writes one.",
    )
    yield from where.paths(
        lambda p: (
            p.loss_mask is not None
            and len(p.response) > 0
            and int(p.response[-1]) in stops
            and not p.loss_mask[-1]
        ),
        "end_of_turn_masked",
        "The loss has to cover it.",
    )


def _supervision(where: _Where) -> Iterator[Finding]:
    yield from where.paths(
        lambda p: len(p.response) == 0 or (p.loss_mask is not None and not p.loss_mask.any()),
        "no_supervised_token",
        "Drop these rows, or mend the loss mask.",
    )
    only = sum(len(p.response) == 1 for i in where.items for p in i.paths)
    if only:
        yield Finding(
            "one_token", "info", f"{only} responses are a single token (an end of turn, nothing said)"
        )


def _sameness(where: _Where) -> Iterator[Finding]:
    def same(item: Item) -> bool:
        first = item.paths[0].ids
        return all(np.array_equal(first, p.ids) for p in item.paths[1:])

    groups = [i for i in where.items if len(i.paths) > 1]
    bad = [i for i in groups if same(i)]
    if bad:
        text = f"{len(bad)} of {len(groups)} items: {ERRORS['same_responses']}; first at [{_name(bad[0])}]"
        yield Finding("same_responses", "error", text)


def _report(renderer: Renderer) -> Iterator[Finding]:
    report = renderer.report
    if report.truncated:
        text = (
            f"{report.truncated} of {report.paths} prompts lost {report.dropped_turns} old turns "
            f"to fit max_length={renderer.max_length}"
        )
        yield Finding("truncated", "info", text)
    if report.tools_unseen:
        text = f"{report.tools_unseen} prompts come with tools, of which the chat template writes nothing"
        yield Finding("tools_unseen", "info", text)
    if report.left_out:
        total = sum(report.left_out.values())
        reasons = ", ".join(f"{n} {reason}" for reason, n in report.left_out.most_common())
        first = "\n".join(str(e) for e in report.errors[:3])
        text = f"{total} of {total + report.items} items were left out ({reasons}):\n{first}"
        yield Finding("left_out", "error", text)
    if report.control_tokens:
        text = (
            f"{report.control_tokens} examples: {ERRORS['control_tokens']}. Who types it ends the turn "
            "or opens another, here and at inference alike. Take it out of the data, or accept it."
        )
        yield Finding("control_tokens", "error", text)


def _settings(tokenizer: Any, renderer: Renderer) -> Iterator[Finding]:
    pad = getattr(tokenizer, "pad_token_id", None)
    if pad is not None and pad in renderer.stop_ids:
        token = tokenizer.decode([pad])
        text = f"the pad token is a stop token ({token!r}); padding goes by place, so responses keep theirs"
        yield Finding("pad_is_stop", "info", text)
    if "strftime_now" in str(getattr(tokenizer, "chat_template", "")):
        text = "the chat template can write today's date, so tomorrow's run may see other tokens"
        yield Finding("date", "info", text)


# -- words for people


def _name(item: Item) -> str:
    return f"{item.conversation}" + (f", message {item.turn}" if item.turn >= 0 else "")


def _span(path: Path, tokenizer: Any) -> str:
    prompt = tokenizer.decode(path.prompt.tolist())
    tail = ("…" if len(prompt) > TAIL else "") + prompt[-TAIL:]
    mask = np.ones(len(path.response), dtype=bool) if path.loss_mask is None else path.loss_mask
    cuts = np.flatnonzero(np.diff(mask.astype(int))) + 1
    spans = []
    for ids, kept in zip(np.split(path.response, cuts), np.split(mask, cuts), strict=True):
        text = tokenizer.decode(ids.tolist())
        spans.append(f"⟦{text}⟧" if len(kept) and kept[0] else text)
    return (tail + "".join(spans)).replace("\n", "⏎")
