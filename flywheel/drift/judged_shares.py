"""How much of the traffic does each slice hold, against how much it held?

In: a window's rows per slice, the reference, the policy, the time. Out: one verdict a slice, also for new ones, vanished ones and
protected ones that nobody ever saw. Slices that found no place of their own are counted in "(other)"; what may be hidden there is
counted against a finding, so that a slice which was folded away never seems to have vanished.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.budget import SHARE_COLUMN, SHARES, Spread, Thresholds, tempered_all
from flywheel.drift.judged_columns import UNSEEN, about, compared_with, measured_in_words, overlap_in_words, overlap_of
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.stated import SHARE, DriftPolicy, DriftStatus, DriftVerdict, check_time
from flywheel.drift.statistics import mid_p_all
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING
from flywheel.plausible import check_names
from flywheel.traffic.column import Family
from flywheel.windows.pane import Counts, Tally, WindowCounts
from flywheel.windows.slices import folded_into
from flywheel.windows.table import CountTable, table_of

HOUR = timedelta(hours=1)
VANISHED_ABOVE = 5.0  # rows that should have come; under it, that none came says nothing
Numbers = NDArray[np.float64]


def judge_shares(
    *,
    window: WindowCounts,
    reference: Reference | None,
    policy: DriftPolicy,
    now: datetime,
    like: Tally | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[DriftVerdict, ...]:
    """Two-sided mid-p of the slice's rows among all rows; ``like``: of the reference's like hours, where it is read by the hour.

    ``thresholds``: of the alarm budget; the p-value is divided by how far the reference's own shares wander (rows of one session belong
    to one slice). Without them, or at a length that was not calibrated, the policy's fixed numbers hold.
    Raises InvalidInput for rows that are negative, fractional, or more than all.
    """
    check_time(start=window.start, end=window.end, now=now, where=f"window of {window.workload}")
    if reference is not None and reference.workload != window.workload:
        raise InvalidInput(
            f"the reference belongs to {reference.workload}",
            where=f"window of {window.workload}",
            value=reference.id,
            remedy="Compare with a reference of this workload.",
        )
    check_names(list(window.rows), where=f"window of {window.workload}, slices")
    before = like if like is not None else reference.counts if reference is not None else None
    names = sorted({*window.rows, *(before.rows if before is not None else ()), *policy.protected} - {EVERYTHING})
    n, hits = _rows(window, names, where=f"window of {window.workload}")
    m, known, hidden_before = 0, np.zeros_like(hits), np.zeros_like(hits)
    if reference is not None and before is not None:
        m, known = _rows(before, names, where=f"reference {reference.id}")
        hidden_before = _hidden(before, names, policy)
    hidden = _hidden(window, names, policy)
    now_share, share_before = hits / max(1, n), known / max(1, m)  # shares: products of two large counts leave 64 bits
    more = now_share > share_before
    counted, counted_before = hits + np.where(more, 0, hidden), known + np.where(more, hidden_before, 0)
    counted, counted_before = np.minimum(counted, n), np.minimum(counted_before, m)
    p, effect = mid_p_all(counted, np.full_like(hits, n), counted_before, np.full_like(hits, m), one_sided=False)
    crossed = np.where(more, 1, -1) * (counted / max(1, n) - counted_before / max(1, m)) <= 0  # all of the change may lie in "(other)"
    p, effect = np.where(crossed, 1.0, p), np.where(crossed, 0.0, effect)
    limits = _limits(policy, thresholds, window.end - window.start)
    p_of_rows = p
    if limits.spread != Spread():
        p = tempered_all(p, np.full_like(hits, n), limits.spread, one_sided=False)
    said = [
        _share(
            name,
            int(hits[at]),
            n,
            int(known[at]),
            m,
            int(hidden[at]),
            int(hidden_before[at]),
            float(p[at]),
            float(effect[at]),
            reference,
            limits,
        )
        for at, name in enumerate(names)
    ]
    known_of = about(reference, now) | overlap_of(reference, start=window.start, end=window.end) if reference is not None else {}
    known_of |= {"compared_with": compared_with(like)} if known_of else {}
    return tuple(
        DriftVerdict(
            workload=window.workload,
            window_start=window.start,
            window_end=window.end,
            kind=Family.SLICE,
            slice=name,
            column=SHARE,
            status=status,
            reason=reason + (overlap_in_words(known_of) if n and m else ""),
            n=n,
            n_reference=m,
            method="share_mid_p",
            score=float(p[at]) if n and m else None,
            effect=float(effect[at]) if n and m else None,
            threshold=limits.p_below if n and m else None,
            effect_floor=limits.floor if n and m else None,
            evidence=_evidence(int(hits[at]), n, int(known[at]), m, int(hidden[at]), int(hidden_before[at]))
            | (limits.said(n, float(p_of_rows[at])) if n and m else {})
            | known_of,
        )
        for at, (name, (status, reason)) in enumerate(zip(names, said, strict=True))
    )


def _share(
    name: str,
    hits: int,
    n: int,
    known: int,
    m: int,
    hidden: int,
    hidden_before: int,
    p: float,
    effect: float,
    reference: Reference | None,
    limits: "_Limits",
) -> tuple[DriftStatus, str]:
    """Asked in this order; the first that fits is said."""
    if n == 0:
        return DriftStatus.NO_DATA, "no rows in this window"
    if reference is not None and m == 0:
        return DriftStatus.LEARNING, UNSEEN
    if reference is None:
        return DriftStatus.LEARNING, "there is no reference yet; one is pinned after a whole day, or by a person"
    expected = n * known / m
    if hits == 0 and known == 0:
        return DriftStatus.NO_DATA, "protected, and never seen"
    if hits == 0 and hidden and p >= limits.p_below:
        return (
            DriftStatus.INSUFFICIENT_DATA,
            f"no row came under its name, but {hidden} rows of slices without a place are in {folded_into(name)}",
        )
    if hits == 0 and expected >= VANISHED_ABOVE:
        return (
            DriftStatus.VANISHED_SLICE,
            f"no row came, where {expected:.0f} would have been expected; from {VANISHED_ABOVE:g} a slice is missed",
        )
    if hits == 0:
        return (
            DriftStatus.INSUFFICIENT_DATA,
            f"no row came, where {expected:.1f} would have been expected; from {VANISHED_ABOVE:g} a slice is missed",
        )
    if known == 0 and hidden_before and p >= limits.p_below:
        return DriftStatus.INSUFFICIENT_DATA, f"{hits} rows of a slice that may have been among {folded_into(name)} in the reference"
    if known == 0:
        return DriftStatus.NEW_SLICE, f"{hits} rows of a slice that the reference does not hold"
    if n < limits.minimum_rows or m < limits.minimum_rows:
        return DriftStatus.INSUFFICIENT_DATA, f"{n} rows against {m}: under {limits.minimum_rows} are not judged"
    said = measured_in_words(p=p, p_below=limits.p_below, effect=effect, floor=limits.floor)
    if reference.maturity is Maturity.LEARNING:
        return DriftStatus.LEARNING, f"{said}; the reference has seen under one whole day and nobody vouches for it"
    return (DriftStatus.DRIFTING if p < limits.p_below and effect >= limits.floor else DriftStatus.OK), said


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Of the alarm budget where it was calibrated for this length, else the policy's."""

    p_below: float
    floor: float
    minimum_rows: int
    whence: str
    spread: Spread

    def said(self, n: int, p_of_rows: float) -> dict[str, object]:
        held: dict[str, object] = {"limits": self.whence, "family": SHARES}
        if self.spread != Spread():
            held |= {"spread": round(float(self.spread.at(np.asarray(n))), 3), "p_if_rows_were_independent": p_of_rows}
        return held


def _limits(policy: DriftPolicy, thresholds: Thresholds | None, length: timedelta) -> _Limits:
    hours = round(length / HOUR) if length % HOUR == timedelta() else 0
    if thresholds is None or (hours, SHARES, SHARE_COLUMN.measure) not in thresholds.strengths:
        assumed = Spread(apart=policy.session_rows)
        whence = f"fixed numbers of the policy, for sessions of {policy.session_rows:g} rows: no alarm budget was calibrated"
        if thresholds is not None:
            whence = f"fixed numbers of the policy: the alarm budget was not calibrated for shares at {length / HOUR:g} h"
        return _Limits(p_below=policy.p_below, floor=policy.rate_floor, minimum_rows=policy.minimum_rows, whence=whence, spread=assumed)
    rule = thresholds.rule(hours=hours, family=SHARES, column=SHARE_COLUMN)
    return _Limits(
        p_below=rule.p_below,
        floor=rule.floor,
        minimum_rows=rule.minimum_rows,
        whence=thresholds.whence(hours),
        spread=rule.spread,
    )


def _evidence(hits: int, n: int, known: int, m: int, hidden: int, hidden_before: int) -> dict[str, object]:
    evidence: dict[str, object] = {"rows": hits}
    if n:
        evidence["share"] = hits / n
    if m:
        evidence |= {"reference_share": known / m, "expected_rows": round(n * known / m, 1)}
    if hidden or hidden_before:
        evidence |= {"rows_in_other": hidden, "reference_rows_in_other": hidden_before}
    return evidence


def _rows(counts: WindowCounts | Tally, names: list[str], *, where: str) -> tuple[int, Counts]:
    """All rows, and those of each slice."""
    table: CountTable = table_of(counts, slices=[EVERYTHING, *names], columns=(), where=where)
    n, hits = int(table.rows[0]), table.rows[1:]
    if hits.size and hits.max() > n:
        at = int(hits.argmax())
        raise InvalidInput(
            f"a slice has more rows than the whole traffic, which has {n}",
            where=f"{where}, slice {names[at]}",
            value=int(hits[at]),
            remedy=f'Count every row in the slice "{EVERYTHING}" too.',
        )
    return n, hits


def _hidden(counts: WindowCounts | Tally, names: list[str], policy: DriftPolicy) -> Counts:
    """How many rows each slice may have in its dimension's rest; the rest itself hides nothing, and protected slices are never folded."""
    rows = counts.rows
    return np.array(
        [0 if folded_into(name) == name or name in policy.protected else rows.get(folded_into(name), 0) for name in names], dtype=np.int64
    )
