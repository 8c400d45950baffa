"""Alpaca: ``{"instruction", "input", "output"}``, in its published prompt template or as chat.

The template is that of Stanford Alpaca (tatsu-lab/stanford_alpaca, ``train.py``, ``PROMPT_DICT``): plain text that no chat
template wraps. ``format="alpaca_chat"`` makes a user message of instruction and input instead; rows with ``system`` or
``history`` (LLaMA-Factory) are always read so, as the template has no place for them.
"""

from __future__ import annotations

from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, all_text, text, user

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


def _input(row: Row) -> str:
    """The input; '' where there is none."""
    value = row.get("input") or ""
    if not isinstance(value, str):
        raise DataError(f"expected a string, found {fields.named(value)}", field="input")
    return value


def _sees(row: Row) -> str:
    if not all_text(row, "instruction", "output") or {"history", "system"} & row.keys():
        return ""
    return (
        "'instruction' and 'output' are texts; read in Alpaca's prompt template, as plain text (chat messages with"
        " --format alpaca_chat)"
    )


def _row(row: Row) -> dict[str, Any]:
    template = WITH_INPUT if _input(row) else WITHOUT_INPUT
    prompt = template.format(instruction=text(row, "instruction"), input=_input(row))
    return {"prompt": prompt, "completion": text(row, "output")}


def _sees_chat(row: Row) -> str:
    if not all_text(row, "instruction", "output") or not {"history", "system"} & row.keys():
        return ""
    return "'instruction' and 'output' are texts, with 'system' or 'history' beside them"


def _chat(row: Row) -> dict[str, Any]:
    said = text(row, "instruction")
    given = _input(row)
    turns: list[dict[str, Any]] = []
    if row.get("system"):
        turns.append({"role": "system", "content": row["system"]})
    for i, pair in enumerate(row.get("history") or ()):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError("expected [what was asked, what was answered]", field=f"history[{i}]")
        turns += [{"role": role, "content": c} for role, c in zip(("user", "assistant"), pair, strict=True)]
    turns += user(f"{said}\n\n{given}" if given else said)
    return {"prompt": turns, "completion": [{"role": "assistant", "content": text(row, "output")}]}


FORMATS = (
    Foreign(
        name="alpaca",
        title="Alpaca",
        needs=("instruction", "output"),
        reads_as="completions",
        sees=_sees,
        row=_row,
        takes=("input",),
    ),
    Foreign(
        name="alpaca_chat",
        title="Alpaca as chat messages",
        needs=("instruction", "output"),
        reads_as="completions",
        sees=_sees_chat,
        row=_chat,
        takes=("input", "system", "history"),
        lists=("history",),
    ),
)
