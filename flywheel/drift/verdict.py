"""Does this drift?

In: the counts of a closed window, the reference, the policy, the time. Out: one verdict per slice and column, and one per
slice's share, each with its reason. Opening an alert is not done here. Thresholds are fixed numbers in this version; an
alarm budget, and the spread of the reference's own windows, are not taken into account yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.drift.edges import coarsened, quantile_starts
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.statistics import Measured, binned_ks, pooled_chi_square, rate_mid_p
from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.pane import Counts, WindowCounts

SHARE = "share"
"""The column of a verdict on how much of the traffic a slice holds."""
VANISHED_ABOVE = 5.0  # rows that should have come; under it, that none came says nothing


class DriftStatus(StrEnum):
    """The only words a window's column may get."""

    OK = "ok"
    DRIFTING = "drifting"
    LEARNING = "learning"
    INSUFFICIENT_DATA = "insufficient_data"
    NEW_SLICE = "new_slice"
    VANISHED_SLICE = "vanished_slice"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class DriftVerdict:
    """One column of one slice in one window."""

    workload: WorkloadId
    window_start: datetime
    window_end: datetime
    kind: Family
    slice: str
    column: str
    status: DriftStatus
    reason: str
    n: int
    n_reference: int
    method: str  # "binned_ks", "chi2", "mid_p", "share_mid_p"
    score: float | None  # p-value
    effect: float | None  # KS distance, total variation, or difference of rates
    threshold: float | None  # p below which, with the effect at its floor, it drifts
    effect_floor: float | None
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """A column drifts when its p-value is under ``p_below`` and its effect at least at the floor of its measure."""

    p_below: float = 1e-4
    ks_floor: float = 0.10
    variation_floor: float = 0.10
    rate_floor: float = 0.03
    minimum_rows: int = 50  # in the window and in the reference
    protected: tuple[str, ...] = ()  # slices that get a verdict even when nobody has ever seen them


def judge(
    *, window: WindowCounts, reference: Reference | None, columns: Sequence[Column], policy: DriftPolicy, now: datetime
) -> tuple[DriftVerdict, ...]:
    """Every slice of the window, of the reference and of the protected list is stated; none is silently healthy."""
    return judge_columns(window=window, reference=reference, columns=columns, policy=policy, now=now) + judge_shares(
        window=window, reference=reference, policy=policy, now=now
    )


def judge_columns(
    *, window: WindowCounts, reference: Reference | None, columns: Sequence[Column], policy: DriftPolicy, now: datetime
) -> tuple[DriftVerdict, ...]:
    """The columns of the whole and of each slice that window and reference share. New and vanished ones are said by ``judge_shares``."""
    slices = [EVERYTHING]
    if reference is not None:
        slices += sorted(name for name in window.rows if name != EVERYTHING and window.rows[name] and reference.counts.rows.get(name))
    return tuple(_column_verdict(window, reference, name, column, policy, now) for name in slices for column in columns)


def judge_shares(*, window: WindowCounts, reference: Reference | None, policy: DriftPolicy, now: datetime) -> tuple[DriftVerdict, ...]:
    """How much of the traffic each slice holds, against how much it held."""
    before = reference.counts.rows if reference is not None else {}
    names = sorted({*window.rows, *before, *policy.protected} - {EVERYTHING})
    return tuple(_share_verdict(window, reference, name, policy, now) for name in names)


METHODS: Mapping[Measure, str] = {Measure.NUMBER: "binned_ks", Measure.NAME: "chi2", Measure.RATE: "mid_p"}


def _column_verdict(
    window: WindowCounts, reference: Reference | None, name: str, column: Column, policy: DriftPolicy, now: datetime
) -> DriftVerdict:
    counts = _fitting(window.counts.get(name, {}).get(column.name), column)
    before = _fitting(reference.counts.counts.get(name, {}).get(column.name), column) if reference is not None else None
    n = 0 if counts is None else int(_values(column, counts).sum())
    m = 0 if before is None else int(_values(column, before).sum())
    rows = window.rows.get(name, 0)
    measured: Measured | None = None
    evidence: dict[str, object] = {"rows": rows}
    if counts is None or rows == 0:
        status, reason = DriftStatus.NO_DATA, "no rows in this window"
    elif n == 0:
        status, reason = DriftStatus.NO_DATA, f"none of the {rows} rows has a value"
    elif reference is None:
        status, reason = DriftStatus.LEARNING, "there is no reference yet; one is pinned after a whole day, or by a person"
    elif before is None:
        status, reason = DriftStatus.LEARNING, "the reference was pinned with another grid for this column; pin a new one"
    elif n < policy.minimum_rows or m < policy.minimum_rows:
        status, reason = DriftStatus.INSUFFICIENT_DATA, f"{n} values against {m}: under {policy.minimum_rows} are not judged"
    else:
        measured = _measured(column, counts, before)
        status, reason = _status(measured, _floor(column.measure, policy), policy, reference.maturity)
    if counts is not None and n > 0:
        evidence |= _shown(column, counts)
    if before is not None and m > 0:
        evidence |= {f"reference_{key}": value for key, value in _shown(column, before).items()}
    return _verdict(
        window,
        reference,
        now,
        kind=column.family,
        name=name,
        column=column.name,
        status=status,
        reason=reason,
        n=n,
        m=m,
        method=METHODS[column.measure],
        measured=measured,
        threshold=policy.p_below,
        floor=_floor(column.measure, policy),
        evidence=evidence,
    )


def _share_verdict(window: WindowCounts, reference: Reference | None, name: str, policy: DriftPolicy, now: datetime) -> DriftVerdict:
    n, hits = window.rows.get(EVERYTHING, 0), window.rows.get(name, 0)
    m = reference.counts.rows.get(EVERYTHING, 0) if reference is not None else 0
    known = reference.counts.rows.get(name, 0) if reference is not None else 0
    measured = rate_mid_p(hits, n, known, m, one_sided=False) if n and m else None
    if n == 0:
        status, reason = DriftStatus.NO_DATA, "no rows in this window"
    elif reference is None or m == 0:
        status, reason = DriftStatus.LEARNING, "there is no reference yet; one is pinned after a whole day, or by a person"
    elif hits == 0 and known == 0:
        status, reason = DriftStatus.NO_DATA, "protected, and never seen"
    elif hits == 0 and n * known / m >= VANISHED_ABOVE:
        status, reason = DriftStatus.VANISHED_SLICE, f"no row came, where {n * known / m:.0f} would have been expected"
    elif hits == 0:
        status, reason = DriftStatus.INSUFFICIENT_DATA, f"no row came, where {n * known / m:.1f} would have been expected"
    elif known == 0:
        status, reason = DriftStatus.NEW_SLICE, f"{hits} rows of a slice that the reference does not hold"
    elif n < policy.minimum_rows or m < policy.minimum_rows:
        status, reason = DriftStatus.INSUFFICIENT_DATA, f"{n} rows against {m}: under {policy.minimum_rows} are not judged"
    else:
        assert measured is not None  # n and m are not zero here
        status, reason = _status(measured, policy.rate_floor, policy, reference.maturity)
    evidence: dict[str, object] = {"rows": hits}
    if n:
        evidence["share"] = hits / n
    if m:
        evidence["reference_share"] = known / m
    return _verdict(
        window,
        reference,
        now,
        kind=Family.SLICE,
        name=name,
        column=SHARE,
        status=status,
        reason=reason,
        n=n,
        m=m,
        method="share_mid_p",
        measured=measured,
        threshold=policy.p_below,
        floor=policy.rate_floor,
        evidence=evidence,
    )


def _verdict(
    window: WindowCounts,
    reference: Reference | None,
    now: datetime,
    *,
    kind: Family,
    name: str,
    column: str,
    status: DriftStatus,
    reason: str,
    n: int,
    m: int,
    method: str,
    measured: Measured | None,
    threshold: float,
    floor: float,
    evidence: dict[str, object],
) -> DriftVerdict:
    if reference is not None:
        evidence |= {
            "reference": reference.id,
            "reference_maturity": reference.maturity.value,
            "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
        }
    return DriftVerdict(
        workload=window.workload,
        window_start=window.start,
        window_end=window.end,
        kind=kind,
        slice=name,
        column=column,
        status=status,
        reason=reason,
        n=n,
        n_reference=m,
        method=method,
        score=measured.p if measured else None,
        effect=measured.effect if measured else None,
        threshold=threshold if measured else None,
        effect_floor=floor if measured else None,
        evidence=evidence,
    )


def _status(measured: Measured, floor: float, policy: DriftPolicy, maturity: Maturity) -> tuple[DriftStatus, str]:
    said = f"p {measured.p:.2g} (drifts under {policy.p_below:.2g}), effect {measured.effect:.3f} (from {floor:.2f})"
    if maturity is Maturity.LEARNING:
        return DriftStatus.LEARNING, f"{said}; the reference has seen under one whole day and nobody vouches for it"
    if measured.p < policy.p_below and measured.effect >= floor:
        return DriftStatus.DRIFTING, said
    return DriftStatus.OK, said


def _measured(column: Column, counts: Counts, before: Counts) -> Measured:
    now_values, values_before = _values(column, counts), _values(column, before)
    if column.measure is Measure.NUMBER:
        starts = quantile_starts(values_before)
        return binned_ks(coarsened(now_values, starts), coarsened(values_before, starts))
    if column.measure is Measure.NAME:
        return pooled_chi_square(now_values, values_before)
    side = column.names.index(column.worse) if column.worse else 1
    return rate_mid_p(
        int(now_values[side]), int(now_values.sum()), int(values_before[side]), int(values_before.sum()), one_sided=bool(column.worse)
    )


def _floor(measure: Measure, policy: DriftPolicy) -> float:
    return {Measure.NUMBER: policy.ks_floor, Measure.NAME: policy.variation_floor, Measure.RATE: policy.rate_floor}[measure]


def _fitting(counts: Counts | None, column: Column) -> Counts | None:
    """None where there are none, or where they were counted on another grid."""
    return counts if counts is not None and len(counts) == column.bins else None


def _values(column: Column, counts: Counts) -> Counts:
    """Without MISSING; a name nobody knows is a value, an unreadable number or rate is not."""
    return counts[:-1] if column.measure is Measure.NAME else counts[:-2]


def _shown(column: Column, counts: Counts) -> dict[str, object]:
    """What a person wants to see first: a rate, the commonest name, or about where the middle lies."""
    values = _values(column, counts)
    total = int(values.sum())
    if column.measure is Measure.RATE:
        return {"rate": int(values[column.names.index("yes")]) / total}
    if column.measure is Measure.NAME:
        most = int(values.argmax())
        return {"commonest": (*column.names, "(other)")[most], "commonest_share": int(values[most]) / total}
    middle = int((values.cumsum() * 2 >= total).argmax())
    return {
        "median_from": column.lines[middle - 1] if middle else None,
        "median_below": column.lines[middle] if middle < len(column.lines) else None,
    }
