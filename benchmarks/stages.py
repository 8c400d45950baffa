"""What the benchmarks on real data share: a part of a file, a fresh model, and what it learns first. No model hub is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import halign as hl
from benchmarks.workloads import make_model
from halign.examples import Example, prompts

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FROM_SCRATCH: dict[str, Any] = {
    "optimizer": "muon",
    "learning_rate": 5e-3,
    "embedding_learning_rate": 3e-3,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup": 0.05,
}


def part(file: Path, share_of: float = 1.0) -> list[Example]:
    """The first conversations of a file, always the same: this share of them, and at least twenty."""
    data = list(hl.read(file))
    names = list(dict.fromkeys(e.conversation for e in data))
    kept = set(names[: max(20, round(len(names) * min(1.0, share_of)))])
    return [e for e in data if e.conversation in kept]


def fresh_model(folder: Path, read: list[Example]) -> Path:
    """A folder with a Llama of 7 million parameters that knows nothing, and a tokenizer learnt from the examples; made once."""
    if not (folder / "config.json").exists():
        texts = (m.content for _, prompt in prompts(read) for m in prompt.messages[-2:])
        make_model(folder, texts, CHATML)
    return folder


def learn_conversations(
    start: Path, train: Sequence[Example], held_out: Sequence[Example], output: Path, **settings: Any
) -> hl.Run:
    """``sft`` on whole conversations from random weights; a run folder, which a second call resumes."""
    return hl.train(
        start,
        train,
        "sft",
        output=output,
        evaluation=held_out,
        batch_items=64,
        accept=["overlap", "control_tokens"],
        **FROM_SCRATCH,
        **settings,
    )
