"""TRL's own loss functions on numbers of ours: its trainers' ``_compute_loss`` with a stand-in for the model."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from halign.objectives import Pairs, Singles


class Sums:
    """Stands where the model is called: per-token log-probabilities that add up to given sums, spread over the tokens."""

    def __init__(self, sums: Tensor, mask: Tensor) -> None:
        self.sums, self.mask = sums, mask
        self.training = True

    def __call__(self, **inputs: Any) -> Any:
        mask = self.mask[:, 1:]
        logps = self.sums[:, None] / mask.sum(1, keepdim=True) * mask
        nothing = torch.zeros_like(logps)
        return SimpleNamespace(
            log_probs=logps, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), logits=nothing
        )


def _masks(lengths: Tensor) -> Tensor:
    """One prompt token, then as many response tokens as said, then padding; int64 [R, 1 + longest]."""
    columns = torch.arange(int(lengths.max()) + 1)
    return ((columns >= 1) & (columns <= lengths[:, None])).long()


def _trainer(trl: Any, sums: Sums, reference: Sums, **more: Any) -> Any:
    gather = SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda t: t,
        gather_for_metrics=lambda t: t,
        unwrap_model=lambda m: m,
    )
    common = {
        "model": sums,
        "ref_model": reference,
        "accelerator": gather,
        "aux_loss_enabled": False,
        "precompute_ref_logps": False,
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None),
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return SimpleNamespace(**{**common, **more})


def dpo_trainer_loss(
    pairs: Pairs,
    kind: str,
    beta: float,
    label_smoothing: float = 0.0,
    *,
    divergence: str = "reverse_kl",
    alpha: float = 0.5,
    temperature: float = 0.05,
) -> Tensor:
    """The mean loss of ``DPOTrainer(loss_type=kind)``; ``divergence`` and ``alpha`` are its f_divergence_type and
    f_alpha_divergence_coef, ``temperature`` its discopop_tau."""
    trl = pytest.importorskip("trl")
    module = pytest.importorskip("trl.trainer.dpo_trainer")
    assert pairs.ref_chosen_logps is not None
    assert pairs.ref_rejected_logps is not None
    assert pairs.chosen_lengths is not None
    assert pairs.rejected_lengths is not None
    mask = _masks(torch.cat([pairs.chosen_lengths, pairs.rejected_lengths]))
    policy = Sums(torch.cat([pairs.chosen_logps, pairs.rejected_logps]), mask)
    reference = Sums(torch.cat([pairs.ref_chosen_logps, pairs.ref_rejected_logps]), mask)
    trainer = _trainer(
        trl,
        policy,
        reference,
        beta=beta,
        label_smoothing=label_smoothing,
        loss_types=[kind],
        loss_weights=[1.0],
        ld_alpha=None,
        f_divergence_type=divergence,
        f_alpha_divergence_coef=alpha,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=temperature),
        use_weighting=False,
    )
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }
    return _called(module.DPOTrainer._compute_loss, module, trainer, policy, inputs)


def kto_trainer_loss(singles: Singles, lengths: Tensor, **settings: float) -> Tensor:
    """The mean loss of ``KTOTrainer``; its KL term is taken from ``mismatch_logps``."""
    trl = pytest.importorskip("trl")
    module = pytest.importorskip("trl.trainer.kto_trainer")
    assert singles.ref_logps is not None
    mask = _masks(lengths)
    policy, reference = Sums(singles.logps, mask), Sums(singles.ref_logps, mask)
    mismatched = {id(policy): singles.mismatch_logps, id(reference): singles.ref_mismatch_logps}
    trainer = _trainer(
        trl,
        policy,
        reference,
        loss_type="kto",
        calculate_KL=True,
        _compute_kl_logps=lambda model, batch: mismatched[id(model)],
        **settings,
    )
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "label": singles.desirable,
    }
    return _called(module.KTOTrainer._compute_loss, module, trainer, policy, inputs)


def cpo_trainer_loss(pairs: Pairs, kind: str = "sigmoid", **settings: float) -> Tensor:
    """The mean loss of the experimental ``CPOTrainer(loss_type=kind)``."""
    module = pytest.importorskip("trl.experimental.cpo.cpo_trainer")
    own = {"loss_type": kind, "alpha": 0.0, "label_smoothing": 0.0, **settings}
    return _of_metrics(module.CPOTrainer, "cpo_loss", pairs, kind == "simpo", own)


def orpo_trainer_loss(pairs: Pairs, beta: float) -> Tensor:
    """The mean loss of the experimental ``ORPOTrainer`` with prompts of no tokens."""
    module = pytest.importorskip("trl.experimental.orpo.orpo_trainer")
    return _of_metrics(module.ORPOTrainer, "odds_ratio_loss", pairs, True, {"beta": beta})


def _of_metrics(trainer: Any, own_loss: str, pairs: Pairs, average: bool, settings: dict[str, Any]) -> Tensor:
    """Its ``get_batch_loss_metrics`` with given log-probabilities; the likelihood is the mean over all chosen tokens."""
    assert pairs.chosen_lengths is not None
    assert pairs.rejected_lengths is not None
    chosen, rejected = pairs.chosen_logps, pairs.rejected_logps
    likelihood = -chosen.sum() / pairs.chosen_lengths.sum()
    if average:
        chosen, rejected = chosen / pairs.chosen_lengths, rejected / pairs.rejected_lengths
    forward = (chosen, rejected, torch.zeros(1), torch.zeros(1), likelihood)
    stand_in = _trainer(None, None, None, concatenated_forward=lambda *a: forward, **settings)  # type: ignore[arg-type]
    setattr(stand_in, own_loss, partial(getattr(trainer, own_loss), stand_in))
    loss: Tensor = trainer.get_batch_loss_metrics(stand_in, None, {})[0]
    return loss


def _called(function: Any, module: Any, trainer: Any, policy: Sums, inputs: Any) -> Tensor:
    """Call it with what it does to real models left out."""
    import contextlib

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "disable_gradient_checkpointing", lambda *a, **k: contextlib.nullcontext())
        patch.setattr(module, "is_peft_model", lambda model: False)
        loss: Tensor = function(trainer, policy, inputs, False)
    return loss
