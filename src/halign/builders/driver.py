"""Runs a builder over a file: streaming, in chunks, so that a killed job goes on where it stopped and ends in the same bytes.

While it works there is a folder ``.OUT.building`` beside the output:

rows.jsonl   what whole chunks built, appended        state.json   how far that goes, and the counts; replaced after each chunk

A chunk counts once ``state.json`` says so; what rows.jsonl holds beyond that is cut off. The output appears whole at the end,
with its lineage header and ``OUT.build.json``, the report.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from halign import lineage
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.curation.source import Row, RowSource, Watch, check_output, unwatched
from halign.errors import HalignError
from halign.examples import Example
from halign.readers import write_rows
from halign.readers.write import to_row

REMEDIES = {
    "writer": "give a model that writes: --model DIR, or --endpoint URL --llm NAME",
    "judge": "give a model that answers yes or no: --judge DIR, or --judge URL --judge-llm NAME",
}


@dataclass
class Report:
    """What a build did; the same however often it was interrupted.

    Attributes:
        read: source rows; ``built``: rows written.
        dropped: reason -> count; ``tallies``: what else the builder counted.
        notes: what a reader of the data should know, in sentences.
    """

    builder: str
    settings: Mapping[str, Any]
    read: int = 0
    built: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tallies: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def build(
    builder: Builder,
    source: RowSource,
    output: str | os.PathLike[str],
    settings: BuilderSettings,
    tools: Tools | None = None,
    *,
    overwrite: bool = False,
    watch: Watch[Row] = unwatched,
) -> Report:
    """Build ``output`` (.jsonl or .jsonl.gz) of the rows of ``source``.

    The same call after an interruption goes on; replies of an endpoint come from its cache and are not paid again.

    Args:
        tools: writer and judge; the rest of it is set here.
        overwrite: replace the output, and drop what an unfinished job with other settings left.

    Raises:
        HalignError: a tool is missing, the output stands there, another process builds it, an unfinished job had other
            settings or sources, or nothing was built.
    """
    tools = require(builder, tools or Tools())
    check_output(output, overwrite, source.file)
    path = Path(output)
    prepared = builder.prepare(settings) if builder.prepare else None
    tools = replace(tools, seed=settings.seed, skip_failed=settings.skip_failed, prepared=prepared)
    step = lineage.Step.of(builder.name, described(source, settings, tools), source.file)
    with _alone(path) as folder:
        job = _Job(folder, step, overwrite)
        tools.so_far = job.rows
        rows = watch(_rows(builder, source, settings), builder.name)
        for chunk, some in _chunks(rows, settings.chunk):
            if chunk >= job.chunks:
                made = builder.build(some, settings, replace(tools, chunk=chunk))
                job.add(len(some), made)
        if not job.built:
            shutil.rmtree(folder)
            raise HalignError(f"{builder.name}: nothing was built of {job.read:,} rows{_why(job.dropped)}")
        report = _report(builder, step, job, settings, prepared)
        lineage.write_header(path, [step], [source.file])
        _write_whole(report_path(path), json.dumps(vars(report), indent=1, ensure_ascii=False) + "\n")
        write_rows(job.rows(), path)  # last: where the output stands, all of it does
        shutil.rmtree(folder)
    return report


def dry_run(builder: Builder, source: RowSource, settings: BuilderSettings, tools: Tools) -> int:
    """Build all chunks and write nothing; with dry tools (``DryWriter``, ``DryYesNo``) that counts the calls. Returns the rows
    read.

    Raises:
        HalignError: as ``build``.
    """
    tools = require(builder, tools)
    prepared = builder.prepare(settings) if builder.prepare else None
    tools = replace(tools, seed=settings.seed, skip_failed=True, prepared=prepared)
    read = 0
    for chunk, some in _chunks(_rows(builder, source, settings), settings.chunk):
        builder.build(some, settings, replace(tools, chunk=chunk))
        read += len(some)
    return read


def require(builder: Builder, tools: Tools) -> Tools:
    """The tools, if they are what the builder needs.

    Raises:
        HalignError: one is missing.
    """
    for need in builder.needs:
        if getattr(tools, need) is None:
            raise HalignError(f"{builder.name} needs a {need}: {REMEDIES[need]}")
    return tools


def report_path(output: Path) -> Path:
    """Where the report stands: ``a.jsonl.gz`` -> ``a.jsonl.gz.build.json``."""
    return output.with_name(f"{output.name}.build.json")


def described(source: RowSource, settings: BuilderSettings, tools: Tools) -> dict[str, Any]:
    """All that decides what is built, for the lineage; of files that settings name, the name and the bytes' hash."""
    said: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        said[name] = (
            {"file": value.name, "sha256": lineage.file_hash(value)} if isinstance(value, Path) else value
        )
    if tools.writer is not None:
        said["writer"] = tools.writer.identity
    if tools.judge is not None:
        client = getattr(tools.judge, "client", None)
        said["judge"] = str(client.endpoint) if client is not None else type(tools.judge).__name__
    return {**source.settings, **said}


def _rows(builder: Builder, source: RowSource, settings: BuilderSettings) -> Iterable[Row]:
    if builder.read:
        return builder.read(os.fspath(source.file), settings)
    return _chats(builder, source) if builder.chat else source


def _chats(builder: Builder, source: RowSource) -> Iterator[Row]:
    """The rows, none of which may be plain text."""
    for row in source:
        if row.dialogue.is_raw:
            raise HalignError(
                f"{builder.name}: row {row.number} of {source.file} is plain text (read as {source.format}), and chat messages "
                "are needed: --format alpaca_chat for Alpaca's columns, else say which column is what, as in --columns "
                "user=prompt,assistant=completion"
            )
        yield row


def _chunks(rows: Iterable[Row], size: int) -> Iterator[tuple[int, list[Row]]]:
    waiting = iter(rows)
    for number in itertools.count():
        if not (some := list(itertools.islice(waiting, size))):
            return
        yield number, some


@contextmanager
def _alone(output: Path) -> Iterator[Path]:
    """The job's folder, which no other process works in meanwhile."""
    folder = output.with_name(f".{output.name}.building")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise HalignError(
            f"another process builds {output} now; wait for it, or name another output"
        ) from None
    try:
        yield folder
    finally:
        lock.release()


class _Job:
    """How far a build has come."""

    def __init__(self, folder: Path, step: lineage.Step, anew: bool) -> None:
        self.file, self.state, self.step = folder / "rows.jsonl", folder / "state.json", step
        self.chunks = self.read = self.built = self.bytes = 0
        self.dropped, self.tallies = Counter[str](), Counter[str]()
        if self.state.exists():
            said = json.loads(self.state.read_text(encoding="utf-8"))
            if said["step"] == step.key:
                self.chunks, self.read, self.built, self.bytes = (
                    said[k] for k in ("chunks", "read", "built", "bytes")
                )
                self.dropped, self.tallies = Counter(said["dropped"]), Counter(said["tallies"])
            elif not anew:
                raise HalignError(
                    f"{folder} is left of an unfinished job with other settings, models or source; run that one again, or start "
                    "anew with --overwrite"
                )
        with self.file.open("ab") as file:
            file.truncate(self.bytes)

    def add(self, read: int, made: Made) -> None:
        """One more chunk, durably."""
        lines = [json.dumps(self._row(b), ensure_ascii=False, default=str) + "\n" for b in made.built]
        text = "".join(lines).encode("utf-8", "surrogatepass")
        with self.file.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.chunks, self.read, self.built = self.chunks + 1, self.read + read, self.built + len(lines)
        self.bytes += len(text)
        self.dropped.update(made.dropped)
        self.tallies.update(made.tallies)
        said = {k: getattr(self, k) for k in ("chunks", "read", "built", "bytes", "dropped", "tallies")}
        _write_whole(self.state, json.dumps({"step": self.step.key, **said}))

    def rows(self) -> Iterator[dict[str, Any]]:
        """What was built so far."""
        with self.file.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def _row(self, built: Built) -> dict[str, Any]:
        """The canonical row, what else it says, and where it comes from."""
        made = {**to_row(_weighted(built)), **built.columns}
        if lineage.COLUMN in made.get("meta", {}):
            made["meta"] = {k: v for k, v in made["meta"].items() if k != lineage.COLUMN}
        made[lineage.COLUMN] = origin(self.step, built.rows, built.replies)
        return made


def origin(step: lineage.Step, rows: Sequence[Row], replies: Sequence[str]) -> lineage.Lineage:
    """The lineage of what was built of these rows; a row numbered 0 is none of the file's, but stands for all of it."""
    if len(rows) == 1 and rows[0].number:
        return lineage.derive(step, rows[0].number, rows[0].row, replies)
    return lineage.join(step, [(r.number, r.row) for r in rows if r.number], replies)


def _weighted(built: Built) -> Example:
    """The example with the weight of the row that it was made of, unless the builder gave it one, or made it of several rows."""
    example = built.example
    source = built.rows[0].example if len(built.rows) == 1 else None
    if source is None or example.weight != 1.0:
        return example
    return replace(example, weight=source.weight)


def _why(dropped: Counter[str]) -> str:
    said = "; ".join(f"{n:,} {why}" for why, n in dropped.most_common(5))
    return f": {said}" if said else ""


def _report(
    builder: Builder, step: lineage.Step, job: _Job, settings: BuilderSettings, prepared: Any
) -> Report:
    notes = builder.notes(settings, prepared, job.tallies) if builder.notes else []
    described = {k: v for k, v in step.settings.items() if v is not None}
    described = json.loads(json.dumps(described, default=str))
    return Report(builder.name, described, job.read, job.built, job.dropped, job.tallies, notes)


def _write_whole(path: Path, text: str) -> None:
    """A file, whole or not at all, and on the disk before the name is."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
