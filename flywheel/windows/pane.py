"""Counts that add up: for one slice of time, how many rows fell into each bin of each column of each slice.

In: rows of column values. Out: integer counts on a fixed fine grid. Addition is the only merge, so panes of many
workers, of any order and of late rows give the same sums. Which grid lines matter is chosen later, by the reference:
its edges are a subset of the grid lines, so a newly pinned reference never makes an old pane unreadable.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite, nan
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId
from flywheel.plausible import CLOCKS, check_moments, check_names
from flywheel.traffic.column import Column, Family, FeatureRow, Measure
from flywheel.windows.plausible_counts import check_columns, check_rows

__all__ = [
    "Column",
    "Counts",
    "Family",
    "Measure",
    "SliceCounts",
    "Tally",
    "WindowCounts",
    "add",
    "bin_of",
    "count_rows",
    "empty_counts",
    "tally",
    "window_of",
]

Counts = NDArray[np.int64]
SliceCounts = Mapping[str, Mapping[str, Counts]]
"""``counts[slice][column]`` has the column's number of bins."""


@dataclass(frozen=True, kw_only=True)
class WindowCounts:
    """The sum of the panes of one window. ``counts[slice][column]`` has the column's number of bins."""

    workload: WorkloadId
    start: datetime
    end: datetime
    counts: Mapping[str, Mapping[str, Counts]]
    rows: Mapping[str, int]  # rows per slice


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts and rows without a place in time: what one pane holds."""

    counts: SliceCounts
    rows: Mapping[str, int]
    over: Mapping[str, int] = field(default_factory=dict)  # rows a slice may have had before it got a place of its own: at most these


def count_rows(
    *,
    workload: WorkloadId,
    start: datetime,
    end: datetime,
    rows: Iterable[tuple[FeatureRow, Sequence[str]]],
    columns: Sequence[Column],
) -> WindowCounts:
    """Counts rows, each given as (column values, names of the slices it belongs to)."""
    return window_of(workload=workload, start=start, end=end, tallies=[tally(rows=rows, columns=columns)])


def tally(*, rows: Iterable[tuple[FeatureRow, Sequence[str]]], columns: Sequence[Column]) -> Tally:
    """Counts rows. A value of the wrong kind is OTHER, None or a column left out is MISSING: no row is ever dropped."""
    check_columns(columns, where="rows to count")
    counts: dict[str, dict[str, Counts]] = {}
    per_slice: dict[str, int] = {}
    for row, slices in rows:
        bins = [bin_of(column, row.get(column.name)) for column in columns]
        if isinstance(slices, str) or len(set(slices)) < len(slices) or not all(type(name) is str and name.isascii() for name in slices):
            check_names(slices, where="slices of a row")
        for name in slices:
            if name not in counts:
                counts[name] = empty_counts(columns)
                per_slice[name] = 0
            per_slice[name] += 1
            for column, bin_number in zip(columns, bins, strict=True):
                counts[name][column.name][bin_number] += 1
    return Tally(counts=counts, rows=per_slice)


def window_of(*, workload: WorkloadId, start: datetime, end: datetime, tallies: Iterable[Tally]) -> WindowCounts:
    """The sum of panes as a window."""
    check_moments(f"window of {workload}", start=start, end=end)
    if end < start:
        raise InvalidInput(
            "the window ends before it starts",
            where=f"window of {workload}",
            value=f"{start.isoformat()} to {end.isoformat()}",
            remedy=CLOCKS,
        )
    total = add(*tallies)
    return WindowCounts(workload=workload, start=start, end=end, counts=total.counts, rows=total.rows)


def add(*tallies: Tally | WindowCounts) -> Tally:
    """The only merge. Where a column's grid changed between two panes the later one stands and the older is left out."""
    counts: dict[str, dict[str, Counts]] = {}
    rows: dict[str, int] = {}
    for part in tallies:
        check_rows(part.rows, where="pane")
        for name, columns in part.counts.items():
            rows[name] = rows.get(name, 0) + part.rows.get(name, 0)
            held = counts.setdefault(name, {})
            for column, values in columns.items():
                there = held.get(column)
                held[column] = there + values if there is not None and there.shape == values.shape else values.copy()
    return Tally(counts=counts, rows=rows)


def empty_counts(columns: Sequence[Column]) -> dict[str, Counts]:
    """Zeroes, one array per column."""
    return {column.name: np.zeros(column.bins, dtype=np.int64) for column in columns}


def bin_of(column: Column, value: float | str | None) -> int:
    """Which bin a value falls into; total over every value."""
    other, missing = column.bins - 2, column.bins - 1
    if value is None:
        return missing
    if column.measure is Measure.NAME:
        return column.names.index(value) if isinstance(value, str) and value in column.names else other
    try:
        # nearly all values are floats, and to ask whether something is a Real takes as long as all the rest
        number = value if type(value) is float else float(value) if isinstance(value, Real) else nan
    except OverflowError:  # a whole number that no float holds is as unreadable as infinity
        return other
    if not isfinite(number):
        return other
    if column.measure is Measure.RATE:
        return int(number) if number in (0, 1) else other
    return bisect_right(column.lines, number)
