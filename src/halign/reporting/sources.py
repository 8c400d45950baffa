"""What a report can be made of, told apart by what stands in a folder or file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.records import ITEMS, VERDICTS, Judged
from halign.reporting.evidence import CONFIG, Panel
from halign.reporting.pool import folder_names
from halign.reporting.stored_results import RESULTS, audit_panels, results_panels

AUDITS, DATA = (".json",), (".jsonl", ".csv", ".tsv", ".parquet")


@dataclass
class Sources:
    """What was given, sorted out.

    Attributes:
        runs: run folders or ``Run`` objects.
        panels: of results, audits and data.
    """

    runs: list[Any] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)


def is_judged(folder: Path) -> bool:
    """Whether a folder holds verdicts, or items that are being judged."""
    return any((folder / name).exists() for name in (ITEMS, VERDICTS))


def followed(paths: Iterable[Path]) -> list[Path]:
    """The folders that a live page follows: of results, the runs and judged folders in them.

    Raises:
        HalignError: a file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            raise HalignError(f"{path} is a file; --serve follows folders of runs and of verdicts")
        own = not path.exists() or (path / CONFIG).exists() or is_judged(path)
        inside = [*_runs(path), *_judged(path)]
        found.update(dict.fromkeys([path] if own or not inside else inside))
    return list(found)


def sort_out(paths: Iterable[Any]) -> Sources:
    """What each path holds: a run, verdicts, the results of a recipe, an evaluation or dialogues with the runs and verdicts in
    their folders, the audits of a judge, or data.

    A judged folder without verdicts counts: judging has only begun. Nothing is shown twice.

    Raises:
        HalignError: a path is none of these, or cannot be read.
        DataError: a row that cannot be read.
    """
    given = list(paths)
    found, seen = Sources(), set[Path]()
    names = folder_names([Path(getattr(g, "path", g)) for g in given])
    for one, name in zip(given, names, strict=True):
        path = Path(getattr(one, "path", one))
        if path.resolve() in seen:
            continue
        if path.is_file():
            found.panels += _of_file(path, name)
        else:
            _sort_folder(one, path, name, found, seen)
        seen.add(path.resolve())
    return found


def _sort_folder(one: Any, path: Path, name: str, found: Sources, seen: set[Path]) -> None:
    run, judged, results = (path / CONFIG).exists(), is_judged(path), (path / RESULTS).exists()
    if not path.exists():
        raise HalignError(
            f"{path} does not exist; name folders that halign train, run, judge, compare or evaluate wrote"
        )
    if not (run or judged or results):
        raise HalignError(
            f"{path} is not a run folder (it has no {CONFIG}), not a judged one (no {ITEMS} or {VERDICTS}), and not one of a "
            f"recipe or an evaluation (no {RESULTS}); name the folder that halign train, run, judge, compare or evaluate wrote"
        )
    runs = [one] if run else []
    folders = [path] if judged and not run else []
    if results:
        found.panels += results_panels(path / RESULTS, name)
        runs += _runs(path)
        folders += _judged(path)
    found.runs += [r for r in runs if Path(getattr(r, "path", r)).resolve() not in seen]
    found.judged += [_read(f) for f in folders if f.resolve() not in seen]
    seen.update(Path(getattr(f, "path", f)).resolve() for f in (*runs, *folders))


def _runs(folder: Path) -> list[Path]:
    """The runs that a recipe published."""
    return sorted(f.parent for f in folder.glob(f"runs/*/{CONFIG}"))


def _judged(folder: Path) -> list[Path]:
    """The folders of verdicts of an evaluation, of the model before too."""
    inside = {f.parent for pattern in ("*", "before/*") for f in folder.glob(f"{pattern}/{VERDICTS}")}
    return sorted(inside)


def _read(folder: Path) -> Judged:
    return Judged.read(folder) if (folder / VERDICTS).exists() else Judged(folder, {}, [], {})


def _of_file(path: Path, name: str) -> list[Panel]:
    """Audits, or a data card."""
    if path.suffix in AUDITS:
        return audit_panels(path, name)
    if path.suffix in DATA:
        from halign.reporting.data_card import card_panels

        return card_panels(path, name)
    raise HalignError(
        f"{path} is neither the numbers of halign audit ({', '.join(AUDITS)}) nor data ({', '.join(DATA)}); a folder of "
        "runs, verdicts or results is named as a folder"
    )
