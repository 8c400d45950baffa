"""Asking many prompts at once, so that nothing is lost, paid twice, or spent beyond the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from halign.llm import structured
from halign.llm.cache import ReplyCache
from halign.llm.cost import Budget, Ledger
from halign.llm.endpoint import Endpoint
from halign.llm.errors import Failure, ItemError, Stopped
from halign.llm.estimate import Estimate, estimate
from halign.llm.request import Reply, Request
from halign.llm.session import Session

if TYPE_CHECKING:
    from halign.sampling.protocol import Progress

T = TypeVar("T")


class Client:
    """Asks one endpoint.

    Every reply is in the cache before it is handed on, so the same call after a kill, an error or a spent budget asks only what
    is missing. A client may be used from threads and event loops; ``Endpoint.concurrency`` holds per event loop.

    Args:
        budget: what this client may spend in all, in the currency of the endpoint's prices, or a ``Budget`` that it shares with
            others; None: no bound. Replies from the cache are free. A call is made only if the budget holds its highest
            possible cost.
        cache: the file of replies; None: ``$HALIGN_CACHE/llm/replies.sqlite``.

    Attributes:
        spent: calls, tokens and cost so far; print it.

    Raises:
        HalignError: a budget without prices, or a negative one.
    """

    def __init__(
        self, endpoint: Endpoint, *, budget: float | Budget | None = None, cache: Path | None = None
    ) -> None:
        self.endpoint, self.file = endpoint, cache
        self.spent = Ledger(endpoint, budget)
        self._slots: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Client of {self.endpoint}: {self.spent}>"

    def ask(
        self,
        requests: Sequence[Request],
        *,
        schema: type[BaseModel] | None = None,
        progress: Progress | None = None,
    ) -> list[Reply | Failure]:
        """A reply or a failure for each request, in order. Equal requests are asked once.

        Args:
            schema: answers must be JSON of this shape; the object is ``Reply.value``. An answer that does not fit goes back to
                the model once with the error; a second one that does not is a failure.
            progress: called with (prompts done, prompts in all).

        Raises:
            BudgetSpent: the rest could cost more than is left.
            EndpointRefused: the key, the model's name or the address is wrong.
            EndpointDown: many prompts in a row failed.
            HalignError: the key's variable is not set, a budget meets a request without ``max_tokens``, or the cache cannot
                be used.
        """
        return finish(self.ask_async(requests, schema=schema, progress=progress))

    async def ask_async(
        self,
        requests: Sequence[Request],
        *,
        schema: type[BaseModel] | None = None,
        progress: Progress | None = None,
    ) -> list[Reply | Failure]:
        """``ask`` for those who have an event loop already."""
        asked = [self._as_sent(r, schema) for r in requests]
        for request in asked:
            self.spent.bound(request)  # a setting that a budget needs is missed now, not in the middle
        places: dict[str, list[int]] = {}
        for i, request in enumerate(asked):
            places.setdefault(request.key(self.endpoint), []).append(i)
        answers: list[Reply | Failure | None] = [None] * len(asked)
        done = 0
        with ReplyCache(self.file) as cache:
            async with Session(self.endpoint, cache, self.spent, self._slot()) as session:
                todo = iter(places.values())

                async def work() -> None:
                    nonlocal done
                    for mine in todo:
                        answer = await _answer(session, asked[mine[0]], schema)
                        for i in mine:
                            answers[i] = replace(answer, index=i) if isinstance(answer, Failure) else answer
                        if answer is not None:
                            done += len(mine)
                            if progress:
                                progress(done, len(asked))

                await _together(work() for _ in range(min(self.endpoint.concurrency, len(places))))
        if session.stopped is not None:
            raise type(session.stopped)(session.stopped.problem, answers)
        return [a for a in answers if a is not None]

    def dry_run(self, requests: Sequence[Request], *, schema: type[BaseModel] | None = None) -> Estimate:
        """What ``ask`` would call for; nothing is sent. Answers that would have to be mended are not foreseen.

        Raises:
            HalignError: the endpoint names a tokenizer that is not on this machine.
        """
        asked = {r.key(self.endpoint): r for r in (self._as_sent(r, schema) for r in requests)}
        with ReplyCache(self.file) as cache:
            todo = [r for key, r in asked.items() if cache.get(key) is None]
        return estimate(self.endpoint, todo, len(requests) - len(todo))

    def _as_sent(self, request: Request, schema: type[BaseModel] | None) -> Request:
        return request if schema is None else structured.asking_for(request, schema, self.endpoint)

    def _slot(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        return self._slots.setdefault(loop, asyncio.Semaphore(self.endpoint.concurrency))


async def _answer(
    session: Session, request: Request, schema: type[BaseModel] | None
) -> Reply | Failure | None:
    """The answer to one request; None once the job is stopped."""
    try:
        reply = await session.reply(request)
        return reply if schema is None else await _fitting(session, request, reply, schema)
    except Stopped:
        return None
    except ItemError as error:
        return Failure(0, request.shown, error.problem, error.status, error.answered)


async def _fitting(session: Session, request: Request, reply: Reply, schema: type[BaseModel]) -> Reply:
    try:
        return replace(reply, value=structured.read(reply, schema))
    except structured.Unfit as problem:
        mended = await session.reply(structured.mending(request, reply, str(problem)))
    try:
        return replace(mended, value=structured.read(mended, schema))
    except structured.Unfit as problem:
        raise ItemError(
            f"the answer does not fit {schema.__name__}, even after it was sent back once: {problem}. Both answers are in the "
            "cache; another seed or sample asks anew",
            answered=True,
        ) from problem


async def _together(work: Any) -> None:
    """All of them; where one raises, the others are ended before the error goes on."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from ordinary code, also where an event loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
