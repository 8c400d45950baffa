"""Answers that fit a pydantic model: how they are asked for, read, and mended once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from halign.llm.endpoint import Endpoint
from halign.llm.request import Reply, Request

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class Unfit(Exception):
    """The answer does not fit; the message says why, for the model as for people."""


def asking_for(request: Request, schema: type[BaseModel], endpoint: Endpoint) -> Request:
    """The request with the schema in words after its last message, and as ``response_format`` where the endpoint knows that."""
    shape = schema.model_json_schema()
    words = "Answer with one JSON object and nothing else. It must fit this JSON schema:\n" + json.dumps(
        shape, ensure_ascii=False
    )
    *before, last = request.messages
    if last.get("role") == "user" and isinstance(last.get("content"), str):
        messages = (*before, {**last, "content": f"{last['content']}\n\n{words}"})
    else:
        messages = (*request.messages, {"role": "user", "content": words})
    formats: dict[str, Any] = {
        "prompt": None,
        "json_object": {"type": "json_object"},
        "json_schema": {"type": "json_schema", "json_schema": {"name": schema.__name__, "schema": shape}},
    }
    return replace(
        request, messages=messages, response_format=formats[endpoint.structured], name=request.shown
    )


def read(reply: Reply, schema: type[BaseModel]) -> BaseModel:
    """The object that the reply holds; words and code fences around it are forgiven.

    Raises:
        Unfit: no JSON, or not of this shape.
    """
    try:
        found = _json_in(reply.text)
    except ValueError as error:
        cut = " (the answer was cut off at max_tokens)" if reply.finish == "length" else ""
        raise Unfit(f"not JSON: {error}{cut}") from error
    try:
        return schema.model_validate_json(json.dumps(found))
    except ValidationError as error:
        raise Unfit("; ".join(_in_words(e) for e in error.errors(include_url=False))) from error


def mending(request: Request, reply: Reply, problem: str) -> Request:
    """The conversation so far, with what was wrong as the next question."""
    answer = {"role": "assistant", "content": reply.text}
    plea = {
        "role": "user",
        "content": f"That answer does not fit: {problem}. Answer again with the corrected JSON object and nothing else.",
    }
    return replace(request, messages=(*request.messages, answer, plea))


def _json_in(text: str) -> Any:
    text = text.rpartition("</think>")[2]
    fenced = _FENCED.search(text)
    text = fenced.group(1) if fenced else text
    start = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=-1)
    if start < 0:
        raise ValueError(f"no object in {text.strip()[:80]!r}")
    return json.JSONDecoder().raw_decode(text, start)[0]


def _in_words(error: Any) -> str:
    place = ".".join(str(p) for p in error["loc"]) or "the object"
    return f"{place}: {error['msg']}"
