"""What a run was trained on, as far as its folder and the data file beside it say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from halign.errors import HalignError
from halign.reporting.evidence import ModelEntry

SOURCES = ("data", "eval_data", "prompts", "model", "reward")
"""Settings that name a file or a model, in the order in which they are shown."""


def run_data(entries: Iterable[ModelEntry]) -> list[tuple[str, str]]:
    """(what, in words) for each source of each run: its name, and for a file what its card and its lineage say."""
    rows = []
    for m in entries:
        settings = m.training.settings if m.training else {}
        for key in SOURCES:
            if isinstance(value := settings.get(key), str) and value:
                mark = settings.get(f"{key}_fingerprint")
                words = [value, *([f"fingerprint {str(mark)[:12]}"] if mark else []), *_card(Path(value))]
                rows.append((f"{m.name}: {key.replace('_', ' ')}", "; ".join(words)))
    return rows


def _card(file: Path) -> list[str]:
    """What stands beside a data file: description, licence ..., and the steps that built it."""
    from halign.reporting.data_card import beside, steps

    if not file.is_file():
        return []
    try:
        said = [f"{k}: {v}" for k, v in beside(file).items()]
    except HalignError as e:
        said = [str(e)]
    return [
        *said,
        *(f"built by {builder} from {source}, which is {state}" for builder, _, source, state in steps(file)),
    ]
