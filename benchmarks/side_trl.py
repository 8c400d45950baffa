"""TRL's side: DPOTrainer at its best on a CPU.

What is set, and why: micro-batches of ``size`` pairs, tuned (``benchmarks.tune``); rows sorted by length
within each optimiser step and read in order, which pads less than its group_by_length sampler and keeps the
pairs of every step the same as ours; nothing truncated; no gradient checkpointing (on by default), no
offloading, no logging, saving or workers; the fused AdamW. Its padding-free mode is withdrawn in 1.16 (the
flag only warns).
"""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from benchmarks.paced_trainer import Paced
from benchmarks.pacing import Pacer


def arguments(folder: str, spec: dict[str, Any], max_steps: int) -> DPOConfig:
    """DPOTrainer's settings."""
    return DPOConfig(
        output_dir=folder,
        per_device_train_batch_size=spec["size"],
        gradient_accumulation_steps=spec["batch_items"] // spec["size"],
        max_steps=max_steps,
        train_sampling_strategy=spec.get("sampling", "sequential"),
        precompute_ref_log_probs=spec["reference"] == "cached",
        max_length=None,
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=True,
        bf16=spec["dtype"] == "bf16",
        gradient_checkpointing=False,
        activation_offloading=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def sorted_within_steps(rows: Dataset, tokenizer: Any, batch_items: int) -> Dataset:
    """Each optimiser step's rows by the longer of their two sequences, so that micro-batches pad little."""
    lengths = [
        max(
            len(tokenizer.apply_chat_template(r["prompt"] + r[k], return_dict=False))
            for k in ("chosen", "rejected")
        )
        for r in rows
    ]
    order = sorted(range(len(lengths)), key=lambda i: (i // batch_items, lengths[i]))
    return rows.add_column("length", lengths).select(order)


def run(spec: dict[str, Any], pacer: Pacer) -> None:
    """Load, train in windows, report."""
    disable_caching()
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model = AutoModelForCausalLM.from_pretrained(spec["model"])
    dataset = sorted_within_steps(Dataset.from_json(spec["rows"]), tokenizer, spec["batch_items"])
    pacer.loaded()
    paced = Paced(pacer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=model,
            args=arguments(folder, spec, pacer.window.total),
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[paced],
        )
        paced.trainer = trainer
        trainer.train()
    prepared: Any = trainer.train_dataset
    flat = sum(2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in prepared)
    micro = spec["batch_items"] // spec["size"]
    pacer.finish(
        {
            **pacer.peak_mb(),
            "chosen_logps": _by_step(paced.metrics["logps/chosen"], micro),
            "rejected_logps": _by_step(paced.metrics["logps/rejected"], micro),
            "flat_tokens": flat,
            "parameters": sum(p.numel() for p in model.parameters()),
        }
    )


def _by_step(values: list[float], micro: int) -> list[float]:
    return [sum(values[i : i + micro]) / micro for i in range(0, len(values), micro)]
