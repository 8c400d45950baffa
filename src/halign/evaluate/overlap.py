"""Overlap of texts with references: BLEU and chrF by sacrebleu, ROUGE by rouge-score.

All are on a scale of 0 to 100. BLEU and chrF of a corpus are no means of sentences: their counts are added up first, so their
intervals come from resampling conversations.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from halign.errors import HalignError
from halign.evaluate.intervals import Interval

ROUGES = ("rouge1", "rouge2", "rougeL")


def rouge(reply: str, reference: str) -> dict[str, float]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, without stemming, in [0, 100].

    >>> rouge("the cat sat", "the cat ran")["rouge2"]
    50.0
    """
    found = _rouge_scorer().score(reference, reply)
    return {name: 100 * float(found[name].fmeasure) for name in ROUGES}


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(list(ROUGES))


def sentence_chrf(reply: str, reference: str) -> float:
    """chrF2 of one text, in [0, 100]."""
    return float(_metric("chrf").sentence_score(reply, [reference]).score)


def corpus(
    metric: str,
    replies: Sequence[str],
    references: Sequence[str],
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """BLEU ("bleu") or chrF2 ("chrf") of a corpus, and its percentile interval over resampled conversations.

    Args:
        references: one for each reply.

    Raises:
        ValueError: the sequences differ in length, or are empty.
    """
    if not len(replies) == len(references) == len(clusters) or not replies:
        raise ValueError(
            f"{len(replies)} replies, {len(references)} references, {len(clusters)} conversations"
        )
    scorer = _metric(metric)
    counts = np.array(scorer._extract_corpus_statistics(list(replies), [list(references)]), dtype=float)
    order: dict[Hashable, int] = {}
    codes = np.array([order.setdefault(c, len(order)) for c in clusters])
    sums = np.zeros((len(order), counts.shape[1]))
    np.add.at(sums, codes, counts)
    value = _score(scorer, counts.sum(0))
    if len(order) < 2:
        return Interval(value, 0.0, 100.0, len(replies), len(order))
    drawn = np.random.default_rng(seed).integers(len(order), size=(resamples, len(order)))
    values = [_score(scorer, sums[d].sum(0)) for d in drawn]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(replies), len(order))


def _score(scorer: Any, counts: np.ndarray) -> float:
    return float(scorer._compute_score_from_stats([round(c) for c in counts]).score)


@lru_cache(maxsize=2)
def _metric(name: str) -> Any:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise HalignError("BLEU and chrF need sacrebleu: pip install sacrebleu") from None
    return {"bleu": BLEU, "chrf": CHRF}[name]()
