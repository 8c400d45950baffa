"""Where a model is asked, and how patiently. Holds the *name* of the variable with the key, never the key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from halign.errors import HalignError

OPENAI = "api.openai.com"

_SHORTEST_SECRET = 12  # "EMPTY", "none" and the like are placeholders, and words of replies


@dataclass(frozen=True)
class Endpoint:
    """One model of one OpenAI-compatible server.

    Args:
        url: base address, such as ``https://api.openai.com/v1`` or ``http://localhost:8000/v1``.
        model: the model's name there.
        key_env: name of the environment variable that holds the key. None: ``OPENAI_API_KEY`` at api.openai.com, no key
            anywhere else (so that a key never goes to a server it is not meant for).
        concurrency: requests in flight at most.
        timeout: seconds that one request may take in all.
        retries: attempts after the first, on rate limits, server errors, cut connections and time-outs.
        backoff: seconds before the first retry; doubled each time, with jitter.
        longest_wait: seconds between two attempts at most. A ``Retry-After`` beyond it fails the prompt.
        input_price, output_price: cost per million prompt and reply tokens, in your currency; None: unknown.
        structured: how a schema is asked for: in the prompt alone, or also as the server's ``response_format``.
        length_field: what the server calls the longest reply; None: ``max_completion_tokens`` at api.openai.com, else
            ``max_tokens``.
        extra: further fields of every request (``top_k``, ``chat_template_kwargs`` ...); part of the cache's key.
        cache_as: under which name replies are cached; None: the address. Give one where the same model moves between ports.
        tokenizer: folder or hub name of a tokenizer that counts tokens for estimates; None: the model's, if it is here.

    Raises:
        HalignError: a setting is out of range, key_env is no variable's name, or the address holds a user name, password or
            query.
    """

    url: str
    model: str
    key_env: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 6
    backoff: float = 1.0
    longest_wait: float = 300.0
    input_price: float | None = None
    output_price: float | None = None
    structured: Literal["prompt", "json_object", "json_schema"] = "prompt"
    length_field: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    cache_as: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked(self.url))
        prices = (self.input_price, self.output_price)
        bounds = {
            "model": bool(self.model),
            "concurrency": self.concurrency >= 1,
            "timeout": self.timeout > 0,
            "retries": self.retries >= 0,
            "backoff": self.backoff >= 0,
            "longest_wait": self.longest_wait >= 0,
            "input_price": prices[0] is None or prices[0] >= 0,
            "output_price": prices[1] is None or prices[1] >= 0,
            "structured": self.structured in ("prompt", "json_object", "json_schema"),
        }
        if self.key_env is not None and not self.key_env.isidentifier():  # not shown: it may be the key
            raise HalignError(
                f"endpoint {self.url}: key_env is the name of an environment variable, such as MY_KEY, and never the key itself"
            )
        for name, fine in bounds.items():
            if not fine:
                raise HalignError(f"endpoint {self.url}: {name} = {getattr(self, name)!r} is out of range")

    @property
    def at_openai(self) -> bool:
        """True at OpenAI's own address."""
        return urlsplit(self.url).hostname == OPENAI

    @property
    def longest(self) -> str:
        """The field that bounds a reply's tokens."""
        return self.length_field or ("max_completion_tokens" if self.at_openai else "max_tokens")

    @property
    def variable(self) -> str | None:
        """The environment variable that holds the key; None where none is sent."""
        return self.key_env or ("OPENAI_API_KEY" if self.at_openai else None)

    def secret(self) -> str | None:
        """The key, read from the environment; None where none is sent.

        Raises:
            HalignError: the variable is not set.
        """
        if self.variable is None:
            return None
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise HalignError(
                f"endpoint {self.url}: the environment variable {self.variable} is not set. Put the key there "
                f"(export {self.variable}=...), or name another one with key_env"
            )
        return value

    def scrub(self, text: str) -> str:
        """``text`` without the key, for whatever is written down: servers like to repeat a key in their errors."""
        value = os.environ.get(self.variable or "", "").strip()
        return text.replace(value, "[key]") if len(value) >= _SHORTEST_SECRET else text

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HalignError(f"endpoint {shown!r} is no http(s) address, such as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise HalignError(
            f"endpoint {shown}: the address holds a user, password or query; keys go into an environment variable "
            "that key_env names"
        )
    return url.rstrip("/")
