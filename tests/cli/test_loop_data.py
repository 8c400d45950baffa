"""What ``halign run LOOP`` takes for data: examples, and rows of prompts alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halign.cli.loop import examples_of
from halign.errors import DataError, HalignError
from halign.loops.asked import asked
from halign.loops.prompts import demonstrations


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("prompt", ["2+2=", [{"role": "user", "content": "2+2="}]])
def test_prompts_alone_are_asked_and_answer_nothing(tmp_path, prompt) -> None:
    rows = [{"prompt": prompt, "conversation": "sums"}, {"prompt": "3+3=", "conversation": "more"}]
    examples = examples_of(written(tmp_path, *rows))
    found = asked(examples)
    assert [one.prompt.messages[-1].content for one in found] == ["2+2=", "3+3="]
    assert [one.conversation for one in found] == ["sums", "more"]
    assert all(one.own is None for one in found)
    assert demonstrations(examples) == []
    with pytest.raises(HalignError, match="none of 2 prompts has a response"):
        asked(examples, answered=True)


def test_a_bad_row_of_examples_is_named_as_ever(tmp_path) -> None:
    good, bad = (
        {"prompt": "2+2=", "chosen": "4", "rejected": "5"},
        {"prompt": "2+2=", "chosen": 4, "rejected": "5"},
    )
    assert len(examples_of(written(tmp_path, good, good))) == 2
    with pytest.raises(DataError, match=r"rows.jsonl:2: chosen"):
        examples_of(written(tmp_path, good, bad))
