"""Pass rates of graded replies, corrected for the judge's mistakes as labels by people show them (``correction``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from halign.errors import HalignError
from halign.evaluate.correction import Corrected, corrected_rate
from halign.judges.records import GradeRecord
from halign.judges.votes import OVERALL

Label = tuple[str, str, str]
"""(item, model, dimension)."""


def people_say(grades: Iterable[GradeRecord]) -> dict[Label, bool]:
    """Whether most raters find a reply acceptable; replies on which as many say yes as no are left out."""
    votes: dict[Label, list[bool]] = defaultdict(list)
    for r in grades:
        if r.acceptable is not None and r.guardrail is None:
            votes[r.item, r.model, r.dimension].append(r.acceptable)
    return {k: 2 * sum(v) > len(v) for k, v in votes.items() if 2 * sum(v) != len(v)}


def corrected_pass_rates(
    judged: Sequence[GradeRecord],
    labelled: Sequence[GradeRecord],
    said: Mapping[Label, bool],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Corrected]:
    """Model -> the share of its replies that the judge finds acceptable, as judged and corrected.

    Sensitivity and specificity are those of the judge over the labelled replies of all models: it is taken to err alike on
    each. Grades of which nothing says whether they are acceptable are left out.

    Args:
        judged: one judge's grades on one dimension.
        labelled: the same judge's grades on the replies that people labelled; they may be the same, or some of them.
        said: what people say (``people_say``), of this dimension, else of "overall".

    Raises:
        HalignError: no grade says what is acceptable; no labelled reply; a single conversation; or as ``corrected_rate``.
    """
    of_model: dict[str, list[GradeRecord]] = defaultdict(list)
    for r in judged:
        if r.acceptable is not None:
            of_model[r.model].append(r)
    if not of_model:
        raise HalignError("no grade says whether the reply is acceptable, so there is no pass rate")
    known = [(r, _label(said, r)) for r in labelled if r.acceptable is not None]
    both = [(r, label) for r, label in known if label is not None]
    if not both:
        raise HalignError(
            "none of the judge's grades has a label by people; do their item, model and dimension name what the verdicts name?"
        )
    clusters = [r.conversation for r, _ in both]
    found = {}
    for model, rows in sorted(of_model.items()):
        own = [r.conversation for r in rows]
        if len(set(own)) < 2 or len(set(clusters)) < 2:
            raise HalignError(
                "a corrected pass rate needs judged and labelled replies from two conversations or more each"
            )
        found[model] = corrected_rate(
            [bool(r.acceptable) for r in rows],
            own,
            [bool(r.acceptable) for r, _ in both],
            [label for _, label in both],
            clusters,
            level=level,
            resamples=resamples,
            seed=seed,
        )
    return found


def _label(said: Mapping[Label, bool], record: GradeRecord) -> bool | None:
    for dimension in (record.dimension, OVERALL):
        if (label := said.get((record.item, record.model, dimension))) is not None:
            return label
    return None
