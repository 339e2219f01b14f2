"""Null windows: each window of the reference against the rest of the reference, and the overdispersion of their z-scores.

In: the counts of the hours of a period. Out: for every window of a length, its counts and those of the rest of the period; and the variance
of the z-scores of these windows, which is 1 for independent rows. ``calibration`` computes the thresholds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.bin_edges import edges_of, in_test_bins
from flywheel.drift.seasonal_reference import (
    Season,
    SeasonalReference,
    all_other_hours,
    by_hour_of_day,
    same_hours,
    season_of,
    seasonal_reference,
    sliding_sums,
    times_seen,
)
from flywheel.drift.slice_shares import share_counts
from flywheel.drift.tests import Numbers, compare, z_score
from flywheel.drift.thresholds import HOUR, SHARE_COLUMN, Dispersion
from flywheel.ids import EVERYTHING
from flywheel.traffic.column import Column
from flywheel.windows.counts import CountMatrix, Counts, WindowCounts, bins_of_columns
from flywheel.windows.pane import EPOCH

SLICES_CALIBRATED = 200  # the largest slices; smaller ones get the same thresholds
DISPERSION_ROUNDS = 3
LEAST_BASE, LEAST_BASE_OF_FIRST_FAILURES = 1.0, 0.25  # first failures can be underdispersed: each session has at most one
SAMPLED = 20_000  # maximum number of windows used to estimate the dispersion
FEWEST_HITS = 1.0  # minimum mean number of first failures a window for a base below 1
FEWEST_WINDOWS = 1_000  # minimum number of windows for an estimate of the tail of the z-scores
TAIL, TAIL_ONE_SIDED, TAIL_TWO_SIDED = 0.98, 2.054, 2.326  # quantile of the tail, and the z-scores of a standard normal there
FEWEST_ROWS = 20  # minimum rows of a window: below, its p-values are too coarse


@dataclass(frozen=True, kw_only=True)
class NullPeriod:
    """A period that is assumed to contain no drift: whole days of whole hours."""

    hourly: WindowCounts  # [hours, slices, test bins of ``columns``]
    columns: tuple[Column, ...]
    protected: tuple[str, ...]
    season: Season
    reason: str  # for the season

    @property
    def hours(self) -> int:
        return len(self.hourly.matrix.rows)

    @property
    def first_hour(self) -> int:
        """Since the epoch."""
        return (self.hourly.start - EPOCH) // HOUR


def null_period(
    hours: Iterable[CountMatrix], *, period: WindowCounts, columns: Sequence[Column], protected: Sequence[str]
) -> tuple[NullPeriod, SeasonalReference | None]:
    """``hours``: the counts of each hour of ``period``, whole days; ``period``: their sum. The second value is the seasonal reference, or
    None if the period is too short for one."""
    columns = (*columns, SHARE_COLUMN)
    rows = period.matrix.rows_by_slice
    slices = sorted(rows, key=lambda name: (name != EVERYTHING, name not in protected, -rows[name], name))[:SLICES_CALIBRATED]
    bins = bins_of_columns(columns)
    edges = edges_of(period.matrix.aligned(slices=slices, bins=bins), columns)
    counted: list[CountMatrix] = []

    def one_by_one() -> Iterable[CountMatrix]:
        """Yields each hour in fine bins without keeping it: the fine counts of one hour are large."""
        for matrix in hours:
            counted.append(in_test_bins(matrix.aligned(slices=slices, bins=bins), columns, edges))
            yield matrix

    first_hour = (period.start - EPOCH) // HOUR
    seasonal = seasonal_reference(one_by_one(), first_hour=first_hour)
    season, reason = season_of(first_hour=first_hour, hours=len(counted))
    matrix = replace(
        counted[0],
        counts=np.stack([one.counts.astype(np.int32) for one in counted]),
        rows=np.stack([one.rows for one in counted]),
    )
    start = EPOCH + first_hour * HOUR
    hourly = WindowCounts(workload=period.workload, start=start, end=start + len(counted) * HOUR, matrix=matrix)
    null = NullPeriod(hourly=hourly, columns=columns, protected=tuple(protected), season=season, reason=reason)
    return null, seasonal if season is Season.HOUR_OF_DAY else None


def null_windows(period: NullPeriod, column: Column, length: int, *, as_named: bool = False) -> tuple[CountMatrix, CountMatrix]:
    """[hours, slices, bins of the column]: the window that ends with each hour, and the part of the period it is compared with. Zeros where
    the window is incomplete or the period has no other hours of its kind. ``as_named``: see ``share_counts``."""
    matrix = period.hourly.matrix
    if column.name == SHARE_COLUMN.name:
        rows, rows_before = _against_the_rest(period, matrix.rows, length)
        now, before = share_counts(rows, rows_before, slices=matrix.slices, protected=period.protected, as_named=as_named)
    else:
        now, before = _against_the_rest(period, matrix.of(column.name), length)
    bins = ((column.name, now.shape[-1]),)
    return (
        CountMatrix(slices=matrix.slices, bins=bins, counts=now, rows=now.sum(axis=-1)),
        CountMatrix(slices=matrix.slices, bins=bins, counts=before, rows=before.sum(axis=-1)),
    )


def _against_the_rest(period: NullPeriod, hourly: Counts, length: int) -> tuple[Counts, Counts]:
    now = sliding_sums(hourly, length)
    now[: length - 1] = 0
    if period.season is not Season.HOUR_OF_DAY:
        return now, all_other_hours(hourly, length=length)
    first, hours = period.first_hour, period.hours
    seasonal, seen = by_hour_of_day(hourly, first_hour=first), times_seen(first_hour=first, hours=hours)
    return now, same_hours(seasonal, first_hour=first, hours=hours, length=length, seen=seen, own=hourly)


def compared_part(period: NullPeriod) -> float:
    """Fraction of the period's hours that have other hours to be compared with: the only Saturday has none."""
    _, before = null_windows(period, period.columns[0], 1)
    return max(1 / period.hours, float((before.rows.sum(axis=1) > 0).mean()))


def measured_dispersion(now: CountMatrix, before: CountMatrix, column: Column, rng: np.random.Generator) -> Dispersion:
    """Variance of the z-scores, estimated from at most ``SAMPLED`` windows."""
    current, reference = now.of(column.name), before.of(column.name)
    rows = current.sum(axis=-1)
    hour, member = np.nonzero((rows >= FEWEST_ROWS) & (reference.sum(axis=-1) > 0))
    if hour.size > SAMPLED:
        taken = rng.choice(hour.size, SAMPLED, replace=False)
        hour, member = hour[taken], member[taken]
    one_sided = bool(column.worse)
    p, _ = compare(column.measure, current[hour, member], reference[hour, member], one_sided=one_sided)
    z, sizes = z_score(p, one_sided=one_sided), rows[hour, member]
    if column.name == SHARE_COLUMN.name:  # every window has the rows of all traffic, so there is no slope to fit
        found = Dispersion(base=max(1.0, float((z**2).mean())) if z.size else 1.0)
    else:
        # With few windows or rare hits a base below 1 would be noise: without a failure in the reference, the first one would be an alarm.
        enough = column.first_of and z.size >= FEWEST_WINDOWS and current[hour, member, 1].mean() >= FEWEST_HITS
        least = LEAST_BASE_OF_FIRST_FAILURES if enough else LEAST_BASE
        found = _fitted(z, sizes, member, least=least)
    if z.size < FEWEST_WINDOWS:
        return found
    high = TAIL_ONE_SIDED if one_sided else TAIL_TWO_SIDED
    wider = max(1.0, float(np.quantile(z / found.deviation(sizes), TAIL)) / high) ** 2
    return Dispersion(base=found.base * wider, slope=found.slope * wider)


def _fitted(z: Numbers, rows: Counts, member: NDArray[np.int64], *, least: float) -> Dispersion:
    """Least squares of each slice's mean squared z-score on its rows, weighted by the inverse variance of that mean."""
    if not z.size:
        return Dispersion()
    windows = np.bincount(member).astype(np.float64)
    known = windows > 0
    windows = windows[known]
    squares = np.bincount(member, weights=z**2)[known] / windows
    size = np.bincount(member, weights=rows)[known] / windows
    fitted = np.full_like(squares, max(least, float(np.median(squares))))
    base, slope = float(fitted[0]), 0.0
    for _ in range(DISPERSION_ROUNDS):
        weight = windows / fitted**2
        middle = float((weight * size).sum() / weight.sum())
        height = float((weight * squares).sum() / weight.sum())
        across = float((weight * (size - middle) ** 2).sum())
        slope = max(0.0, float((weight * (size - middle) * (squares - height)).sum()) / across) if across > 0 else 0.0
        base = height - slope * middle
        if base < least:
            base, slope = least, max(0.0, height - least) / middle if middle > 0 else 0.0
        fitted = base + slope * size
    return Dispersion(base=base, slope=slope)
