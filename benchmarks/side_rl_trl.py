"""TRL's side of ``benchmarks.rl``: RLOOTrainer at its best on a CPU.

One generation for each optimiser step, over all of its prompts at once; learning in micro-batches of ``micro`` replies; no
gradient checkpointing (on by default), logging, saving or workers; the fused AdamW; dropout off.
"""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import RLOOConfig, RLOOTrainer

from benchmarks.paced_trainer import Paced
from benchmarks.pacing import Pacer
from benchmarks.rl import grade


def rewarded(completions: list[Any], **kwargs: Any) -> list[float | None]:
    """The same reward as ours."""
    return [grade(c[0]["content"]) for c in completions]


def arguments(folder: str, spec: dict[str, Any], max_steps: int) -> RLOOConfig:
    """RLOOTrainer's settings."""
    replies = spec["prompts"] * spec["samples"]
    return RLOOConfig(
        output_dir=folder,
        per_device_train_batch_size=spec["micro"],
        gradient_accumulation_steps=replies // spec["micro"],
        steps_per_generation=replies // spec["micro"],
        num_generations=spec["samples"],
        max_completion_length=spec["max_new_tokens"],
        max_steps=max_steps,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        beta=0.05,
        temperature=1.0,
        disable_dropout=True,
        shuffle_dataset=False,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=True,
        bf16=spec["dtype"] == "bf16",
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def run(spec: dict[str, Any], pacer: Pacer) -> None:
    """Load, learn in windows, report."""
    disable_caching()
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model = AutoModelForCausalLM.from_pretrained(spec["model"])
    rows = Dataset.from_json(spec["rows"])
    pacer.loaded()
    paced = Paced(pacer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = RLOOTrainer(
            model=model,
            reward_funcs=rewarded,
            args=arguments(folder, spec, pacer.window.total),
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[paced],
        )
        paced.trainer = trainer
        trainer.train()
    metrics = paced.metrics
    lengths, clipped = metrics["completions/mean_length"], metrics["completions/clipped_ratio"]
    pacer.finish(
        {
            **pacer.peak_mb(),
            "length": sum(lengths) / len(lengths),
            "finished": 1 - sum(clipped) / len(clipped),
        }
    )
