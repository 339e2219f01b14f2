"""Does this window ask for something that the reference never saw, or for known things in another mix?

In: the vectors of a window's rows, a reference, the alarm budget. Out: one drift verdict on the column ``embedding``, with the
six scores it rests on and the rows and topics a person should look at. Embedding texts is not done here, nor is pinning.

The window is cut down to the rows with the smallest hashes, as many as the largest size whose scores without drift are known.
The largest of the six scores, each in deviations from what is usual, is compared with the same largest of windows drawn from
held-out rows of the reference (a max-type resampling test; Westfall and Young 1993). So the six cost one test, not six.
There is no floor under the effect: the cut to a bounded sample already hides what is too small to matter.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_reference import EmbeddingPolicy, EmbeddingReference, NullScores, checked, pin_embeddings, smallest
from flywheel.drift.embedding_scores import (
    SQUARED,
    Numbers,
    RowScores,
    Score,
    Vectors,
    company,
    even,
    most_company,
    score_rows,
    traits,
    window_scores,
)
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, EventId, WorkloadId
from flywheel.traffic.column import Family
from flywheel.windows.plausible import check_moments, check_number

__all__ = ["COLUMN", "EmbeddingBudget", "EmbeddingPolicy", "EmbeddingReference", "judge_embeddings", "pin_embeddings"]

COLUMN = "embedding"
METHOD = "embedding_max_z"
SHOWN = 5  # rows and topics in the evidence

_Evidence = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class EmbeddingBudget:
    """Of the pages a day that may be false, those left to embeddings; and how many windows share them."""

    pages_a_day: float = 0.02
    windows_a_day: float = 24.0

    @property
    def p_below(self) -> float:
        """The share of windows without drift that may be called drifting."""
        return self.pages_a_day / self.windows_a_day


def judge_embeddings(
    *,
    vectors: NDArray[np.floating],
    ids: tuple[EventId, ...] | list[EventId],
    reference: EmbeddingReference | None,
    workload: WorkloadId,
    window_start: datetime,
    window_end: datetime,
    now: datetime,
    budget: EmbeddingBudget,
    slice_name: str = EVERYTHING,
) -> DriftVerdict:
    """``vectors`` [n, d] of the window's rows, or of the k of them with the smallest hashes; n may be 0. Order and repeats change nothing.

    Raises InvalidInput for vectors that cannot be compared, a reference of another workload, a window that ends before it
    starts, and a budget so small that no window could ever be called drifting.
    """
    where = f"embeddings of {workload}, {slice_name}, {window_start.isoformat()}"
    check_moments(where, start=window_start, end=window_end, now=now)
    _refuse(where, reference, workload, window_start, window_end, budget)
    if not np.ndim(vectors) or (len(vectors) == 0 and len(ids)):
        raise InvalidInput(
            f"there are {len(ids)} ids for no vector", where=where, value=type(vectors).__name__, remedy="Hand over a vector for each id."
        )
    effect: float | None = None
    if len(vectors) == 0:
        status, said, n, p, evidence = DriftStatus.NO_DATA, "no row of this window has a vector", 0, None, _Evidence()
    else:
        rows, known = checked(vectors, ids, where=where)
        n, p, evidence = len(known), None, _Evidence()
        if reference is None:
            status, said = DriftStatus.LEARNING, "there is no embedding reference yet"
        elif rows.shape[1] != reference.anchors.shape[1]:
            raise InvalidInput(
                f"the reference holds vectors of {reference.anchors.shape[1]} dimensions",
                where=where,
                value=rows.shape[1],
                remedy="Pin a new reference after a change of the embedding model: its vectors cannot be compared with the old ones.",
            )
        elif (size := max((size for size in reference.null if size <= n), default=0)) == 0:
            status, said = DriftStatus.INSUFFICIENT_DATA, _too_few(n, reference)
        else:
            sample = smallest(known, size)
            place = {one: number for number, one in enumerate(known)}
            p, highest, effect, evidence = _measure(rows[[place[one] for one in sample]], sample, reference, size)
            status = _status(p, budget, reference)
            said = _said(p, highest, evidence, budget, reference)
    if reference is not None:
        evidence |= {
            "reference": reference.id,
            "reference_maturity": reference.maturity.value,
            "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
            "held_out_rows": reference.held_out,
            "real_windows": reference.real_windows,
        }
    return DriftVerdict(
        workload=workload,
        window_start=window_start,
        window_end=window_end,
        kind=Family.INPUT,
        slice=slice_name,
        column=COLUMN,
        status=status,
        reason=said,
        n=n,
        n_reference=reference.rows if reference else 0,
        method=METHOD,
        score=p,
        effect=effect,
        threshold=budget.p_below if p is not None else None,
        effect_floor=None,
        evidence=evidence,
    )


def _measure(rows: Vectors, ids: tuple[EventId, ...], reference: EmbeddingReference, size: int) -> tuple[float, Score, float, _Evidence]:
    """The p-value, the highest score, the share of rows that are novel or gathered in one place beyond what is usual, and the evidence."""
    null = reference.null[size]
    scores = score_rows(rows, anchors=reference.anchors, centres=reference.centres)
    mean = traits(rows, scores, novel_beyond=reference.novel_beyond, clusters=len(reference.centres)).mean(axis=0)
    together = company(rows, scores.reach).sum(axis=2)
    gathered = most_company(together, size=size)
    seen = window_scores(mean, reference.traits, gathered, shares=reference.shares)
    deviations = _deviations(seen, null)
    as_high = len(null.highest) - int(np.searchsorted(null.highest, deviations.max(), side="left"))
    p = (1 + as_high) / (1 + len(null.highest))
    novel, usual_novel = float(mean[1]), float(reference.traits[1])
    dense, usual_dense = float(gathered[-1]) / size, float(null.mean[-1] ** 2) / size
    evidence: _Evidence = {
        "sampled_rows": size,
        "deviations": {score.value: round(float(value), 2) for score, value in zip(Score, deviations, strict=True)},
        "drawn_windows": len(null.highest),
        "hour_to_hour_spread": {score.value: round(float(value), 2) for score, value in zip(Score, null.spread, strict=True)},
        "novel_share": novel,
        "usual_novel_share": usual_novel,
        "novel_beyond": reference.novel_beyond,
        "mean_distance": float(mean[0]),
        "usual_mean_distance": float(reference.traits[0]),
        "gathered_share": dense,
        "usual_gathered_share": usual_dense,
        "gathered_rows": _gathered(together, deviations[-2:], ids),
        "strangest_rows": _strangest(scores, ids, reference),
        "changed_topics": _changed(mean, scores, ids, reference),
    }
    return p, list(Score)[int(deviations.argmax())], max(0.0, novel - usual_novel, dense - usual_dense), evidence


def _deviations(seen: Numbers, null: NullScores) -> Numbers:
    """How far each score lies from what is usual, in its usual deviations."""
    calmed = np.where(SQUARED, seen / null.spread, seen)
    return (even(calmed) - null.mean) / (null.deviation * np.where(SQUARED, 1.0, np.sqrt(null.spread)))


def _gathered(together: NDArray[np.int_], deviations: Numbers, ids: tuple[EventId, ...]) -> list[_Evidence]:
    """The rows with most company, by the scale that says more."""
    counts = together[int(deviations.argmax())]
    return [{"event": ids[at], "company": int(counts[at])} for at in np.argsort(-counts, kind="stable")[:SHOWN]]


def _strangest(scores: RowScores, ids: tuple[EventId, ...], reference: EmbeddingReference) -> list[_Evidence]:
    farthest = np.argsort(-scores.distance, kind="stable")[:SHOWN]
    return [
        {"event": ids[at], "distance": round(float(scores.distance[at]), 4), "most_like": reference.anchor_ids[int(scores.anchor[at])]}
        for at in farthest
    ]


def _changed(mean: Numbers, scores: RowScores, ids: tuple[EventId, ...], reference: EmbeddingReference) -> list[_Evidence]:
    """The topics whose share moved most, each with a row of the window that shows what it is about."""
    shares = mean[2 : 2 + len(reference.centres)]
    moved = shares - reference.shares
    most = np.argsort(-np.abs(moved), kind="stable")[:SHOWN]
    examples = {int(cluster): ids[at] for at, cluster in reversed(list(enumerate(scores.cluster)))}
    return [
        {"cluster": int(at), "share": float(shares[at]), "usual_share": float(reference.shares[at]), "example": examples.get(int(at))}
        for at in most
    ]


def _status(p: float, budget: EmbeddingBudget, reference: EmbeddingReference) -> DriftStatus:
    if reference.maturity is Maturity.LEARNING:
        return DriftStatus.LEARNING
    return DriftStatus.DRIFTING if p <= budget.p_below else DriftStatus.OK


def _said(p: float, highest: Score, evidence: _Evidence, budget: EmbeddingBudget, reference: EmbeddingReference) -> str:
    deviations = evidence["deviations"]
    assert isinstance(deviations, dict)
    said = (
        f"{highest.value} lies {deviations[highest.value]:+.1f} deviations from usual, p {p:.2g} (drifts up to {budget.p_below:.2g}); "
        f"novel rows {evidence['novel_share']:.1%} against {evidence['usual_novel_share']:.1%}, "
        f"gathered in one place {evidence['gathered_share']:.1%} against {evidence['usual_gathered_share']:.1%}"
    )
    if reference.maturity is Maturity.LEARNING:
        return f"{said}; the reference has seen under one whole day and nobody vouches for it"
    return said if reference.real_windows else f"{said}; how much hours differ from one another was not measured"


def _too_few(n: int, reference: EmbeddingReference) -> str:
    if not reference.null:
        return f"the reference holds out {reference.held_out} rows, too few to say how windows score when nothing moves"
    return f"{n} rows with vectors: under {min(reference.null)} are not judged"


def _refuse(
    where: str,
    reference: EmbeddingReference | None,
    workload: WorkloadId,
    window_start: datetime,
    window_end: datetime,
    budget: EmbeddingBudget,
) -> None:
    if window_end <= window_start:
        raise InvalidInput(
            "the window ends before it starts", where=where, value=window_end.isoformat(), remedy="Check the clock that closed it."
        )
    check_number(budget.pages_a_day, where=f"{where}, budget: pages_a_day")
    check_number(budget.windows_a_day, where=f"{where}, budget: windows_a_day")
    if not (budget.windows_a_day > 0 and 0 < budget.p_below < 1):
        raise InvalidInput(
            "the budget leaves no share of false alarms between 0 and 1",
            where=where,
            value=f"{budget.pages_a_day} pages a day over {budget.windows_a_day} windows a day",
            remedy="Give more than 0 pages and fewer pages than windows a day.",
        )
    if reference is None:
        return
    if reference.workload != workload:
        raise InvalidInput(
            f"the reference belongs to {reference.workload}", where=where, value=reference.id, remedy="Judge with this workload's own."
        )
    fewest = min((len(null.highest) for null in reference.null.values()), default=None)
    if fewest is not None and budget.p_below < 1 / (1 + fewest):
        raise InvalidInput(
            f"with {fewest} drawn windows no p-value can be that small: nothing would ever be called drifting",
            where=where,
            value=budget.p_below,
            remedy=f"Pin the reference with at least {int(np.ceil(1 / budget.p_below))} null windows, or allow more false alarms.",
        )
