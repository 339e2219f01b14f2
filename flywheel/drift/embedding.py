"""Does this window ask for something that the reference never saw, or for known things in another mix?

In: the vectors of a window's rows, a reference, the alarm budget. Out: one drift verdict on the column ``embedding``, with the
eight scores it rests on and the rows and topics a person should look at. Embedding texts is not done here, nor is pinning.

The window is cut down to a bounded number of rows, those with the smallest hashes. Whether it is strange is asked of chance: how often
would it look as strange if the same sessions had been dealt to window and reference at random? There is no floor under the effect: the
cut already hides what is too small to matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_reference import EmbeddingPolicy, EmbeddingReference, checked, labels_of, pin_embeddings, smallest
from flywheel.drift.embedding_relabelling import Compared, Part, compare
from flywheel.drift.embedding_scores import Numbers, Pool, Score, Vectors, pooled, surplus
from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, EventId, WorkloadId, derive
from flywheel.plausible import check_moments, check_number, check_whole
from flywheel.traffic.column import Family

__all__ = ["COLUMN", "EmbeddingBudget", "EmbeddingPolicy", "EmbeddingReference", "judge_embeddings", "pin_embeddings"]

COLUMN = "embedding"
METHOD = "embedding_relabelling"
SHOWN = 5  # rows and topics in the evidence

_Evidence = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class EmbeddingBudget:
    """Of the pages a day that may be false, those left to embeddings; and how many windows share them."""

    pages_a_day: float = 0.02
    windows_a_day: float = 24.0
    dealings: int = 5_000  # at most: what a p-value is counted from

    @property
    def p_below(self) -> float:
        """The share of windows without drift that may be called drifting."""
        return self.pages_a_day / self.windows_a_day


def judge_embeddings(
    *,
    vectors: NDArray[np.floating],
    ids: Sequence[EventId],
    sessions: Sequence[str] | None = None,
    reference: EmbeddingReference | None,
    workload: WorkloadId,
    window_start: datetime,
    window_end: datetime,
    now: datetime,
    budget: EmbeddingBudget,
    slice_name: str = EVERYTHING,
) -> DriftVerdict:
    """``vectors`` [n, d] of the window's rows, or of the k of them with the smallest hashes; n may be 0. Order and repeats change nothing.
    ``sessions`` names for each row what it came with; left out, rows are taken for independent, and too many windows are called strange
    where they are not.

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
        elif reference.held_out < reference.fewest_rows:
            status = DriftStatus.INSUFFICIENT_DATA
            said = f"the reference holds out {reference.held_out} rows, under {reference.fewest_rows}: too few to compare with"
        elif n < reference.fewest_rows:
            status = DriftStatus.INSUFFICIENT_DATA
            said = f"{n} rows with vectors: under {reference.fewest_rows} are not judged"
        else:
            sample = smallest(known, reference.most_rows)
            session_of = labels_of(sessions, ids, what="sessions", where=where)
            place = {one: number for number, one in enumerate(known)}
            measured = _measure(
                rows[[place[one] for one in sample]], sample, [session_of[one] for one in sample], reference, most=budget.dealings
            )
            p, effect, evidence = measured.compared.p, measured.effect, measured.evidence
            evidence["sessions"] = len({session_of[one] for one in sample}) if sessions is not None else None
            status = _status(p, budget, reference)
            said = _said(measured, budget, reference)
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


@dataclass(frozen=True, kw_only=True)
class _Measured:
    compared: Compared
    effect: float  # share of rows that are novel, or gathered in one place, beyond what is usual
    evidence: _Evidence


def _measure(rows: Vectors, ids: Sequence[EventId], sessions: Sequence[str], reference: EmbeddingReference, *, most: int) -> _Measured:
    size = len(rows)
    together = np.concatenate([rows, reference.held])
    pool = pooled(together, anchors=reference.anchors, centres=reference.centres, novelty_tail=reference.novelty_tail)
    in_window = np.arange(len(together)) < size
    of_window = np.unique(sessions, return_inverse=True)[1]
    spread = _spread_at(size, reference)
    compared = compare(
        pool,
        in_window,
        np.concatenate([of_window, of_window.max() + 1 + reference.sessions]),
        spread=spread,
        most=most,
        chance=np.random.default_rng(list(derive("dealings", reference.id, *ids).encode())),
    )
    window, before = pool.traits[:size].mean(axis=0), pool.traits[size:].mean(axis=0)
    novel, usual_novel = float(window[1]), float(before[1])
    wide = list(Score).index(Score.WIDE)
    dense, usual_dense = (float(held[wide] ** 2) / size for held in (compared.scores, compared.usual))
    decided = list(Part)[int((compared.parts / np.sqrt(spread)).argmax())]
    evidence: _Evidence = {
        "sampled_rows": size,
        "deviations": {score.value: round(float(value), 2) for score, value in zip(Score, compared.deviations, strict=True)},
        "parts": {part.value: round(float(value), 2) for part, value in zip(Part, compared.parts, strict=True)},
        "decided_by": decided.value,
        "dealings": compared.dealings,
        "as_strange": compared.as_strange,
        "company_deviation": round(compared.company_deviation, 3),
        "hour_to_hour_spread": (
            {part.value: round(float(value), 2) for part, value in zip(Part, spread, strict=True)} if reference.real_windows else None
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
    return _Measured(
        compared=compared,
        effect=max(0.0, novel - usual_novel, dense - usual_dense),
        evidence=evidence,
    )


def _spread_at(size: int, reference: EmbeddingReference) -> Numbers:
    """What differs from hour to hour does not shrink with more rows, as the noise of dealing does."""
    then = 1 / reference.spread_rows + 1 / max(1, reference.held_out - reference.spread_rows)
    return 1.0 + (reference.spread - 1.0) * then / (1 / size + 1 / reference.held_out)


def _gathered(pool: Pool, compared: Compared, ids: Sequence[EventId]) -> list[_Evidence]:
    """The window's rows with the largest surplus of company, by the scale that says more; and how many rows lie near them in all."""
    close, wide = (compared.deviations[list(Score).index(score)] for score in (Score.CLOSE_SURPLUS, Score.WIDE_SURPLUS))
    near = pool.near[0 if close > wide else 1]
    inside = (np.arange(len(pool.traits)) < len(ids)).astype(np.float32)
    counts = (near @ inside)[None]
    beyond = surplus(counts, near, part=inside.mean(keepdims=True)[None].astype(np.float64))[0, : len(ids)]
    around = near.sum(axis=1)
    return [
        {"event": ids[at], "company": int(counts[0, at]), "near_by": int(around[at])} for at in np.argsort(-beyond, kind="stable")[:SHOWN]
    ]


def _strangest(pool: Pool, ids: Sequence[EventId], reference: EmbeddingReference) -> list[_Evidence]:
    distance = pool.scores.distance[: len(ids)]
    return [
        {"event": ids[at], "distance": round(float(distance[at]), 4), "most_like": reference.anchor_ids[int(pool.scores.anchor[at])]}
        for at in np.argsort(-distance, kind="stable")[:SHOWN]
    ]


def _changed(window: Vectors, before: Vectors, pool: Pool, ids: Sequence[EventId]) -> list[_Evidence]:
    """The topics whose share moved most, each with a row of the window that shows what it is about."""
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


def _said(measured: _Measured, budget: EmbeddingBudget, reference: EmbeddingReference) -> str:
    evidence, compared = measured.evidence, measured.compared
    parts = evidence["parts"]
    assert isinstance(parts, dict)
    said = (
        f"{evidence['decided_by']} lies {parts[evidence['decided_by']]:+.1f} deviations from usual: {compared.as_strange} of "
        f"{compared.dealings} random dealings of the same rows went as far, p {compared.p:.2g} (drifts up to {budget.p_below:.2g}); "
        f"novel rows {evidence['novel_share']:.1%} against {evidence['usual_novel_share']:.1%}, "
        f"gathered in one place {evidence['gathered_share']:.1%} against {evidence['usual_gathered_share']:.1%}"
    )
    if evidence["sessions"] is None:
        said += "; sessions are not known, and rows were taken for independent"
    if reference.maturity is Maturity.LEARNING:
        return f"{said}; the reference has seen under one whole day and nobody vouches for it"
    return said if reference.real_windows else f"{said}; how much hours differ from one another was not measured"


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
    check_whole(budget.dealings, where=f"{where}, budget: dealings", least=1)
    if budget.p_below < 1 / (1 + budget.dealings):
        raise InvalidInput(
            f"with {budget.dealings} dealings no p-value can be that small: nothing would ever be called drifting",
            where=where,
            value=budget.p_below,
            remedy=f"Deal at least {int(np.ceil(1 / budget.p_below))} times, or allow more false alarms.",
        )
    if reference is not None and reference.workload != workload:
        raise InvalidInput(
            f"the reference belongs to {reference.workload}", where=where, value=reference.id, remedy="Judge with this workload's own."
        )
