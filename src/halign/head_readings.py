"""What is read off an LM head without a gradient, chunk by chunk: the likeliest tokens, entropies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from halign.head import LogitTransform, chunk_rows, chunks, linear_logits, log_sum_exp, slices


@torch.no_grad()
def head_likeliest(
    head: nn.Module, hidden: Tensor, read: Tensor, targets: Tensor, transform: LogitTransform | None = None
) -> tuple[Tensor, Tensor]:
    """``head_logps`` without a gradient, and what greedy decoding would write at each position, from the same logits.

    Returns:
        log-probabilities of the targets, nats, float32 [N]; the likeliest token of every position, int64 [M].
    """
    logps = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    likeliest = torch.empty(len(hidden), dtype=torch.int64, device=hidden.device)
    size = chunk_rows(_vocabulary(head), hidden.device)
    for rows, wanted in chunks(slice(0, len(hidden)), read, size):
        logits = _logits(head, hidden[rows], transform)
        likeliest[rows] = logits.max(-1).indices  # the first of equals; faster than argmax
        local = read[wanted] - rows.start
        logps[wanted] = logits[local, targets[wanted]].float() - log_sum_exp(logits)[local]
    return logps, likeliest


@torch.no_grad()
def head_entropy(head: nn.Module, hidden: Tensor, transform: LogitTransform | None = None) -> Tensor:
    """Entropy of the whole next-token distribution at each position, nats, float32 [M]. Arguments are ``head_logps``'s."""
    out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for rows in slices(slice(0, len(hidden)), chunk_rows(_vocabulary(head), hidden.device)):
        logits = _logits(head, hidden[rows], transform)
        out[rows] = torch.special.entr(torch.softmax(logits, -1, dtype=torch.float32)).sum(-1)
    return out


def _vocabulary(head: nn.Module) -> int:
    return len(head.weight) if type(head) is nn.Linear else 32_768


def _logits(head: nn.Module, hidden: Tensor, transform: LogitTransform | None) -> Tensor:
    """Transformed logits of a chunk of hidden states."""
    transform = transform or LogitTransform()
    hidden = hidden * transform.input_scale if transform.input_scale != 1.0 else hidden
    if type(head) is not nn.Linear:
        return transform(head(hidden).float())
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    return linear_logits(hidden.to(dtype), head.weight.to(dtype), head.bias, transform)
