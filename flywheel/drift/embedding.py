"""Embedding drift: does a window have new topics, or known topics in other shares?

In: the vectors of a window's rows, a reference, the alarm budget. Out: one drift verdict on the column ``embedding``, with the
eight scores and the rows and topics a person should read. Does not embed texts and does not pin references.

The window is sampled down to a bounded number of rows, those with the smallest hashes. Its p-value is that of a permutation test: the same
sessions are assigned to window and reference at random. There is no minimum effect: in so few rows small effects are not significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from flywheel.drift.embedding_reference import (
    EmbeddedRows,
    EmbeddingPolicy,
    EmbeddingReference,
    checked,
    labels_of,
    pin_embeddings,
    smallest,
)
from flywheel.drift.embedding_relabelling import Compared, Part, compare
from flywheel.drift.embedding_scores import Numbers, Pool, Score, Vectors, pooled, surplus
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftComparison, DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, EventId, WorkloadId, derive
from flywheel.traffic.column import Family

__all__ = ["COLUMN", "EmbeddedRows", "EmbeddingBudget", "EmbeddingPolicy", "EmbeddingReference", "judge_embeddings", "pin_embeddings"]

COLUMN = "embedding"
METHOD = "embedding_relabelling"
SHOWN = 5  # rows and topics in the evidence

_Evidence = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class EmbeddingBudget:
    """The false alarms a day allowed to embeddings, and the number of windows that share them."""

    alarms_a_day: float = 0.02
    windows_a_day: float = 24.0
    permutations: int = 5_000  # maximum number

    @property
    def p_below(self) -> float:
        """alpha: the allowed share of windows without drift that are called drifting."""
        return self.alarms_a_day / self.windows_a_day


def judge_embeddings(
    *,
    rows: EmbeddedRows,
    reference: EmbeddingReference | None,
    workload: WorkloadId,
    window: tuple[datetime, datetime],
    now: datetime,
    budget: EmbeddingBudget,
    slice_name: str = EVERYTHING,
) -> DriftVerdict:
    """``rows``: those of the window, or the k of them with the smallest hashes; may be empty. Order and repeats change nothing. Without
    sessions rows count as independent; if they are not, there are more false alarms than the budget allows.

    Raises InvalidInput for vectors that cannot be compared, a reference of another workload, and a budget so small that no window could
    ever be called drifting.
    """
    where = f"embeddings of {workload}, {slice_name}, {window[0].isoformat()}"
    _refuse(where, reference, workload, budget)
    found = _compared(rows, reference, budget, where=where)
    if reference is not None:
        found.evidence.update(
            {
                "reference": reference.id,
                "reference_maturity": reference.maturity.value,
                "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
                "held_out_rows": reference.held_out_count,
                "real_windows": reference.hours.windows,
            }
        )
    return DriftVerdict(
        workload=workload,
        window_start=window[0],
        window_end=window[1],
        kind=Family.INPUT,
        slice=slice_name,
        column=COLUMN,
        status=found.status,
        reason=found.reason,
        n=found.n,
        n_reference=reference.rows if reference else 0,
        method=METHOD,
        comparison=found.comparison,
        evidence=found.evidence,
    )


@dataclass(frozen=True, kw_only=True)
class _EmbeddingState:
    status: DriftStatus
    reason: str
    n: int = 0
    comparison: DriftComparison | None = None
    evidence: _Evidence = field(default_factory=dict)


def _compared(given: EmbeddedRows, reference: EmbeddingReference | None, budget: EmbeddingBudget, *, where: str) -> _EmbeddingState:
    if len(given.vectors) == 0:
        return _EmbeddingState(status=DriftStatus.NO_DATA, reason="no row of this window has a vector")
    rows, known = checked(given, where=where)
    n = len(known)
    if reference is None:
        return _EmbeddingState(status=DriftStatus.LEARNING, reason="there is no embedding reference yet", n=n)
    if rows.shape[1] != reference.anchors.shape[1]:
        raise InvalidInput(
            f"the reference has vectors of {reference.anchors.shape[1]} dimensions",
            where=where,
            value=rows.shape[1],
            remedy="Pin a new reference after a change of the embedding model: its vectors cannot be compared with the old ones.",
        )
    if reference.held_out_count < reference.fewest_rows:
        reason = f"the reference holds out {reference.held_out_count} rows, under {reference.fewest_rows}: too few to compare with"
        return _EmbeddingState(status=DriftStatus.INSUFFICIENT_DATA, reason=reason, n=n)
    if n < reference.fewest_rows:
        reason = f"{n} rows with vectors: under {reference.fewest_rows} are not judged"
        return _EmbeddingState(status=DriftStatus.INSUFFICIENT_DATA, reason=reason, n=n)
    sample = smallest(known, reference.most_rows)
    session_of = labels_of(given.sessions, given.ids)
    place = {one: number for number, one in enumerate(known)}
    sessions = [session_of[one] for one in sample]
    measured = _measure(rows[[place[one] for one in sample]], sample, sessions, reference, most=budget.permutations)
    measured.evidence["sessions"] = len(set(sessions)) if given.sessions is not None else None
    p = measured.compared.p
    return _EmbeddingState(
        status=_status(p, budget, reference),
        reason=_said(measured, budget, reference),
        n=n,
        comparison=DriftComparison(score=p, threshold=budget.p_below, effect=measured.effect, minimum_effect=None),
        evidence=measured.evidence,
    )


@dataclass(frozen=True, kw_only=True)
class _MeasuredEmbeddings:
    compared: Compared
    effect: float  # excess share of rows that are novel, or dense at one place, over the permutations
    evidence: _Evidence


def _measure(
    rows: Vectors, ids: Sequence[EventId], sessions: Sequence[str], reference: EmbeddingReference, *, most: int
) -> _MeasuredEmbeddings:
    size = len(rows)
    together = np.concatenate([rows, reference.held_out_vectors])
    pool = pooled(together, anchors=reference.anchors, centres=reference.centres, novelty_tail=reference.novelty_tail)
    in_window = np.arange(len(together)) < size
    of_window = np.unique(sessions, return_inverse=True)[1]
    dispersion = _dispersion_at(size, reference)
    compared = compare(
        pool,
        in_window,
        np.concatenate([of_window, of_window.max() + 1 + reference.sessions]),
        dispersion=dispersion,
        most=most,
        rng=np.random.default_rng(list(derive("dealings", reference.id, *ids).encode())),
    )
    window, before = pool.features[:size].mean(axis=0), pool.features[size:].mean(axis=0)
    novel, usual_novel = float(window[1]), float(before[1])
    wide = list(Score).index(Score.WIDE)
    dense, usual_dense = (float(held[wide] ** 2) / size for held in (compared.scores, compared.usual))
    decided = list(Part)[int((compared.parts / np.sqrt(dispersion)).argmax())]
    evidence: _Evidence = {
        "sampled_rows": size,
        "deviations": {score.value: round(float(value), 2) for score, value in zip(Score, compared.deviations, strict=True)},
        "parts": {part.value: round(float(value), 2) for part, value in zip(Part, compared.parts, strict=True)},
        "decided_by": decided.value,
        "permutations": compared.permutations,
        "as_strange": compared.as_strange,
        "local_density_deviation": round(compared.density_deviation, 3),
        "hour_to_hour_dispersion": (
            {part.value: round(float(value), 2) for part, value in zip(Part, dispersion, strict=True)} if reference.hours.windows else None
        ),
        "novel_share": novel,
        "usual_novel_share": usual_novel,
        "novel_beyond": pool.novel_beyond,
        "mean_distance": float(window[0]),
        "usual_mean_distance": float(before[0]),
        "gathered_share": dense,
        "usual_gathered_share": usual_dense,
        "gathered_rows": _gathered(pool, compared, ids),
        "strangest_rows": _strangest(pool, ids, reference),
        "changed_topics": _changed(window, before, pool, ids),
    }
    return _MeasuredEmbeddings(
        compared=compared,
        effect=max(0.0, novel - usual_novel, dense - usual_dense),
        evidence=evidence,
    )


def _dispersion_at(size: int, reference: EmbeddingReference) -> Numbers:
    """[5]: the dispersion at ``size`` rows. Variance between hours does not shrink with more rows; that of permutations does."""
    then = 1 / reference.hours.rows + 1 / max(1, reference.held_out_count - reference.hours.rows)
    return 1.0 + (reference.hours.variance - 1.0) * then / (1 / size + 1 / reference.held_out_count)


def _gathered(pool: Pool, compared: Compared, ids: Sequence[EventId]) -> list[_Evidence]:
    """The window's rows with the largest surplus of local density, at the scale with the larger deviation; ``near_by``: all neighbours."""
    close, wide = (compared.deviations[list(Score).index(score)] for score in (Score.CLOSE_SURPLUS, Score.WIDE_SURPLUS))
    near = pool.near[0 if close > wide else 1]
    inside = (np.arange(len(pool.features)) < len(ids)).astype(np.float32)
    counts = (near @ inside)[None]
    beyond = surplus(counts, near, part=inside.mean(keepdims=True)[None].astype(np.float64))[0, : len(ids)]
    around = near.sum(axis=1)
    return [
        {"event": ids[at], "local_density": int(counts[0, at]), "near_by": int(around[at])}
        for at in np.argsort(-beyond, kind="stable")[:SHOWN]
    ]


def _strangest(pool: Pool, ids: Sequence[EventId], reference: EmbeddingReference) -> list[_Evidence]:
    distance = pool.scores.distance[: len(ids)]
    return [
        {"event": ids[at], "distance": round(float(distance[at]), 4), "most_like": reference.anchor_ids[int(pool.scores.anchor[at])]}
        for at in np.argsort(-distance, kind="stable")[:SHOWN]
    ]


def _changed(window: Vectors, before: Vectors, pool: Pool, ids: Sequence[EventId]) -> list[_Evidence]:
    """The topics whose share changed most, each with an example row of the window."""
    shares, usual = (held[2 : 2 + pool.clusters] for held in (window, before))
    most = np.argsort(-np.abs(shares - usual), kind="stable")[:SHOWN]
    examples = {int(pool.scores.cluster[at]): ids[at] for at in reversed(range(len(ids)))}
    return [
        {"cluster": int(at), "share": float(shares[at]), "usual_share": float(usual[at]), "example": examples.get(int(at))} for at in most
    ]


def _status(p: float, budget: EmbeddingBudget, reference: EmbeddingReference) -> DriftStatus:
    if reference.maturity is Maturity.LEARNING:
        return DriftStatus.LEARNING
    return DriftStatus.DRIFTING if p <= budget.p_below else DriftStatus.OK


def _said(measured: _MeasuredEmbeddings, budget: EmbeddingBudget, reference: EmbeddingReference) -> str:
    evidence, compared = measured.evidence, measured.compared
    parts = evidence["parts"]
    assert isinstance(parts, dict)
    said = (
        f"{evidence['decided_by']} lies {parts[evidence['decided_by']]:+.1f} deviations from usual: {compared.as_strange} of "
        f"{compared.permutations} permutations of the same rows went as far, p {compared.p:.2g} (drifts up to {budget.p_below:.2g}); "
        f"novel rows {evidence['novel_share']:.1%} against {evidence['usual_novel_share']:.1%}, "
        f"gathered in one place {evidence['gathered_share']:.1%} against {evidence['usual_gathered_share']:.1%}"
    )
    if evidence["sessions"] is None:
        said += "; sessions are not known, and rows were taken for independent"
    if reference.maturity is Maturity.LEARNING:
        return f"{said}; the reference has seen under one whole day and nobody vouches for it"
    return said if reference.hours.windows else f"{said}; how much hours differ from one another was not measured"


def _refuse(where: str, reference: EmbeddingReference | None, workload: WorkloadId, budget: EmbeddingBudget) -> None:
    if not 0 < budget.p_below < 1:
        raise InvalidInput(
            "the budget leaves no share of false alarms between 0 and 1",
            where=where,
            value=f"{budget.alarms_a_day} alarms a day over {budget.windows_a_day} windows a day",
            remedy="Give more than 0 alarms and fewer alarms than windows a day.",
        )
    if budget.p_below < 1 / (1 + budget.permutations):
        raise InvalidInput(
            f"with {budget.permutations} permutations no p-value can be that small: nothing would ever be called drifting",
            where=where,
            value=budget.p_below,
            remedy=f"Permute at least {int(np.ceil(1 / budget.p_below))} times, or allow more false alarms.",
        )
    if reference is not None and reference.workload != workload:
        raise InvalidInput(
            f"the reference belongs to {reference.workload}", where=where, value=reference.id, remedy="Judge with this workload's own."
        )
