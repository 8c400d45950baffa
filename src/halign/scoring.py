"""A model and a TreeBatch -> log-probabilities, or values. All inside the forward of one module, which is what gets wrapped."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from halign.adapters.virtual import prepend
from halign.attention import MaskScheme, model_masks
from halign.casts import SharedCasts, linear_fp32
from halign.head import LogitTransform, head_logps
from halign.head_kl import Distributions, head_kl
from halign.head_readings import head_entropy, head_likeliest
from halign.products import faster_linear
from halign.reading import hidden_at
from halign.trie import TreeBatch
from halign.trie_attention import NAME


@dataclass(frozen=True)
class Scores:
    """What scoring reads off a batch.

    Attributes:
        token_logps: float32 [G]; log-probability of every response token, response after response, in nats.
        owner: int64 [G]; which response each belongs to.
        logps: float32 [R]; sums over each response's tokens.
        lengths: int64 [R].
        token_kl: float32 [G]; KL(reference || policy) of the whole next-token distribution each token was drawn from; None unless
            scored against a reference's distributions.
        token_values: float32 [G]; what a critic makes of the state *before* each token, read where its log-probability is;
            None without a critic.
        token_entropy: float32 [G]; entropy in nats of the whole next-token distribution each token was drawn from; None unless
            asked for. Without gradient.
        token_likeliest: int64 [G]; the token that greedy decoding would write in each one's place; None unless asked for.
        values: float32 [R, k]; what a reward model's k outputs are at the last token of each path; None from a language model.
            Where it is given, the log-probabilities are empty.
    """

    token_logps: Tensor
    owner: Tensor
    logps: Tensor
    lengths: Tensor
    token_kl: Tensor | None = None
    values: Tensor | None = None
    token_values: Tensor | None = None
    token_entropy: Tensor | None = None
    token_likeliest: Tensor | None = None

    @property
    def zero(self) -> Tensor:
        """Nothing, with a gradient of nothing to all that was computed."""
        nothing = (self.logps if self.values is None else self.values).sum() * 0.0
        return nothing if self.token_values is None else nothing + self.token_values.sum() * 0.0


def unwrap(model: nn.Module) -> Any:
    """The Hugging Face model inside a peft wrapper (its adapter layers stay in place)."""
    inner: Any = model
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def in_use(module: Any) -> Any:
    """The module that peft lets compute in place of one that is trained in full (``modules_to_save``); others as they are."""
    copies = getattr(module, "modules_to_save", None)
    if not isinstance(copies, nn.ModuleDict):
        return module
    chosen = [] if module.disable_adapters else [n for n in module.active_adapters if n in copies]
    return copies[chosen[0]] if chosen else module.original_module


def value_head(model: nn.Module) -> nn.Module | None:
    """What gives a sequence-classification model its outputs (called ``score`` in causal architectures); None for others."""
    found = getattr(unwrap(model), "score", None)
    return in_use(found) if isinstance(found, nn.Module) else None


def use_attention(inner: Any, name: str) -> None:
    """Switch a model's attention implementation."""
    if inner.config._attn_implementation != name:
        inner.set_attn_implementation(name)


def backbone(model: nn.Module) -> nn.Module:
    """The part of a causal language model that gives the hidden states its head reads."""
    inner = unwrap(model)
    found = getattr(inner, getattr(inner, "base_model_prefix", ""), None) or inner.get_decoder()
    if not isinstance(found, nn.Module) or found is inner:
        raise TypeError(f"{type(inner).__name__} names no backbone (base_model_prefix, get_decoder)")
    return found


class Scorer(nn.Module):
    """Wraps a causal language model; its forward takes a TreeBatch and gives Scores.

    Args:
        model: a Hugging Face causal language model, possibly wrapped by peft.
        scheme: how the model takes masks (``halign.probe``).
        transform: what the model does around its LM head (``halign.probe``); None if it could not be found out, in which
            case the model's own logits are used whole, exact but hungry.
        critic: (batch, the model's hidden states where log-probabilities are read [M, d] or None) -> values there [M]
            (``halign.critics``).
    """

    def __init__(
        self,
        model: nn.Module,
        scheme: MaskScheme,
        transform: LogitTransform | None,
        critic: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.scheme = scheme
        self.transform = transform
        self.critic = critic
        if scheme.kernel == "trie":
            use_attention(unwrap(model), NAME)

    def forward(
        self,
        batch: TreeBatch,
        against: Distributions | None = None,
        *,
        entropy: bool = False,
        likeliest: bool = False,
        values: bool = True,
    ) -> Scores:
        """Log-probabilities of every response in the batch.

        Args:
            against: a reference's ``distributions`` of the same batch; fills ``Scores.token_kl``.
            entropy: fill ``Scores.token_entropy``.
            likeliest: fill ``Scores.token_likeliest``; the log-probabilities then have no gradient.
            values: ask the critic, if there is one.

        Raises:
            ValueError: if the batch branches and the model only takes separate paths.
        """
        self._check(batch)
        with self._products(batch):
            if self.transform is None:
                scores, hidden = self._of_whole_logits(batch, entropy, likeliest), None
            else:
                hidden = self._hidden(batch, batch.read_at)
                scores = self._of_hidden(batch, hidden, against, entropy, likeliest)
        if self.critic is None or not values:
            return scores
        return replace(scores, token_values=self.critic(batch, hidden)[batch.target_read][batch.gather])

    def _of_hidden(
        self, batch: TreeBatch, hidden: Tensor, against: Distributions | None, entropy: bool, likeliest: bool
    ) -> Scores:
        head, top = self._head(), None
        wanted = (head, hidden, batch.target_read, batch.targets, self.transform)
        if likeliest:
            logps, top = head_likeliest(*wanted)
        else:
            logps = head_logps(*wanted)
        kl = None if against is None else head_kl(head, hidden, against, self.transform or LogitTransform())
        uncertain = head_entropy(head, hidden, self.transform) if entropy else None
        return _scores(batch, logps, kl, uncertain, top)

    @torch.no_grad()
    def distributions(self, batch: TreeBatch) -> Distributions:
        """The next-token distributions at the positions that the batch reads, as hidden states and head; detached.

        Raises:
            HalignError: if the head is no plain linear layer.
        """
        return Distributions.of(self._head(), self.hidden(batch, batch.read_at), self.transform)

    def _check(self, batch: TreeBatch) -> None:
        if not batch.causal and not self.scheme.shares:
            raise ValueError("this model reads separate paths only, but the batch holds a branching trie")

    def _products(self, batch: TreeBatch) -> contextlib.AbstractContextManager[Any]:
        return SharedCasts() if torch.is_autocast_enabled(batch.input_ids.device.type) else faster_linear()

    def _head(self) -> nn.Module:
        head: nn.Module = in_use(unwrap(self.model).get_output_embeddings())
        return head

    @torch.no_grad()
    def hidden(self, batch: TreeBatch, at: Tensor) -> Tensor:
        """Hidden states that the head reads at these flat positions of a batch, [M, d]; detached."""
        with self._products(batch):
            return self._hidden(batch, at)

    def _hidden(self, batch: TreeBatch, at: Tensor) -> Tensor:
        """Hidden states at these flat positions, [M, d]."""
        inputs, ahead = prepend(self.model, self._inputs(batch))
        rows, width = batch.input_ids.shape
        at = at + (at // width + 1) * ahead
        return hidden_at(lambda: backbone(self.model)(**inputs).last_hidden_state, at, rows * (width + ahead))

    def _inputs(self, batch: TreeBatch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
        if not batch.causal:
            config = unwrap(self.model).config
            kind = batch.input_ids.device.type
            autocast = torch.is_autocast_enabled(kind)
            dtype = torch.get_autocast_dtype(kind) if autocast else next(self.model.parameters()).dtype
            additive = config._attn_implementation == "eager"
            inputs["attention_mask"] = model_masks(self.scheme, batch, additive=additive, dtype=dtype)
            inputs["position_ids"] = batch.position_ids
        return inputs

    def _of_whole_logits(self, batch: TreeBatch, entropy: bool, likeliest: bool) -> Scores:
        inputs, ahead = prepend(self.model, self._inputs(batch))
        logits = unwrap(self.model)(**inputs).logits[:, ahead:]
        logps = torch.log_softmax(logits.reshape(-1, logits.shape[-1])[batch.read_at].float(), -1)
        uncertain = torch.special.entr(logps.detach().exp()).sum(-1) if entropy else None
        top = logps.argmax(-1) if likeliest else None
        return _scores(batch, logps[batch.target_read, batch.targets], None, uncertain, top)


class ValueScorer(Scorer):
    """Wraps a sequence-classification model with a causal trunk; its forward gives ``Scores.values``.

    The value of a path is the head's output on the hidden state of its last token, the end of the response's turn: what the
    Hugging Face class gives for that path alone. The head computes in fp32, whatever the trunk does.
    """

    def forward(
        self,
        batch: TreeBatch,
        against: Distributions | None = None,
        *,
        entropy: bool = False,
        likeliest: bool = False,
        values: bool = True,
    ) -> Scores:
        """Values of every response in the batch.

        Raises:
            ValueError: if the batch branches and the model only takes separate paths; or something was asked that needs words.
        """
        if against is not None or entropy or likeliest:
            raise ValueError(
                "values are no distributions: they have no KL, no entropy and no likeliest token"
            )
        outputs = self.at(batch, batch.last_at)
        none = outputs.new_zeros(0)
        return Scores(none, batch.owner.new_zeros(0), none, batch.lengths, values=outputs)

    def at(self, batch: TreeBatch, positions: Tensor) -> Tensor:
        """The head's outputs at these flat positions of a batch, float32 [M, k].

        Raises:
            ValueError: if the batch branches and the model only takes separate paths.
        """
        self._check(batch)
        head: Any = value_head(self.model)
        with self._products(batch):
            hidden = self._hidden(batch, positions)
        return linear_fp32(head, hidden)


def make_scorer(
    model: nn.Module,
    scheme: MaskScheme,
    transform: LogitTransform | None,
    critic: nn.Module | None = None,
) -> Scorer:
    """The scorer for a model: of values where it has a value head, else of log-probabilities (and a critic's values)."""
    return (ValueScorer if value_head(model) is not None else Scorer)(model, scheme, transform, critic)


def _scores(
    batch: TreeBatch, logps: Tensor, kl: Tensor | None, entropy: Tensor | None, likeliest: Tensor | None
) -> Scores:
    """Scores from log-probabilities of the batch's targets [N], and KL, entropy and likeliest token where they are read [M]."""

    def per_token(at_read: Tensor | None) -> Tensor | None:
        return None if at_read is None else at_read[batch.target_read][batch.gather]

    token_logps = logps[batch.gather]
    sums = token_logps.new_zeros(batch.responses).index_add_(0, batch.owner, token_logps)
    return Scores(
        token_logps,
        batch.owner,
        sums,
        batch.lengths,
        per_token(kl),
        token_entropy=per_token(entropy),
        token_likeliest=per_token(likeliest),
    )


def score(scorer: nn.Module, batch: TreeBatch, against: Distributions | None = None, **asked: bool) -> Scores:
    """Call a (wrapped) scorer."""
    scores: Scores = scorer(batch, against, **asked)
    return scores
