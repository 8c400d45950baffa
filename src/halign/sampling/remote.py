"""Sampling from an OpenAI-compatible chat endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.llm import Client, Endpoint, Estimate, Failure, ItemsFailed, Reply, Request, chat_messages
from halign.sampling.endings import cut
from halign.sampling.protocol import Progress, Sample
from halign.sampling.settings import Settings
from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails


class EndpointSampler:
    """Replies of a model behind an endpoint. They are text: ``Sample.ids`` is empty.

    Guardrails go into the system message by the template that training uses. A prompt's replies depend on the prompt, the
    settings and ``seed``, not on its place among the prompts, so a job that grows pays only for what is new; a prompt that
    occurs twice gets other replies the second time. Whether equal seeds mean equal replies is the endpoint's affair; from the
    cache they are equal.

    Args:
        client: a client, or an endpoint for one without a budget.
        guardrail_template: Jinja over ``system`` and ``guardrails``.
    """

    def __init__(
        self, client: Client | Endpoint, *, guardrail_template: str = DEFAULT_GUARDRAIL_TEMPLATE
    ) -> None:
        self.client = Client(client) if isinstance(client, Endpoint) else client
        self.guardrails = Guardrails(guardrail_template)

    def sample(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 200,
        stop: Sequence[str] = (),
        seed: int = 0,
        logps: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts. At temperature 0 each prompt is asked once and its reply
        repeated.

        Args:
            stop: a reply ends where one of these strings appears, and is cut before it. Some servers take four at most.
            logps: keep the log-probabilities of the reply's tokens as the endpoint gives them; whether of the model's
                distribution or of what temperature and top-p leave of it is its affair.

        Raises:
            ItemsFailed: some prompts got no reply; those of the others are cached, and the same call asks only the missing.
            HalignError: as ``Client.ask``; a prompt of plain text; a setting that is out of range or that endpoints do not
                take (``top_k``).
        """
        settings = Settings(
            n=n,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            stop=stop,
            seed=seed,
            logps=logps,
        )
        requests = self.requests(prompts, settings)
        asked = self.client.ask(requests, progress=progress)
        answers = [_spoken(i, r, a, logps) for i, (r, a) in enumerate(zip(requests, asked, strict=True))]
        failures = [a for a in answers if isinstance(a, Failure)]
        if failures:
            raise ItemsFailed(failures, answers)
        samples = [_sample(a, settings) for a in answers if isinstance(a, Reply)]
        return [samples[i : i + n] for i in range(0, len(samples), n)]

    def stream(self, prompt: Dialogue, **settings: Any) -> Iterator[str]:
        """One reply, as the other samplers' ``stream`` gives it, but in one piece: replies are cached whole before anyone
        sees them. ``settings`` and errors as ``sample``."""
        ((reply,),) = self.sample([prompt], **settings)
        yield reply.text

    def dry_run(self, prompts: Sequence[Dialogue], **settings: Any) -> Estimate:
        """What ``sample`` with these settings would call for; nothing is sent."""
        return self.client.dry_run(self.requests(prompts, Settings(**settings)))

    def requests(self, prompts: Sequence[Dialogue], settings: Settings) -> list[Request]:
        """The calls behind ``sample``: ``n`` a prompt, in order.

        Raises:
            HalignError: endpoints have no ``top_k`` of their own.
        """
        if settings.top_k:
            raise HalignError(
                f"sampling: top_k = {settings.top_k}: endpoints have no such field; where a server knows one, give it as "
                'Endpoint(extra={"top_k": ...})'
            )
        seen: Counter[str] = Counter()
        made = []
        n = settings.n
        for prompt in prompts:
            request = Request(
                chat_messages(prompt, self.guardrails),
                temperature=settings.temperature,
                top_p=None if settings.top_p == 1.0 else settings.top_p,
                max_tokens=settings.max_new_tokens,
                stop=tuple(settings.stop),
                top_logprobs=0 if settings.logps else None,
                tools=tuple(dict(t) for t in prompt.tools),
                name=_name(prompt),
            )
            key = request.key(self.client.endpoint)
            first = seen[key] * n
            seen[key] += 1
            draws = [first + i for i in range(n)] if settings.temperature > 0 else [0] * n
            made += [request.drawn(settings.seed, draw) for draw in draws]
        return made


def _name(prompt: Dialogue) -> str:
    """How errors call a prompt: by its conversation, where it has one."""
    conversation = prompt.meta.get("conversation")
    return f"conversation {conversation}" if conversation is not None else ""


def _sample(reply: Reply, settings: Settings) -> Sample:
    text = cut(reply.text, settings.stop)  # for servers that leave the stop string in
    finished = reply.finish != "length" or text != reply.text
    values = [p.top[p.token] for p in reply.logprobs or ()] if settings.logps else None
    kept = None if values is None else np.asarray(values, dtype=np.float32)
    return Sample(text.strip(), finished=finished, logps=kept)


def _spoken(index: int, request: Request, answer: Reply | Failure, logps: bool) -> Reply | Failure:
    problem = ""
    if isinstance(answer, Reply) and not answer.text.strip() and answer.tool_calls:
        problem = "the model called a tool, and a sample is text: leave the tools out of this prompt"
    elif isinstance(answer, Reply) and logps and answer.text and answer.logprobs is None:
        problem = "the endpoint gives no log-probabilities: sample without logps, or from a server that does"
    return Failure(index, request.shown, problem) if problem else answer
