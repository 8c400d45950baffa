"""One job at one endpoint: connections, waits, what is in flight, and why it stopped."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from halign.llm.cache import ReplyCache
from halign.llm.cost import Budget, Ledger
from halign.llm.endpoint import Endpoint
from halign.llm.errors import BudgetSpent, EndpointDown, ItemError, Stopped
from halign.llm.request import Reply, Request
from halign.llm.retry import Transient, delay, judged

log = logging.getLogger(__name__)

_PATIENCE = 8  # prompts that may fail in a row; at least as many as are in flight


class Session:
    """Replies from the cache or the endpoint.

    Attributes:
        stopped: why nothing more is sent; what the cache holds is still answered.
    """

    def __init__(
        self, endpoint: Endpoint, cache: ReplyCache, ledger: Ledger, slots: asyncio.Semaphore
    ) -> None:
        self.endpoint, self.cache, self.ledger, self.slots = endpoint, cache, ledger, slots
        self.stopped: Stopped | None = None
        self._halt = asyncio.Event()
        self._open_at = 0.0  # the loop's time before which the endpoint wants no request at all
        self._failed_in_a_row, self._succeeded = 0, False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="halign-replies")
        self._openai: Any = None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(
            self._writer.shutdown
        )  # a reply that has arrived is written, whatever else happens
        if self._openai is not None:
            await self._openai.close()

    async def reply(self, request: Request) -> Reply:
        """The reply to one request.

        Raises:
            ItemError: this prompt gets none.
            Stopped: nothing more is sent.
        """
        key = request.key(self.endpoint)
        kept = self.cache.get(key)
        if kept is not None:
            self.ledger.cached += 1
            return Reply.of_json(kept)
        try:
            reply = await self._attempts(request, key)
        except ItemError as error:
            self._count_failure(error)
            raise
        except Stopped as error:
            self._stop(error)
            raise
        self._failed_in_a_row, self._succeeded = 0, True
        return reply

    async def _attempts(self, request: Request, key: str) -> Reply:
        problem = ""
        for attempt in range(self.endpoint.retries + 1):
            await self._ready()
            try:
                return await self._once(request, key)
            except Transient as error:
                problem = error.problem
                if attempt == self.endpoint.retries:
                    break
                await self._wait(attempt, error)
        raise ItemError(
            f"endpoint {self.endpoint} gave no answer in {self.endpoint.retries + 1} attempts (retries, timeout); last: {problem}"
        )

    async def _wait(self, attempt: int, error: Transient) -> None:
        """Before the next attempt. A server that names a time is left alone by all prompts until then."""
        if error.wait is not None and error.wait > self.endpoint.longest_wait:
            raise ItemError(
                f"endpoint {self.endpoint} asks to wait {error.wait:.0f} s, more than longest_wait = "
                f"{self.endpoint.longest_wait:.0f} s ({error.problem})"
            )
        seconds = delay(self.endpoint, attempt, error.wait)
        self.ledger.retries += 1
        log.info(
            "%s: %s; again in %.1f s (attempt %d of %d)",
            *(self.endpoint, error.problem, seconds, attempt + 2, self.endpoint.retries + 1),
        )
        if error.wait is not None:
            self._open_at = max(self._open_at, asyncio.get_running_loop().time() + error.wait)
        await self._sleep(seconds)

    async def _ready(self) -> None:
        """Until the endpoint wants requests again."""
        while (seconds := self._open_at - asyncio.get_running_loop().time()) > 0:
            await self._sleep(seconds)
        self._check()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or wake up early because the job stops."""
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        self._check()

    def _check(self) -> None:
        if self.stopped is not None:
            raise self.stopped

    async def _once(self, request: Request, key: str) -> Reply:
        """One attempt, within the bound on requests in flight and within the budget."""
        self._client()
        async with self.slots:
            amount = await self._set_aside(request)
            reply, unsure = None, True
            try:
                reply = await self._send(request)
                return await self._keep(request, key, reply)
            except (ItemError, Stopped):
                unsure = False
                raise
            except Transient as error:
                unsure = error.unsure
                raise
            finally:
                self.ledger.settle(amount, reply, unsure=unsure)

    async def _set_aside(self, request: Request) -> float:
        amount = self.ledger.bound(request)
        while not self.ledger.reserve(amount):
            budget = self.ledger.budget
            if (
                isinstance(budget, Budget) and not budget.in_flight
            ):  # nothing whose true cost could leave room
                raise BudgetSpent(
                    f"endpoint {self.endpoint}: the next call may cost up to {amount:.4g}, and of budget = "
                    f"{budget.amount:.4g} only {budget.left:.4g} is left. Replies so far are kept; give a "
                    "larger budget to go on."
                )
            await asyncio.sleep(0.01)
        try:
            self._check()
        except Stopped:
            self.ledger.settle(amount, None)
            raise
        return amount

    async def _keep(self, request: Request, key: str, reply: Reply) -> Reply:
        """Into the cache, even if we are cancelled meanwhile."""
        scrub = self.endpoint.scrub
        asked = scrub(json.dumps(request.identity(self.endpoint), ensure_ascii=True))
        writing = asyncio.get_running_loop().run_in_executor(
            self._writer, self.cache.put, key, str(self.endpoint), asked, reply.to_json()
        )
        kept = await asyncio.shield(writing)
        return reply if kept == reply.to_json() else Reply.of_json(kept)

    async def _send(self, request: Request) -> Reply:
        import openai

        endpoint = self.endpoint
        try:
            async with asyncio.timeout(endpoint.timeout):
                answer = await self._client().chat.completions.with_raw_response.create(
                    model=endpoint.model,
                    messages=[dict(m) for m in request.messages],
                    extra_body=request.settings(endpoint),
                )
                body = answer.http_response.text
        except openai.APIStatusError as error:
            found = judged(endpoint, error.status_code, error.response.text, error.response.headers)
            if (
                error.status_code == 403 and self._succeeded
            ):  # the key is fine; some endpoints refuse what moderation flags so
                raise ItemError(
                    f"endpoint {endpoint} refuses it: {endpoint.scrub(error.response.text)[:300]}", 403
                ) from None
            raise found from None
        except (TimeoutError, openai.APITimeoutError):
            raise Transient(f"no answer within timeout = {endpoint.timeout:g} s", unsure=True) from None
        except openai.APIConnectionError as error:
            why = endpoint.scrub(f"{error.__cause__ or error}")[:200]
            raise Transient(f"the connection failed: {why}", unsure=_was_connected(error)) from None
        try:
            return Reply.of_body(endpoint.scrub(body))
        except ValueError as error:
            raise Transient(f"unreadable answer: {error}", unsure=True) from None

    def _client(self) -> Any:
        if self._openai is None:
            import openai

            key = self.endpoint.secret()
            made = openai.AsyncOpenAI(
                api_key=key or "none",
                base_url=self.endpoint.url,
                max_retries=0,
                timeout=self.endpoint.timeout,
            )
            if (
                not self.endpoint.at_openai
            ):  # the library takes these from the environment, and would send them anywhere
                made.organization = made.project = None
            self._openai = made
        return self._openai

    def _count_failure(self, error: ItemError) -> None:
        """A refusal of one prompt (too long ...) says little about the others, unless none was ever answered."""
        if error.status is not None and self._succeeded:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= max(_PATIENCE, self.endpoint.concurrency):
            self._stop(
                EndpointDown(
                    f"{self._failed_in_a_row} prompts in a row got no answer. The last one: {error.problem}."
                )
            )

    def _stop(self, why: Stopped) -> None:
        if self.stopped is None:
            self.stopped = why
            self._halt.set()


def _was_connected(error: Exception) -> bool:
    """False if the request surely never reached the endpoint."""
    return "Connect" not in type(error.__cause__).__name__
