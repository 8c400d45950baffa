"""Data: examples in order, with what a run has to know of where they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

from halign.errors import DataError
from halign.examples import Example
from halign.readers.write import to_row


class Data(Sequence[Example]):
    """A sequence of examples that remembers its source and what was skipped.

    Attributes:
        source: path, or what else the rows came from.
        format: format of the rows ("pairs", "sharegpt" ...), '' if not read from rows.
        why: how that format was seen.
        skipped: the bad rows that ``skip_bad`` left out, with file, line and field.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        source: str = "memory",
        format: str = "",
        why: str = "",
        skipped: Iterable[DataError] = (),
    ) -> None:
        self.examples = tuple(examples)
        self.source, self.format, self.why, self.skipped = source, format, why, list(skipped)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Data: ...
    def __getitem__(self, index: int | slice) -> Example | Data:
        if isinstance(index, slice):
            about = {"source": self.source, "format": self.format, "why": self.why}
            return Data(self.examples[index], **about, skipped=self.skipped)
        return self.examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Data | list | tuple):
            return list(self.examples) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"<Data: {len(self)} {self.format or 'examples'} from {self.source}{skipped}>"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the examples' canonical rows in order, hexadecimal.

        The same for the same examples, whatever file, compression or container they came from; different
        when an option (say another guardrails column) or a slice makes other examples of the same file.
        """
        digest = hashlib.sha256()
        for e in self.examples:
            line = json.dumps(
                to_row(e), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
            )
            digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()
