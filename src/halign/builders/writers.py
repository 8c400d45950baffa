"""Models that write for builders: one in this process, one behind an endpoint, and none (an estimate)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from pydantic import BaseModel

from halign.dialogue import Dialogue
from halign.judges.yes_no import Chance, EndpointYesNo
from halign.llm import (
    Client,
    Endpoint,
    Failure,
    ItemsFailed,
    Planned,
    Reply,
    Request,
    chat_messages,
    structured,
)
from halign.sampling import EndpointSampler
from halign.sampling.endings import cut
from halign.sampling.protocol import Sampler
from halign.sampling.settings import Settings
from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails


@dataclass(frozen=True, slots=True)
class Written:
    """One reply.

    Attributes:
        key: for the lineage: the cache's key of an endpoint's reply; of a local model's, a hash of all that it depends on.
        finished: False if it was cut off at ``max_new_tokens``.
        value: the object, where a schema was asked for.
    """

    text: str
    key: str
    finished: bool = True
    value: Any = None


class Writer(Protocol):
    """Anything that writes replies for a builder.

    Attributes:
        identity: what its replies depend on beside prompts and settings; JSON-ready.
    """

    @property
    def identity(self) -> dict[str, Any]: ...

    def write(self, prompts: Sequence[Dialogue], settings: Settings) -> list[list[Written] | Failure]:
        """``settings.n`` replies to each prompt, or why there are none."""
        ...

    def fill(
        self, prompts: Sequence[Dialogue], schema: type[BaseModel], settings: Settings
    ) -> list[Written | Failure]:
        """One reply to each prompt, as an object of this shape, or why there is none."""
        ...


class EndpointWriter:
    """A model behind an endpoint; every reply is in the client's cache before it is used."""

    def __init__(self, client: Client | Endpoint) -> None:
        self.sampler = EndpointSampler(client)
        self.client = self.sampler.client

    @property
    def identity(self) -> dict[str, Any]:
        """Model and address (or the name under which its replies are cached)."""
        e = self.client.endpoint
        return {"endpoint": e.cache_as or e.url, "model": e.model, "extra": dict(e.extra)}

    def write(self, prompts: Sequence[Dialogue], settings: Settings) -> list[list[Written] | Failure]:
        """As ``Writer.write``. Raises HalignError as ``Client.ask``."""
        requests = self.sampler.requests(prompts, settings)
        answers = self.client.ask(requests)
        found = [
            a if isinstance(a, Failure) else _written(a, r.key(self.client.endpoint), settings.stop)
            for r, a in zip(requests, answers, strict=True)
        ]
        n = settings.n
        return [_together(found[i : i + n]) for i in range(0, len(found), n)]

    def fill(
        self, prompts: Sequence[Dialogue], schema: type[BaseModel], settings: Settings
    ) -> list[Written | Failure]:
        """As ``Writer.fill``. Raises HalignError as ``Client.ask``."""
        requests = self.sampler.requests(prompts, replace(settings, n=1))
        answers = self.client.ask(requests, schema=schema)
        sent = [structured.asking_for(r, schema, self.client.endpoint) for r in requests]
        return [
            a
            if isinstance(a, Failure)
            else Written(a.text, r.key(self.client.endpoint), a.finish != "length", a.value)
            for r, a in zip(sent, answers, strict=True)
        ]


def _written(reply: Reply, key: str, stop: Sequence[str]) -> Written:
    text = cut(reply.text, stop)
    return Written(text.strip(), key, reply.finish != "length" or text != reply.text)


def _together(answers: list[Written | Failure]) -> list[Written] | Failure:
    failed = next((a for a in answers if isinstance(a, Failure)), None)
    return failed if failed is not None else [a for a in answers if isinstance(a, Written)]


class LocalWriter:
    """A model in this process, behind any ``Sampler``.

    A reply depends on its prompt's place, so the driver gives every call of a chunk a seed of its own.

    Args:
        fingerprint: of the model (``halign.models.fingerprint``).
    """

    _AS_WORDS = Endpoint("http://localhost", "this process")
    """What says to ``structured`` that a schema is asked for in words; nothing is sent there."""

    def __init__(self, sampler: Sampler, fingerprint: str, name: str = "") -> None:
        self.sampler, self.fingerprint, self.name = sampler, fingerprint, name

    @property
    def identity(self) -> dict[str, Any]:
        """Its name and fingerprint."""
        return {"model": self.name, "fingerprint": self.fingerprint}

    def write(self, prompts: Sequence[Dialogue], settings: Settings) -> list[list[Written] | Failure]:
        """As ``Writer.write``."""
        asked = {
            k: getattr(settings, k) for k in ("n", "temperature", "top_p", "max_new_tokens", "stop", "seed")
        }
        groups = self.sampler.sample(prompts, **asked) if prompts else []
        return [
            [Written(s.text, self._key(p, asked, place, k), s.finished) for k, s in enumerate(group)]
            for place, (p, group) in enumerate(zip(prompts, groups, strict=True))
        ]

    def fill(
        self, prompts: Sequence[Dialogue], schema: type[BaseModel], settings: Settings
    ) -> list[Written | Failure]:
        """As ``Writer.fill``; an answer that does not fit goes back once, as it does with an endpoint."""
        rules = Guardrails(DEFAULT_GUARDRAIL_TEMPLATE)
        requests = [
            structured.asking_for(Request(chat_messages(p, rules)), schema, self._AS_WORDS) for p in prompts
        ]
        settings = replace(settings, n=1)
        first = self._answers(requests, settings)
        found = [_fitting(a, schema) for a in first]
        again = [i for i, f in enumerate(found) if isinstance(f, str)]
        pleas = [structured.mending(requests[i], Reply(first[i].text), str(found[i])) for i in again]
        for i, answer in zip(again, self._answers(pleas, settings), strict=True):
            mended = _fitting(answer, schema)
            found[i] = mended if isinstance(mended, Written) else str(mended)
        return [
            f
            if isinstance(f, Written)
            else Failure(
                i,
                requests[i].shown,
                f"the answer does not fit {schema.__name__}, even after it was sent back: {f}",
            )
            for i, f in enumerate(found)
        ]

    def _answers(self, requests: Sequence[Request], settings: Settings) -> list[Written]:
        prompts = [Dialogue.of([dict(m) for m in r.messages]) for r in requests]
        groups = self.write(prompts, settings)
        return [g[0] for g in groups if not isinstance(g, Failure)]

    def _key(self, prompt: Dialogue, asked: dict[str, Any], place: int, sample: int) -> str:
        said = [
            self.fingerprint,
            [m.to_dict() for m in prompt.messages],
            list(prompt.guardrails),
            asked,
            place,
            sample,
        ]
        text = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _fitting(answer: Written, schema: type[BaseModel]) -> Written | str:
    """The answer with its object, or what is wrong with it."""
    try:
        reply = Reply(answer.text, "stop" if answer.finished else "length")
        return replace(answer, value=structured.read(reply, schema))
    except structured.Unfit as problem:
        return str(problem)


class DryWriter:
    """An ``EndpointWriter`` that asks nothing. What its replies would be is not known: texts are placeholders, objects are
    missing, and what would be asked because of an object is not counted.
    """

    PLACEHOLDER = "(what the model would write)"

    def __init__(self, writer: EndpointWriter, planned: Planned) -> None:
        self.writer, self.planned = writer, planned

    @cached_property
    def identity(self) -> dict[str, Any]:
        """That of the writer."""
        return self.writer.identity

    def write(self, prompts: Sequence[Dialogue], settings: Settings) -> list[list[Written] | Failure]:
        """Placeholders; the calls are counted."""
        self.planned.add(self.writer.client.dry_run(self.writer.sampler.requests(prompts, settings)))
        return [[Written(self.PLACEHOLDER, "")] * settings.n for _ in prompts]

    def fill(
        self, prompts: Sequence[Dialogue], schema: type[BaseModel], settings: Settings
    ) -> list[Written | Failure]:
        """Failures; the calls are counted."""
        requests = self.writer.sampler.requests(prompts, replace(settings, n=1))
        self.planned.add(self.writer.client.dry_run(requests, schema=schema))
        return [Failure(i, r.shown, "nothing is asked in a dry run") for i, r in enumerate(requests)]


class DryYesNo:
    """An ``EndpointYesNo`` that asks nothing and takes every answer for yes, the costlier one wherever yes means work."""

    def __init__(self, judge: EndpointYesNo, planned: Planned) -> None:
        self.judge, self.planned = judge, planned

    def ask(self, questions: Sequence[str]) -> list[Chance | Failure]:
        """Yes, throughout; the calls are counted."""
        self.planned.add(self.judge.dry_run(questions))
        return [Chance(1.0)] * len(questions)


def without_failures(found: Sequence[Any], skip: bool) -> list[Any]:
    """The answers, with None in place of failures where those are skipped.

    Raises:
        ItemsFailed: some failed, and they are not skipped.
    """
    failures = [f for f in found if isinstance(f, Failure)]
    if failures and not skip:
        raise ItemsFailed(failures, [None if isinstance(f, Failure) else Reply("") for f in found])
    return [None if isinstance(f, Failure) else f for f in found]
