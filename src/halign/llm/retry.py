"""Which failed attempts are worth another one, and when."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping

from halign.llm.endpoint import Endpoint
from halign.llm.errors import EndpointRefused, ItemError

_TRANSIENT = frozenset((408, 409, 425, 429))
_FOR_ALL = {
    401: "does not accept the key",
    402: "asks for payment",
    403: "does not let this key in",
    404: "knows no such model, or its address is wrong (most end in /v1)",
}


class Transient(Exception):
    """This attempt failed; the next may not.

    Attributes:
        wait: seconds that the server asks for, or None.
        unsure: True if the server may have done, and charged, the work.
    """

    def __init__(self, problem: str, wait: float | None = None, *, unsure: bool = False) -> None:
        super().__init__(problem)
        self.problem, self.wait, self.unsure = problem, wait, unsure


def judged(endpoint: Endpoint, status: int, text: str, headers: Mapping[str, str]) -> Exception:
    """What an answer with an error status means: try again, give this prompt up, or stop the job."""
    said = endpoint.scrub(text)[:300].strip()
    if status == 429 and "insufficient_quota" in text:
        return EndpointRefused(f"endpoint {endpoint} says that the account's quota is used up: {said}.")
    if status in _TRANSIENT or status >= 500:
        return Transient(f"status {status}: {said}", retry_after(headers))
    if status in _FOR_ALL:
        key = (
            f" (key from {endpoint.variable})"
            if endpoint.variable
            else " (no key was sent: name one with key_env)"
        )
        hint = key if status in (401, 402, 403) else ""
        return EndpointRefused(f"endpoint {endpoint} {_FOR_ALL[status]}{hint}: status {status}: {said}.")
    return ItemError(f"endpoint {endpoint} refuses it with status {status}: {said}", status)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, from ``Retry-After`` (seconds or a date) or ``retry-after-ms``.

    >>> retry_after({"retry-after": "2.5"}), retry_after({"retry-after-ms": "300"}), retry_after({})
    (2.5, 0.3, None)
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=90.0)
    10.0
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            pass
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


def delay(endpoint: Endpoint, attempt: int, asked: float | None) -> float:
    """Seconds before the next attempt: what the server asked for, else doubled each time; with jitter, so that requests that
    failed together do not come back together.
    """
    grown = min(endpoint.longest_wait, endpoint.backoff * 2.0**attempt)
    if asked is not None:
        return asked + random.uniform(0, min(grown, endpoint.backoff))
    return grown * random.uniform(0.5, 1.0)
