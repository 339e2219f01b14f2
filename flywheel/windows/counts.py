"""How many rows of each slice fell into each bin of each column: the one form in which traffic is counted.

In: the column values and the slices of rows. Out: a ``CountMatrix`` of integers. Addition is the only merge, so panes of many workers,
in any order and with late rows, give the same sums. Bins are fine; a reference chooses the coarser bins of its tests later
(``drift.bin_edges``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.traffic.column import Column, Measure

_FLOAT_OR_NONE = frozenset({float, type(None)})
Counts = NDArray[np.int64]
Values = Sequence[float | str | None] | NDArray[np.float64]
"""One value a row; None is missing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CountMatrix:
    """Slices x columns x bins. The bins of all columns lie side by side on the last axis.

    An axis in front of the slices, where there is one, is that of hours in a row.
    """

    slices: tuple[str, ...]
    bins: tuple[tuple[str, int], ...]  # name of each column and its number of bins, in the order of the last axis
    counts: Counts  # [..., slices, bins of all columns]
    rows: Counts  # [..., slices]

    def of(self, column: str) -> Counts:
        """[..., slices, bins of the column]: a view."""
        start, end = self._places[column]
        return self.counts[..., start:end]

    def rows_of(self, slice_name: str) -> int:
        """Rows of one slice; 0 for a slice that is not counted."""
        return int(self.rows[self.slices.index(slice_name)]) if slice_name in self.slices else 0

    @property
    def rows_by_slice(self) -> dict[str, int]:
        return dict(zip(self.slices, self.rows.tolist(), strict=True))

    def aligned(self, *, slices: Sequence[str], bins: Sequence[tuple[str, int]]) -> "CountMatrix":
        """These slices and columns, in this order. Zero for a slice or a column that is not counted, or is counted on other bins."""
        slices, bins = tuple(slices), tuple(bins)
        if slices == self.slices and bins == self.bins:
            return self
        counts, rows = self.counts, self.rows
        if bins != self.bins:
            counts = np.zeros((*counts.shape[:-1], sum(number for _, number in bins)), dtype=np.int64)
            start = 0
            for name, number in bins:
                if (name, number) in self.bins:
                    counts[..., start : start + number] = self.of(name)
                start += number
        if slices != self.slices:
            place = {name: at for at, name in enumerate(self.slices)}
            at = np.array([place.get(name, -1) for name in slices], dtype=np.intp)
            known = at >= 0
            if self.slices:
                counts = np.where(known[:, None], counts[..., at, :], 0)
                rows = np.where(known, rows[..., at], 0)
            else:
                counts = np.zeros((*counts.shape[:-2], len(slices), counts.shape[-1]), dtype=np.int64)
                rows = np.zeros((*rows.shape[:-1], len(slices)), dtype=np.int64)
        return CountMatrix(slices=slices, bins=bins, counts=counts, rows=rows)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        ends = np.cumsum([number for _, number in self.bins]).tolist()
        return {name: (end - number, end) for (name, number), end in zip(self.bins, ends, strict=True)}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CountMatrix)
            and (self.slices, self.bins) == (other.slices, other.bins)
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.rows, other.rows)
        )

    def __hash__(self) -> int:
        return hash((self.slices, self.bins, self.rows.tobytes()))


@dataclass(frozen=True, kw_only=True)
class WindowCounts:
    """What one workload's traffic of one stretch of time holds: the sum of its panes, or, with an axis of hours, each of its hours."""

    workload: WorkloadId
    start: datetime
    end: datetime
    matrix: CountMatrix

    @property
    def rows(self) -> int:
        """Of all traffic."""
        return self.matrix.rows_of(EVERYTHING)


NO_COUNTS = CountMatrix(slices=(), bins=(), counts=np.zeros((0, 0), dtype=np.int64), rows=np.zeros(0, dtype=np.int64))


def bins_of_columns(columns: Sequence[Column]) -> tuple[tuple[str, int], ...]:
    """As a ``CountMatrix`` lists them."""
    return tuple((column.name, column.bins) for column in columns)


def count_rows(*, values: Mapping[str, Values], slices: Sequence[Sequence[str]], columns: Sequence[Column]) -> CountMatrix:
    """Counts rows. ``values[column]`` gives a value for each row, a column left out is MISSING; ``slices`` names each row's slices, each
    once.

    One count of combined places (slice, bin) does it all: linear in rows, independent of how many slices there are.
    """
    groups = _InOrder()
    group_of = np.fromiter(map(groups.__getitem__, map(tuple, slices)), dtype=np.intp, count=len(slices))
    names = {name: at for at, name in enumerate(dict.fromkeys(chain.from_iterable(groups)))}
    sizes = np.array([len(held) for held in groups], dtype=np.intp)
    row = np.repeat(np.arange(len(slices)), sizes[group_of])
    first = np.cumsum(sizes[group_of]) - sizes[group_of]  # where each row's slices begin
    within = np.arange(len(row)) - first[row]
    members = np.array([names[name] for held in groups for name in held], dtype=np.intp)
    member_of = members[(np.cumsum(sizes) - sizes)[group_of[row]] + within]
    bins = bins_of_columns(columns)
    width = sum(number for _, number in bins)
    cells, base, start = np.empty((len(columns), len(row)), dtype=np.intp), member_of * width, 0
    for at, column in enumerate(columns):
        places = _bins_of(column, values[column.name])[row] if column.name in values else column.bins - 1
        np.add(base + start, places, out=cells[at])
        start += column.bins
    counts = np.bincount(cells.ravel(), minlength=len(names) * width)
    rows = np.bincount(member_of, minlength=len(names))
    return CountMatrix(slices=tuple(names), bins=bins, counts=counts.reshape(len(names), width), rows=rows)


def added(*parts: CountMatrix) -> CountMatrix:
    """The sum, over the slices and columns of all. Where a column's bins changed between two parts, the later part alone counts."""
    parts = tuple(part for part in parts if part.slices)
    if not parts:
        return NO_COUNTS
    if len(parts) == 1:
        return parts[0]
    slices = tuple(dict.fromkeys(name for part in parts for name in part.slices))
    bins = tuple({name: number for held in dict.fromkeys(part.bins for part in parts) for name, number in held}.items())
    place = {name: at for at, name in enumerate(slices)}
    counts = np.zeros((len(slices), sum(number for _, number in bins)), dtype=np.int64)
    rows = np.zeros(len(slices), dtype=np.int64)
    for part in parts:
        at = [place[name] for name in part.slices]
        counts[at] += part.aligned(slices=part.slices, bins=bins).counts
        rows[at] += part.rows
    return CountMatrix(slices=slices, bins=bins, counts=counts, rows=rows)


def values_of(column: Column, counts: Counts) -> Counts:
    """[..., bins] without MISSING. A name that the column does not know is a value, an unreadable number or rate is none."""
    return counts[..., :-1] if column.measure is Measure.NAME else counts[..., :-2]


def _bins_of(column: Column, values: Values) -> NDArray[np.intp]:
    """The bin of each value. OTHER (last but one) for a value of the wrong kind, MISSING (last) for None: no row is ever left out."""
    other, missing = column.bins - 2, column.bins - 1
    if column.measure is Measure.NAME:
        known = _Places({name: at for at, name in enumerate(column.names)} | {None: missing}, other=other)
        return np.fromiter(map(known.__getitem__, values), dtype=np.intp, count=len(values))
    numbers = values if isinstance(values, np.ndarray) else _numbers(values)
    if column.measure is Measure.RATE:
        odd = (numbers != 0) & (numbers != 1)
        found = np.where(odd, other, numbers).astype(np.intp) if odd.any() else numbers.astype(np.intp)
    else:
        found = np.searchsorted(np.asarray(column.edges), numbers, side="right")
        odd = ~np.isfinite(numbers)
        found[odd] = other
    if odd.any() and not isinstance(values, np.ndarray):
        found[[at for at in np.flatnonzero(odd).tolist() if values[at] is None]] = missing
    return found


class _InOrder(dict[tuple[str, ...], int]):
    """Numbers the groups of slices in the order of arrival; a group that is known costs a look-up of the dictionary alone."""

    def __missing__(self, group: tuple[str, ...]) -> int:
        self[group] = number = len(self)
        return number


class _Places(dict[object, int]):
    """The bin of each name; ``other`` for a name that the column does not know."""

    def __init__(self, held: Mapping[Any, int], *, other: int) -> None:
        super().__init__(held)
        self._other = other

    def __missing__(self, name: object) -> int:
        return self._other


def _numbers(values: Sequence[float | str | None]) -> NDArray[np.float64]:
    """NaN for None and for whatever no float can hold."""
    plain = _FLOAT_OR_NONE.issuperset(map(type, values))  # of nearly every column; numpy's own conversion takes a tenth of the time
    return np.array(values if plain else [_number(value) for value in values], dtype=np.float64)


def _number(value: float | str | None) -> float:
    """Not a number for whatever no float can hold."""
    try:
        return float(value) if isinstance(value, Real) else np.nan
    except OverflowError:
        return np.nan
