"""The LM head on the positions that need it, in chunks: log-probabilities without a (tokens x vocabulary) matrix.

The forward pass keeps only the hidden states it was given, and the probabilities where they are small (``KEPT_BYTES``); otherwise
the backward pass makes each chunk's logits again. Matrix products run in the precision of the model (or of autocast),
everything after them in float32.

A chunk's logits are sized to stay in cache on a CPU: the element-wise work on them costs more than the product there, and
seven times more once they fall out of cache (measured, see docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from halign.products import applies, checkpoint_contexts, product

CPU_CHUNK_ELEMENTS = 512 * 1024
GPU_CHUNK_ELEMENTS = 64 * 1024 * 1024
CPU_BLOCK_CHUNKS = 8
"""Chunks whose gradients with respect to the logits are gathered for one product: each product passes over the whole gradient of
the weight, which a chunk alone is too small to pay for (a GPU's is not)."""
ROWS_MULTIPLE = 32
"""Positions are rounded up to a multiple of this: oneDNN compiles kernels for every new shape of a product and keeps them, which
for products with the vocabulary is megabytes a shape."""
KEPT_BYTES = 64 * 1024 * 1024
"""Probabilities of a pack are kept for the backward pass up to this size, else each chunk's logits are made again."""


@dataclass(frozen=True)
class LogitTransform:
    """What a model does around its LM head: ``logits = cap * tanh(scale * head(input_scale * hidden) / cap)``.

    ``cap`` None means no soft-capping. Measured on the model itself by ``halign.probe``, not looked up by name.
    """

    input_scale: float = 1.0
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Apply to float32 logits [..., V], out of place and differentiably."""
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = self.cap * torch.tanh(logits / self.cap)
        return logits

    def apply_(self, logits: Tensor) -> Tensor:
        """The same in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits

    def backward_(self, grad: Tensor, logits: Tensor) -> Tensor:
        """Turn d/d(transformed logits) into d/d(head output), in place; ``logits`` are the transformed ones."""
        if self.cap is not None:
            grad.mul_(1 - (logits / self.cap).square_())
        return grad.mul_(self.scale) if self.scale != 1.0 else grad


def chunk_rows(vocabulary: int, device: torch.device) -> int:
    """Positions per chunk, so that a chunk's logits fit in cache (CPU) or in a modest buffer (GPU)."""
    elements = CPU_CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(16, elements // vocabulary // 16 * 16)


def block_rows(vocabulary: int, device: torch.device) -> int:
    """Positions per block: chunks that share the products of the backward pass."""
    return chunk_rows(vocabulary, device) * (CPU_BLOCK_CHUNKS if device.type == "cpu" else 1)


class _LinearLogps(torch.autograd.Function):
    """log p(target) for a linear head; gradient with respect to hidden states, weight and bias. ``keep``: keep all probabilities,
    [M, V] in ``dtype``, so that the backward pass need not make them again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        read: Tensor,
        targets: Tensor,
        transform: LogitTransform,
        dtype: torch.dtype,
        keep: bool,
    ) -> Tensor:
        compute_weight, device = weight.to(dtype), hidden.device
        out, chances = (torch.empty(len(targets), dtype=torch.float32, device=device) for _ in range(2))
        ctx.kept = torch.empty(len(hidden), len(weight), dtype=dtype, device=device) if keep else None
        block_size, made = block_rows(len(weight), device), hidden.new_empty(0)
        for rows, wanted in chunks(slice(0, len(hidden)), read, chunk_rows(len(weight), device)):
            start = rows.start % block_size
            if start == 0:
                block = hidden[rows.start : rows.start + block_size].to(dtype)
                made = linear_logits(block, compute_weight, bias, transform)
            logits = made[start : start + rows.stop - rows.start]
            probabilities, total = _softmax_and_sum(logits)
            local = read[wanted] - rows.start
            out[wanted] = logits[local, targets[wanted]].float() - total[local]
            if ctx.kept is not None:
                ctx.kept[rows], chances[wanted] = probabilities, probabilities[local, targets[wanted]]
        ctx.save_for_backward(hidden, weight, bias, read, targets, chances)
        ctx.transform, ctx.dtype = transform, dtype
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        hidden, weight, bias, read, targets, chances = ctx.saved_tensors
        per_position = grad.new_zeros(len(hidden)).index_add_(0, read, grad)
        # written over, so it serves once; a second backward pass makes it again
        kept, ctx.kept = ctx.kept, None
        if kept is not None:
            _to_gradients_(kept, per_position, (read, targets), grad, chances, ctx.transform.scale)
            inputs, needed = (hidden.to(ctx.dtype), weight.to(ctx.dtype)), ctx.needs_input_grad
            d_hidden = product(kept, inputs[1].T).to(hidden.dtype) if needed[0] else None
            d_weight = product(kept.T, inputs[0].T).to(weight.dtype) if needed[1] else None
            return d_hidden, d_weight, *[None] * 6
        everything, size = slice(0, len(hidden)), chunk_rows(len(weight), hidden.device)
        wanted_of = {rows.start: wanted for rows, wanted in chunks(everything, read, size)}

        def gradient(rows: slice, logits: Tensor) -> Tensor:
            wanted = wanted_of[rows.start]
            places = (read[wanted] - rows.start, targets[wanted])
            return _logit_gradients(logits, per_position[rows], places, grad[wanted], ctx.transform)

        made = linear_backward(
            gradient, (hidden, weight, bias), ctx.transform, ctx.dtype, ctx.needs_input_grad[:3]
        )
        return *made, *[None] * 5


def _to_gradients_(
    kept: Tensor, pulls: Tensor, places: tuple[Tensor, Tensor], grad: Tensor, chances: Tensor, scale: float
) -> None:
    """Turn probabilities [M, V] into d/d(head output), in place: what ``_logit_gradients`` gives, for logits that are the head's
    output times ``scale``. At the targets it is computed from their float32 probabilities (``chances``), since 1 - p of a p near
    1 that was rounded to bf16 would be mostly rounding."""
    for rows in slices(slice(0, len(kept)), chunk_rows(kept.shape[1], kept.device)):
        kept[rows] = kept[rows] * (-scale * pulls[rows, None])
    kept[places] = ((grad - pulls[places[0]] * chances) * scale).to(kept.dtype)


def linear_backward(
    gradient: Callable[[slice, Tensor], Tensor],
    inputs: tuple[Tensor, Tensor, Tensor | None],
    transform: LogitTransform,
    dtype: torch.dtype,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of a linear head's input, weight and bias, chunk by chunk.

    Args:
        gradient: (positions of a chunk, its transformed logits) -> d/d(head output), float32 [rows, V].
        inputs: hidden [M, d], weight [V, d], bias [V] or None.
        needed: which of the three gradients are wanted; the others are None.
    """
    hidden, weight, bias = inputs
    compute_weight, device, vocabulary = weight.to(dtype), hidden.device, len(weight)

    def zeros(shape: torch.Size) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=device)

    d_hidden = torch.empty_like(hidden) if needed[0] else None
    d_weight = zeros(weight.shape) if needed[1] else None
    d_bias = zeros(bias.shape) if bias is not None and needed[2] else None
    for block in slices(slice(0, len(hidden)), block_rows(vocabulary, device)):
        block_inputs = hidden[block].to(dtype)
        d_logits = torch.empty(len(block_inputs), vocabulary, dtype=dtype, device=device)
        for rows in slices(block, chunk_rows(vocabulary, device)):
            local = slice(rows.start - block.start, rows.stop - block.start)
            d_chunk = gradient(rows, linear_logits(block_inputs[local], compute_weight, bias, transform))
            if d_bias is not None:
                d_bias += d_chunk.sum(0)
            d_logits[local] = d_chunk
        if d_hidden is not None:
            d_hidden[block] = product(d_logits, compute_weight.T)
        if d_weight is not None:
            _accumulate_product(d_weight, d_logits, block_inputs)
    return [
        d_hidden,
        None if d_weight is None else d_weight.to(weight.dtype),
        None if d_bias is None or bias is None else d_bias.to(bias.dtype),
    ]


def _logit_gradients(
    logits: Tensor, pulls: Tensor, places: tuple[Tensor, Tensor], grad: Tensor, transform: LogitTransform
) -> Tensor:
    """d/d(head output) of a chunk, float32 [rows, V]: each target's ``grad`` at its place, less every position's sum of them
    (``pulls``) times its softmax."""
    made = torch.softmax(logits, -1, dtype=torch.float32)
    made.mul_(-pulls[:, None])
    made[places] += grad  # several targets of a position (the first tokens of sibling branches) differ
    return transform.backward_(made, logits)


def _accumulate_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == torch.float32 and not applies(left.T, right.T):
        total.addmm_(left.T, right)
    else:
        total += product(left.T, right.T)


def linear_logits(inputs: Tensor, weight: Tensor, bias: Tensor | None, transform: LogitTransform) -> Tensor:
    """Transformed logits of one chunk; float32 whenever anything but a plain product is applied to them."""
    logits = product(inputs, weight)
    if bias is not None or transform.scale != 1.0 or transform.cap is not None:
        logits = logits.float()
        if bias is not None:
            logits += bias.float()
        transform.apply_(logits)
    return logits


def log_sum_exp(logits: Tensor) -> Tensor:
    """float32 [rows]."""
    return _softmax_and_sum(logits)[1]


def _softmax_and_sum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, float32 [rows, V], and log-sum-exp, float32 [rows]. The second by way of the first, which PyTorch computes
    several times faster than log_softmax on a CPU: the likeliest token's is at least 1/V, so its logarithm is exact."""
    made = torch.softmax(logits, -1, dtype=torch.float32)
    return made, logits.amax(-1).float() - made.amax(-1).log()


def slices(whole: slice, size: int) -> list[slice]:
    return [slice(s, min(s + size, whole.stop)) for s in range(whole.start, whole.stop, size)]


def chunks(positions: slice, read: Tensor, size: int) -> list[tuple[slice, slice]]:
    """(positions, targets) slices; ``read`` is non-decreasing, so the targets of a chunk of positions are contiguous."""
    rows = slices(positions, size)
    edges = torch.tensor([r.start for r in rows] + [r.stop for r in rows[-1:]], device=read.device)
    cuts = torch.searchsorted(read, edges).tolist()
    return [(r, slice(cuts[i], cuts[i + 1])) for i, r in enumerate(rows)]


def _module_logps(
    head: Callable[[Tensor], Tensor], hidden: Tensor, read: Tensor, targets: Tensor, transform: LogitTransform
) -> Tensor:
    def chunk(inputs: Tensor, local_read: Tensor, wanted: Tensor) -> Tensor:
        logits = transform(head(inputs).float())
        return torch.log_softmax(logits, -1)[local_read, wanted]

    parts = []
    size = max(64, chunk_rows(32_768, hidden.device))
    for rows, wanted in chunks(slice(0, len(hidden)), read, size):
        args = (hidden[rows], read[wanted] - rows.start, targets[wanted])
        parts.append(
            checkpoint(chunk, *args, use_reentrant=False, context_fn=checkpoint_contexts)
            if torch.is_grad_enabled()
            else chunk(*args)
        )
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def head_logps(
    head: nn.Module, hidden: Tensor, read: Tensor, targets: Tensor, transform: LogitTransform | None = None
) -> Tensor:
    """log-probability of target tokens, in nats.

    Args:
        head: the LM head. A plain ``nn.Linear`` takes the fused path; anything else (an adapter on the head, a head of
            several layers) is called as a module, chunk by chunk under activation checkpointing.
        hidden: [M, d] hidden states that the head reads.
        read: int64 [N], non-decreasing; which hidden state each target is predicted from.
        targets: int64 [N] token ids.
        transform: scaling and soft-capping around the head.

    Returns:
        float32 [N].
    """
    transform = transform or LogitTransform()
    if transform.input_scale != 1.0:
        hidden = hidden * transform.input_scale
    if type(head) is not nn.Linear:
        return _module_logps(head, hidden, read, targets, transform)
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    trained = torch.is_grad_enabled() and (hidden.requires_grad or head.weight.requires_grad)
    hidden = nn.functional.pad(hidden, (0, 0, 0, -len(hidden) % ROWS_MULTIPLE))  # nobody reads these
    plain = head.bias is None and transform.cap is None
    keep = trained and plain and len(hidden) * len(head.weight) * dtype.itemsize <= KEPT_BYTES
    out: Tensor = _LinearLogps.apply(hidden, head.weight, head.bias, read, targets, transform, dtype, keep)
    return out
