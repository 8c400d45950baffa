"""What a builder is: a name, settings, and a function from a chunk of source rows to built examples.

A builder's file holds a subclass of ``BuilderSettings``, a function ``(rows, settings, tools) -> Made`` and a ``BUILDER``. It
knows nothing of files, resuming or cost: the driver hands it whole chunks, in order, and a chunk's result may depend on the
chunk's rows, the settings, the tools and, by ``tools.so_far``, on what earlier chunks built. Nothing else, or a job that was
killed would not end in the same file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from halign.curation.source import Row
from halign.examples import Example

if TYPE_CHECKING:
    from halign.builders.tools import Tools

QUIET = "~"
"""Counts whose name begins so are for ``notes`` and the report's file, and are not shown."""

Tool = Literal["writer", "judge"]
"""What a builder may use beside rules: a model that writes, and one that answers yes or no."""


class BuilderSettings(BaseModel):
    """What every builder can be told. A builder's own settings are a subclass; each field says what it means, in its units.

    A field that names a file is a ``Path``: the file's bytes then count as part of the settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="for every draw")
    chunk: int = Field(
        64,
        ge=1,
        description="source rows that are built together; a killed job loses at most one chunk's work",
    )
    skip_failed: bool = Field(
        False, description="leave out what an endpoint gives no answer for, instead of stopping there"
    )


@dataclass(frozen=True, slots=True)
class Built:
    """One built example.

    Attributes:
        rows: the source rows that it was made of; at least one.
        replies: keys of the replies that went into it (``Written.key``, ``Chance.keys``).
        columns: what else its row says.
    """

    example: Example
    rows: tuple[Row, ...]
    replies: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Made:
    """What came of one chunk.

    Attributes:
        dropped: reason -> how often something was left out for it. A few reasons, not one a row.
        tallies: whatever else the builder counts for its report; added up over the chunks.
    """

    built: list[Built] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    tallies: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Builder:
    """A builder by name.

    Attributes:
        about: one line for ``halign data build --list``.
        build: one chunk; pure but for the tools.
        needs: tools without which it cannot work.
        uses: tools that it works better with.
        prepare: made once of the settings before any row, and found in ``tools.prepared`` (a policy that was read). It raises
            HalignError for settings that will not do.
        read: the rows to build from, in a fixed order; None: the good rows of the file. For sources that are no examples, such
            as a policy from which conversations are made; a row numbered 0 stands for the whole source.
        chat: its prompts have to be chat messages, since it adds turns to them or asks about the last one; rows of plain text,
            which no chat template wraps, are an error.
        notes: (settings, what was prepared, tallies of all chunks) -> what the report says beside counts.
    """

    name: str
    about: str
    settings: type[BuilderSettings]
    build: Callable[[Sequence[Row], Any, Tools], Made]
    needs: tuple[Tool, ...] = ()
    uses: tuple[Tool, ...] = ()
    prepare: Callable[[Any], Any] | None = None
    read: Callable[[str, Any], Iterable[Row]] | None = None
    chat: bool = False
    notes: Callable[[Any, Any, Mapping[str, int]], list[str]] | None = None
