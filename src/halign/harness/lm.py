"""A Halign policy as a model class of lm-evaluation-harness (``pip install "halign[eval]"``).

Same requests, same answers as its own Hugging Face class (``hf``), to rounding; the tests compare them request by request. What
differs is the cost: the choices of a question read its context once, and questions read the examples before them once.
Only importable where lm_eval is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from tqdm import tqdm

from halign.errors import HalignError
from halign.harness.likelihoods import Reading, in_parts, text_encoder
from halign.items import Ids, Path
from halign.models import Policy, load
from halign.sampling.local import sample_ids
from halign.sampling.settings import Settings

GENERATED = 256
"""Tokens of a reply at most where a task does not say (lm_eval's own default)."""
DECODING = {"do_sample", "temperature", "top_p", "top_k"}
"""Settings of generation that are understood; any other is an error."""


@register_model("halign")
class HalignLM(TemplateLM):
    """Answers lm_eval's requests with the scoring engine.

    Args:
        pretrained: a policy, or a folder, run folder or hub name to load one from.
        max_length: tokens read at once; None: what the model was made for.
        max_tokens: distinct tokens in one forward pass.
        dtype: ``fp32``, or ``bf16`` for autocast.
        device: where a model that is loaded goes.
        add_bos_token, prefix_token_id: as those of lm_eval's ``hf``.
        seed: for requests that ask for sampling, which draw from the whole distribution unless they say ``top_k`` or ``top_p``.
        batch_size, max_batch_size: accepted because lm_eval passes them on; a pack is bounded by ``max_tokens``.
    """

    def __init__(
        self,
        pretrained: Policy | str,
        *,
        max_length: int | None = None,
        max_tokens: int = 4096,
        dtype: str = "fp32",
        device: str | None = None,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        seed: int = 0,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.policy = load(pretrained, device=device) if isinstance(pretrained, str) else pretrained
        self.tokenizer = self.policy.tokenizer
        self.encoder = text_encoder(
            self.policy, max_length=max_length, special_tokens=add_bos_token, prefix_id=prefix_token_id
        )
        self.reading = Reading(max_tokens=max_tokens, dtype=dtype)
        self.seed = seed
        self._device = self.policy.device

    @property
    def eot_token_id(self) -> int:
        """End of text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context."""
        return self.encoder.prefix_id

    @property
    def max_length(self) -> int:
        """Tokens read at once."""
        return self.encoder.max_length

    @property
    def max_gen_toks(self) -> int:
        """Tokens of a reply where a task does not say."""
        return GENERATED

    @property
    def tokenizer_name(self) -> str:
        """For lm_eval's cache of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.encoder.encode(string, add_special_tokens).tolist()
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as the tokenizer's template writes them."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy decoding would write it) of continuations, in the order given."""
        asked = [request.args for request in requests]
        paths = (self.encoder.path(context, continuation) for context, continuation in asked)
        found = self._read(paths, len(asked), "loglikelihood", disable_tqdm)
        for (context, continuation), answer in zip(asked, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", (context, continuation), answer)
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probabilities of whole texts in nats, in windows where they are longer than the model reads at once."""
        texts = [text for (text,) in (request.args for request in requests)]
        windows = [list(self.encoder.windows(text)) for text in texts]
        paths = (path for own in windows for path in own)
        read = iter(self._read(paths, sum(map(len, windows)), "loglikelihood_rolling", disable_tqdm))
        found = [sum(next(read)[0] for _ in own) for own in windows]
        for text, total in zip(texts, found, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return found

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        paths = (
            self.encoder.fitted(Path(*(np.asarray(ids, dtype=np.int32) for ids in both)))
            for _, *both in requests
        )
        return self._read(paths, len(requests), "loglikelihood", disable_tqdm)

    def _read(self, paths: Any, total: int, what: str, quiet: bool) -> list[tuple[float, bool]]:
        with tqdm(total=total, disable=quiet, desc=f"Running {what} requests") as bar:
            found = in_parts(
                self.policy, paths, total, self.reading, lambda done, total: bar.update(done - bar.n)
            )
        return [(one.logp, one.greedy) for one in found]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Replies without what stands at and after a stop string, in the order given.

        Raises:
            HalignError: a setting of generation that is not understood, or no room for a reply.
        """
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(i)
        found: dict[int, str] = {}
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            for members in groups.values():
                contexts = [requests[i].args[0] for i in members]
                wanted = requests[members[0]].args[1]
                for i, text in zip(members, self._written(contexts, wanted), strict=True):
                    found[i] = text
                    self.cache_hook.add_partial("generate_until", requests[i].args, text)
                bar.update(len(members))
        return [found[i] for i in range(len(requests))]

    def _written(self, contexts: Sequence[str], wanted: dict[str, Any]) -> list[str]:
        """Replies to contexts that want the same."""
        kwargs = dict(normalize_gen_kwargs(wanted, GENERATED))
        eos = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        until = handle_stop_sequences(kwargs.pop("until"), eos=eos)
        longest = int(kwargs.pop("max_gen_toks"))
        unknown = sorted(set(kwargs) - DECODING)
        if unknown:
            raise HalignError(
                f"generation_kwargs: {', '.join(unknown)} are not understood; known are {', '.join(sorted(DECODING))}, until "
                "and max_gen_toks"
            )
        room = self.max_length - longest
        if room < 1:
            raise HalignError(
                f"max_gen_toks = {longest} leaves no room for a context: the model reads {self.max_length} tokens at once"
            )
        prompts: list[Ids] = [self._context(context)[-room:] for context in contexts]
        rows = sample_ids(
            self.policy.model,
            prompts,
            self._stop_ids(until),
            self._settings(kwargs, longest),
            ends=lambda ids: any(s in self.tokenizer.decode(ids) for s in until),
        )
        texts = (self.tokenizer.decode(row.ids, skip_special_tokens=True) for row in rows)
        return [postprocess_generated_text(text, stop=until, think_end_token=None) for text in texts]

    def _context(self, text: str) -> Ids:
        """A context for generation, where lm_eval looks for the BOS token only, not for the prefix token in general."""
        bos = self.tokenizer.bos_token
        begins = bos is not None and text.startswith(bos)
        return self.encoder.encode(text, False if begins else self.encoder.special_tokens is not False)

    def _settings(self, kwargs: dict[str, Any], longest: int) -> Settings:
        drawn = bool(kwargs.get("do_sample"))
        return Settings(
            temperature=float(kwargs.get("temperature", 1.0)) if drawn else 0.0,
            top_p=float(kwargs.get("top_p", 1.0)) if drawn else 1.0,
            top_k=int(kwargs.get("top_k", 0)) if drawn else 0,
            max_new_tokens=longest,
            seed=self.seed,
        )

    def _stop_ids(self, until: Sequence[str]) -> set[int]:
        """Tokens that end a reply: the model's own, and stop strings that are one token."""
        encoded = (self.encoder.encode(text, special_tokens=False) for text in until if text)
        single = {int(ids[0]) for ids in encoded if len(ids) == 1}
        return {*self.policy.stop_ids, self.eot_token_id, *single}
