"""What is asked and what comes back, as plain records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halign.llm.endpoint import Endpoint


@dataclass(frozen=True)
class Request:
    """One call of a chat endpoint. None leaves a setting to the server.

    Attributes:
        messages: role and content dicts, as the endpoint takes them.
        max_tokens: longest reply, in tokens.
        stop: strings at which the server ends a reply, itself left out.
        sample: number of the draw. Not sent; it tells apart the cached replies to one prompt.
        top_logprobs: ask for the log-probabilities of the reply's tokens and this many likely ones beside each.
        response_format, tools: as in the endpoint's own reference.
        name: what errors call this prompt; not part of the cache's key.
    """

    messages: tuple[Mapping[str, Any], ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    sample: int = 0
    top_logprobs: int | None = None
    response_format: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    name: str = ""

    @classmethod
    def of(cls, messages: str | Sequence[Mapping[str, Any]], **settings: Any) -> Request:
        """A request from messages, or from one user message's text."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return cls(tuple(messages), **settings)

    def settings(self, endpoint: Endpoint) -> dict[str, Any]:
        """The fields of the request's body beside model and messages."""
        said = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            endpoint.longest: self.max_tokens,
            "stop": list(self.stop) or None,
            "seed": self.seed,
            "logprobs": True if self.top_logprobs is not None else None,
            "top_logprobs": self.top_logprobs,
            "response_format": self.response_format,
            "tools": list(self.tools) or None,
        }
        return {**{k: v for k, v in said.items() if v is not None}, **endpoint.extra}

    def identity(self, endpoint: Endpoint) -> dict[str, Any]:
        """All that a reply depends on: endpoint, model, messages, settings, number of the draw."""
        return {
            "endpoint": endpoint.cache_as or endpoint.url,
            "model": endpoint.model,
            "messages": list(self.messages),
            "settings": self.settings(endpoint),
            "sample": self.sample,
        }

    def key(self, endpoint: Endpoint) -> str:
        """The cache's key: SHA-256 of ``identity``."""
        text = json.dumps(self.identity(endpoint), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def drawn(self, seed: int, draw: int) -> Request:
        """The request for one of several draws. Each sends a seed of its own: a server that honours seeds would give equal
        replies.
        """
        digest = hashlib.sha256(f"{seed} {draw}".encode()).digest()
        return replace(self, seed=int.from_bytes(digest[:4], "big") >> 1, sample=draw)

    @property
    def shown(self) -> str:
        """How errors name this prompt."""
        if self.name:
            return self.name
        last = " ".join(str(self.messages[-1].get("content") or "").split()) if self.messages else ""
        return f"“{last[:60]}{'…' if len(last) > 60 else ''}”"


@dataclass(frozen=True, slots=True)
class TokenChoices:
    """One position of a reply.

    Attributes:
        token: what was written there.
        top: likely tokens -> log-probability in nats, the written one included.
    """

    token: str
    top: Mapping[str, float]


@dataclass(frozen=True)
class Reply:
    """What the endpoint said.

    Attributes:
        text: the reply's words ("" for a bare tool call).
        finish: why it ended: "stop", "length" (cut off at ``max_tokens``), "tool_calls" ...
        prompt_tokens, completion_tokens: as the endpoint counted them; None where it does not say.
        logprobs: one entry per token; None where they were not asked for or not given.
        cached: True if it cost nothing now.
        value: the validated object, where a schema was asked for.
    """

    text: str
    finish: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[TokenChoices, ...] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    cached: bool = False
    value: Any = field(default=None, compare=False)

    def to_json(self) -> str:
        """The text that the cache keeps."""
        positions = None if self.logprobs is None else [[p.token, dict(p.top)] for p in self.logprobs]
        kept = {
            "text": self.text,
            "finish": self.finish,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "logprobs": positions,
            "tool_calls": list(self.tool_calls),
        }
        return json.dumps(kept)

    @classmethod
    def of_json(cls, text: str) -> Reply:
        """The reply that ``to_json`` wrote, marked as cached."""
        row = json.loads(text)
        positions = row["logprobs"]
        row["logprobs"] = None if positions is None else tuple(TokenChoices(t, top) for t, top in positions)
        return cls(**{**row, "tool_calls": tuple(row["tool_calls"])}, cached=True)

    @classmethod
    def of_body(cls, body: str) -> Reply:
        """The reply in a response's body.

        Raises:
            ValueError: it is no chat completion.
        """
        row = json.loads(body)
        try:
            choice = row["choices"][0]
            message, usage = choice["message"], row.get("usage") or {}
            text = message.get("content") or ""
            if not isinstance(text, str):
                raise TypeError("content is no text")
            return cls(
                text,
                str(choice.get("finish_reason") or "stop"),
                usage.get("prompt_tokens"),
                usage.get("completion_tokens"),
                _positions(choice.get("logprobs")),
                tuple(message.get("tool_calls") or ()),
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"no chat completion: {error!r} in {body[:200]!r}") from error


def _positions(found: Any) -> tuple[TokenChoices, ...] | None:
    if not found or not found.get("content"):
        return None
    rows = []
    for position in found["content"]:
        likely = {t["token"]: float(t["logprob"]) for t in position.get("top_logprobs") or ()}
        rows.append(
            TokenChoices(position["token"], {position["token"]: float(position["logprob"]), **likely})
        )
    return tuple(rows)
