"""Replies of a model in this process, kept in the cache as they come, so that a job that was stopped goes on.

A reply depends on the model, its prompt, the settings and the prompt's place (``Settings.first``), so one that was kept is the
one that would be drawn again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halign.cache import cache_dir
from halign.dialogue import Dialogue
from halign.judges.records import append_rows, rows
from halign.models import fingerprint
from halign.sampling.local import TransformersSampler
from halign.sampling.protocol import Progress, Sample

CHUNK = 256
"""Replies between two writes: what a kill may cost."""


class KeptSampler:
    """A sampler whose replies are on disk soon after they are drawn, until ``forget``.

    Attributes:
        kept: how many prompts have their replies on disk.
    """

    def __init__(self, sampler: TransformersSampler, *, chunk: int = CHUNK) -> None:
        self.sampler, self.chunk, self.kept = sampler, chunk, 0
        self._file: Path | None = None

    def sample(
        self, prompts: Sequence[Dialogue], *, n: int = 1, progress: Progress | None = None, **settings: Any
    ) -> list[list[Sample]]:
        """As the sampler's own ``sample``, some prompts at a time; those that are kept are not answered again.

        Raises:
            HalignError: as the sampler.
        """
        self._file = cache_dir("sampled") / f"{self._identity(prompts, n, settings)}.jsonl"
        found = [[Sample.of(s) for s in row["samples"]] for _, row in rows(self._file)][: len(prompts)]
        self.kept = len(found)
        step = max(1, self.chunk // n)
        while len(found) < len(prompts):
            start = len(found)
            found += self.sampler.sample(
                prompts[start : start + step],
                n=n,
                first=start,
                progress=_behind(progress, start * n, len(prompts) * n),
                **settings,
            )
            append_rows(self._file, ({"samples": [s.to_dict() for s in said]} for said in found[start:]))
            self.kept = len(found)
        return found

    def forget(self) -> None:
        """Delete what is kept: the replies have been written where they belong."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _identity(self, prompts: Sequence[Dialogue], n: int, settings: dict[str, Any]) -> str:
        """What the replies depend on, hashed. The renderer is known by what it makes of the prompts."""
        model = self.sampler.policy.model
        digest = hashlib.sha256(json.dumps([n, settings, fingerprint(model), str(model.dtype)]).encode())
        for prompt in prompts:
            digest.update(self.sampler.renderer.prompt(prompt).tobytes() + b"|")
        return digest.hexdigest()[:32]


def _behind(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Progress of a part that follows on ``done`` others, of ``total``."""
    return None if progress is None else lambda more, _: progress(done + more, total)
