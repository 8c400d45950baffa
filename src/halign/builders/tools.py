"""What a builder works with beside its rows: a writer, a judge, draws, what was prepared, what was built so far."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from halign.builders.writers import Writer, Written, without_failures
from halign.dialogue import Dialogue
from halign.judges.yes_no import Chance, YesNo
from halign.sampling.settings import Settings


def nothing_yet() -> Iterator[Mapping[str, Any]]:
    """No rows."""
    return iter(())


@dataclass
class Tools:
    """What one chunk is built with.

    Attributes:
        writer, judge: None where there is none; rules have to do then.
        chunk: the chunk's number, from 0.
        prepared: what ``Builder.prepare`` gave.
        so_far: the rows that earlier chunks built, read from the file anew at each call.
    """

    writer: Writer | None = None
    judge: YesNo | None = None
    seed: int = 0
    chunk: int = 0
    skip_failed: bool = False
    prepared: Any = None
    so_far: Callable[[], Iterator[Mapping[str, Any]]] = nothing_yet
    _calls: int = field(default=0, repr=False)

    def draws(self, *words: object) -> random.Random:
        """Random numbers of their own for whatever ``words`` name (a conversation, a turn): they depend on the seed and the
        words alone, neither on the chunk nor on what was drawn before.

        >>> Tools(seed=1).draws("c3", 2).random() == Tools(seed=1, chunk=5).draws("c3", 2).random()
        True
        """
        return random.Random(_number(self.seed, *words))

    def write(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 200,
        stop: Sequence[str] = (),
    ) -> list[list[Written]]:
        """``n`` replies of the writer to each prompt; an empty list where it gave none and ``skip_failed`` is set.

        Raises:
            HalignError: as the sampler's; ``ItemsFailed`` where a prompt got no reply. The other replies of an endpoint are
                cached, so the same job goes on from there.
        """
        assert self.writer is not None, "a builder asks whether there is a writer before it writes"
        settings = Settings(
            n=n,
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            stop=stop,
            seed=self._seed(),
        )
        found = self.writer.write(prompts, settings) if prompts else []
        return [group or [] for group in without_failures(found, self.skip_failed)]

    def fill(
        self,
        prompts: Sequence[Dialogue],
        schema: type[BaseModel],
        *,
        temperature: float = 1.0,
        max_new_tokens: int = 600,
    ) -> list[Written | None]:
        """One reply to each prompt as an object of this shape (``Written.value``); None where there is none and
        ``skip_failed`` is set.

        Raises:
            HalignError: as ``write``.
        """
        assert self.writer is not None, "a builder asks whether there is a writer before it writes"
        settings = Settings(temperature=temperature, max_new_tokens=max_new_tokens, seed=self._seed())
        found = self.writer.fill(prompts, schema, settings) if prompts else []
        return without_failures(found, self.skip_failed)

    def ask(self, questions: Sequence[str]) -> list[Chance | None]:
        """The judge's P(yes) for each question; None where it gave none and ``skip_failed`` is set.

        Raises:
            HalignError: as ``write``.
        """
        assert self.judge is not None, "a builder asks whether there is a judge before it asks"
        return without_failures(self.judge.ask(questions) if questions else [], self.skip_failed)

    def _seed(self) -> int:
        """A model in this process draws by a prompt's place, so each call has a seed of its own; an endpoint's cache goes by
        prompt and seed, so there a chunk must not matter."""
        from halign.builders.writers import LocalWriter

        if not isinstance(self.writer, LocalWriter):
            return self.seed
        self._calls += 1
        return _number(self.seed, self.chunk, self._calls) >> 1


def _number(*words: object) -> int:
    digest = hashlib.sha256("\x1f".join(map(str, words)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big")
