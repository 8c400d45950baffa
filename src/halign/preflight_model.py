"""Preflight, the model's part: what shows only when the first pack goes through it; and the whole preflight of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from halign.adapters.virtual import virtual_tokens
from halign.errors import HalignError
from halign.items import Path
from halign.plan import Pack
from halign.preflight import Finding, accepted, check_items, check_overlap, format_findings
from halign.probe import separate_token_logps, separate_values
from halign.quantize import is_quantized
from halign.run_folder import write_text
from halign.scoring import Scorer, Scores, unwrap, value_head
from halign.train_settings import TrainSettings
from halign.trie import tree_batch

if TYPE_CHECKING:
    from halign.prepare import Prepared
    from halign.training import Trainer

TOKEN_TOLERANCE = {"fp32": 2e-3, "bf16": 0.25}
"""Largest difference of one token's log-probability that passes as rounding, in nats."""
MEAN_TOLERANCE = {"fp32": 2e-4, "bf16": 0.04}
"""Largest mean difference."""
PATHS_COMPARED = 16


def preflight(trainer: Trainer) -> None:
    """Check text, tokens and model before the first step; print it, keep it in the run folder.

    Raises:
        HalignError: at the first finding that is an error and was not accepted, after all have been printed.
    """
    prepared, settings = trainer.prepared, trainer.settings
    findings = check_items(
        prepared.train, trainer.policy.tokenizer, prepared.renderer, accept=settings.accept
    )
    if prepared.evaluation:
        findings += check_overlap(prepared.train, prepared.evaluation, accept=settings.accept)
    if settings.balance:
        weights = ", ".join(
            f"{k} {v:.4g}" for k, v in trainer.losses.settings["kto"].items() if "weight" in k
        )
        findings.append(Finding("balance", "info", f"kto: {weights}"))
    findings += [Finding("dropped", "info", f"{n} {why}") for why, n in prepared.dropped.items()]
    if not any(f.level == "error" for f in findings):
        findings += accepted(check_model(trainer), settings.accept)
    text = format_findings(findings)
    if trainer.main:
        write_text(trainer.folder.path / "preflight.txt", text + "\n")
        trainer.display.say("preflight\n" + text)
    errors = [f for f in findings if f.level == "error"]
    if errors:
        raise HalignError(f"preflight: {errors[0].text} (to go on all the same: accept=[{errors[0].name}])")


@torch.no_grad()
def check_model(trainer: Trainer) -> list[Finding]:
    """Two forwards agree, shared and separate passes agree, the policy is the reference: on the first pack."""
    pack, dtype = first_pack(trainer), precision(trainer)
    batch = trainer.batch(trainer.plan, pack)
    once, again = (_numbers(trainer.scorer(batch)) for _ in range(2))
    if not torch.isfinite(once).all():
        return [Finding("not_finite", "error", "the model's own numbers are not finite; look at its weights")]
    scheme = trainer.accelerator.unwrap_model(trainer.scorer).scheme
    found = [
        Finding("engine", "info", f"{scheme.describe()}; {batch.flat_tokens} tokens of the first pack are "
                f"{batch.distinct_tokens} distinct ones")
    ]  # fmt: skip
    if not torch.equal(once, again) and not trainer.settings.dropout and not trainer.settings.lora_dropout:
        found.append(
            Finding("not_repeatable", "error", _difference("two forward passes differ", once, again))
        )
    trainer.scorer.eval()
    once = _numbers(trainer.scorer(batch))  # what dropout is asked for must not hide what else differs
    if value_head(trainer.policy.model) is not None:
        apart = _plain(trainer, pack, separate_values)
        found.append(
            _compare("trie_differs", "our values and the model's own", once[: len(apart)], apart, dtype)
        )
    elif virtual_tokens(trainer.policy.model):
        apart = _plain(trainer, pack, separate_token_logps)
        found.append(_compare("virtual_differs", "our passes and peft's", once[: len(apart)], apart, dtype))
    elif not trainer.separate:
        apart = _separate(trainer, pack)
        found.append(_compare("trie_differs", "shared and separate passes", once[: len(apart)], apart, dtype))
    if trainer.reference and not trainer.starts_elsewhere:
        reference = trainer.reference[id(trainer.plan)](trainer.plan, pack, batch)
        found.append(_compare("not_reference", "policy and reference before step 1", once, reference, dtype))
    trainer.scorer.train()
    return found


def precision(trainer: Trainer) -> str:
    """The coarser of what the run computes in and what the weights are kept in; products with quantised weights round as bf16
    does."""
    coarse = any(p.dtype in (torch.bfloat16, torch.float16) for p in trainer.scorer.parameters())
    return "bf16" if coarse or is_quantized(trainer.policy.model) else trainer.settings.dtype


def check_positions(prepared: Prepared, model: torch.nn.Module, settings: TrainSettings) -> None:
    """Before anything goes through the model: does it have a position for every token?

    Raises:
        HalignError: if not, and that was not accepted by name.
    """
    known = getattr(unwrap(model).config, "max_position_embeddings", None)
    longest = max(len(p) for i in (*prepared.train, *prepared.evaluation) for p in i.paths)
    ahead = virtual_tokens(model) or settings.virtual_count
    if isinstance(known, int) and longest + ahead > known and "too_long" not in settings.accept:
        behind = f" behind {ahead} virtual ones" if ahead else ""
        raise HalignError(
            f"preflight: the longest prompt with its response has {longest} tokens{behind}, the model was made for {known}; "
            f"set max_length={known - ahead} (to go on all the same: accept=[too_long])"
        )


def first_pack(trainer: Trainer) -> Pack:
    """The first step's first pack (of any rank)."""
    return next(pack for share in trainer.plan.step(0).packs for pack in share)


def _separate(trainer: Trainer, pack: Pack) -> Tensor:
    """Token log-probabilities of the pack's first paths by plain passes, one path each, nothing shared, no mask of ours."""
    paths = [path for row in trainer.plan.paths(pack) for path in row][:PATHS_COMPARED]
    scorer: Scorer = trainer.accelerator.unwrap_model(trainer.scorer)
    parts = []
    with trainer.accelerator.autocast():
        for path in paths:
            batch = tree_batch([[path]], multiple=1).to(trainer.accelerator.device)
            parts.append(scorer(batch).token_logps)
    return torch.cat(parts)


def _numbers(scores: Scores) -> Tensor:
    """Token log-probabilities, float32 [G], or a reward model's values, [R, k]."""
    return scores.token_logps if scores.values is None else scores.values


def _plain(trainer: Trainer, pack: Pack, alone: Callable[[torch.nn.Module, Path], Tensor]) -> Tensor:
    """The same by the model's own forward (peft's, where it has adapters)."""
    paths = [path for row in trainer.plan.paths(pack) for path in row][:PATHS_COMPARED]
    with trainer.accelerator.autocast():
        return torch.cat([alone(trainer.policy.model, path) for path in paths])


def _compare(name: str, what: str, a: Tensor, b: Tensor, dtype: str) -> Finding:
    difference = (a - b).abs()
    good = difference.max() <= TOKEN_TOLERANCE[dtype] or difference.mean() <= MEAN_TOLERANCE[dtype]
    bad = not bool(good)  # so that a NaN is bad
    return Finding(
        name, "error" if bad else "info", _difference(f"{what} {'differ' if bad else 'agree'}", a, b)
    )


def _difference(what: str, a: Tensor, b: Tensor) -> str:
    difference = (a - b).abs()
    unit = "" if a.dim() > 1 else " nats a token"
    return f"{what}: mean {difference.mean():.2g}, largest {difference.max():.2g}{unit}"
