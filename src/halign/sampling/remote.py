"""Sampling from an OpenAI-compatible chat endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from halign.dialogue import Dialogue
from halign.llm import Client, Endpoint, Estimate, Failure, ItemsFailed, Reply, Request, chat_messages
from halign.sampling.local import Settings
from halign.sampling.protocol import Progress, Sample
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
        max_new_tokens: int = 200,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts. At temperature 0 each prompt is asked once and its reply
        repeated.

        Raises:
            ItemsFailed: some prompts got no reply; those of the others are cached, and the same call asks only the missing.
            HalignError: as ``Client.ask``; a prompt of plain text.
        """
        requests = self.requests(
            prompts, n=n, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        )
        asked = self.client.ask(requests, progress=progress)
        answers = [_spoken(i, r, a) for i, (r, a) in enumerate(zip(requests, asked, strict=True))]
        samples = [
            Sample(a.text.strip(), finished=a.finish != "length") for a in answers if isinstance(a, Reply)
        ]
        failures = [a for a in answers if isinstance(a, Failure)]
        if failures:
            raise ItemsFailed(failures, answers)
        return [samples[i : i + n] for i in range(0, len(samples), n)]

    def dry_run(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 200,
        seed: int = 0,
    ) -> Estimate:
        """What ``sample`` with these settings would call for; nothing is sent."""
        requests = self.requests(
            prompts, n=n, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        )
        return self.client.dry_run(requests)

    def requests(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 200,
        seed: int = 0,
    ) -> list[Request]:
        """The calls behind ``sample``: ``n`` a prompt, in order."""
        Settings(
            n=n, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
        )  # refuses what is out of range
        seen: Counter[str] = Counter()
        made = []
        for prompt in prompts:
            request = Request(
                chat_messages(prompt, self.guardrails),
                temperature=temperature,
                top_p=None if top_p == 1.0 else top_p,
                max_tokens=max_new_tokens,
                tools=tuple(dict(t) for t in prompt.tools),
                name=_name(prompt),
            )
            key = request.key(self.client.endpoint)
            first = seen[key] * n
            seen[key] += 1
            draws = [first + i for i in range(n)] if temperature > 0 else [0] * n
            made += [request.drawn(seed, draw) for draw in draws]
        return made


def _name(prompt: Dialogue) -> str:
    """How errors call a prompt: by its conversation, where it has one."""
    conversation = prompt.meta.get("conversation")
    return f"conversation {conversation}" if conversation is not None else ""


def _spoken(index: int, request: Request, answer: Reply | Failure) -> Reply | Failure:
    if isinstance(answer, Reply) and answer.tool_calls and not answer.text.strip():
        return Failure(
            index,
            request.shown,
            "the model called a tool, and a sample is text: leave the tools out of this prompt",
        )
    return answer
