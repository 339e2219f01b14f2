"""Counts of many slices laid side by side, so that one call of numpy reads them all.

In: counts by slice and column as panes hold them, or a table. Out: a table, or counts by slice and column. What is put into
a table is checked once, here; everything that computes on tables relies on it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING
from flywheel.plausible import MOST, check_names
from flywheel.traffic.column import Column
from flywheel.windows.pane import Counts, Tally, WindowCounts
from flywheel.windows.plausible_counts import check_columns, check_counts, check_rows

COUNT_AGAIN = "Count the pane again from its rows; if it came from elsewhere, ask there."


@dataclass(frozen=True, kw_only=True)
class CountTable:
    """``counts[column name]`` is [slices, bins of the column], ``rows`` is [slices]; whole numbers, none below zero."""

    slices: tuple[str, ...]
    columns: tuple[Column, ...]
    counts: Mapping[str, Counts]
    rows: Counts


def table_of(part: Tally | WindowCounts, *, slices: Sequence[str], columns: Sequence[Column], where: str) -> CountTable:
    """These slices of the counts, in this order; what a slice or a column is not counted for is zero.

    Raises InvalidInput, naming slice, column and value, for counts that have another number of bins than the column has, that are
    negative or no whole numbers, or that hold more values than the slice has rows. ``where`` says whose counts these are.
    """
    check_names(slices, where=f"{where}, slices")
    check_columns(columns, where=where)
    rows = _row_numbers([part.rows.get(name, 0) for name in slices], slices, where)
    counts: dict[str, Counts] = {}
    for column in columns:
        held = [part.counts.get(name, {}).get(column.name) for name in slices]
        counts[column.name] = _stacked(held, slices, column, where)
        values = counts[column.name].sum(axis=1)
        if (values > rows).any():
            at = int((values > rows).argmax())
            raise InvalidInput(
                f"{values[at]} values were counted in {rows[at]} rows",
                where=f"{where}, slice {slices[at]}, column {column.name}",
                value=int(values[at]),
                remedy=COUNT_AGAIN,
            )
    return CountTable(slices=tuple(slices), columns=tuple(columns), counts=counts, rows=rows)


def tally_of(table: CountTable) -> Tally:
    """The same counts by slice and column. The arrays are views: whoever changes them changes the table."""
    return Tally(
        counts={name: {column.name: table.counts[column.name][at] for column in table.columns} for at, name in enumerate(table.slices)},
        rows=dict(zip(table.slices, table.rows.tolist(), strict=True)),
    )


def check_period(counts: WindowCounts, *, where: str) -> None:
    """Raises InvalidInput for what no window of traffic can hold: before such counts are kept and others are compared with them."""
    check_rows(counts.rows, where=where)
    whole = counts.rows.get(EVERYTHING, 0)
    for name, columns in counts.counts.items():
        rows = counts.rows.get(name, 0)
        if rows > whole:
            raise InvalidInput(
                f"a slice has more rows than the whole traffic, which has {whole}",
                where=f"{where}, slice {name!a}",
                value=rows,
                remedy=f'Count every row in the slice "{EVERYTHING}" too.',
            )
        for column, values in columns.items():
            check_counts(values, where=f"{where}, slice {name!a}, column {column}")
            if (held := int(values.sum())) > rows:
                raise InvalidInput(
                    f"{held} values were counted in {rows} rows",
                    where=f"{where}, slice {name!a}, column {column}",
                    value=held,
                    remedy=COUNT_AGAIN,
                )


def on_this_grid(counts: WindowCounts, columns: Iterable[Column]) -> tuple[WindowCounts, tuple[str, ...]]:
    """The counts without the columns that were counted on another grid, and the names of those.

    A new version may change a column's grid while panes and references of the old one are still there. Their counts say nothing on the
    new grid; whoever leaves them out says so.
    """
    bins = {column.name: column.bins for column in columns}
    others = sorted(
        {
            name
            for held in counts.counts.values()
            for name, values in held.items()
            if name in bins and np.ndim(values) == 1 and len(values) != bins[name]
        }
    )
    if not others:
        return counts, ()
    kept = {name: {column: values for column, values in held.items() if column not in others} for name, held in counts.counts.items()}
    return WindowCounts(workload=counts.workload, start=counts.start, end=counts.end, counts=kept, rows=counts.rows), tuple(others)


def _stacked(held: Sequence[Counts | None], slices: Sequence[str], column: Column, where: str) -> Counts:
    """[slices, bins]."""
    nothing = np.zeros(column.bins, dtype=np.int64)
    parts = [nothing if values is None else values for values in held]
    for name, values in zip(slices, parts, strict=True):
        if np.shape(values) != (column.bins,):
            raise InvalidInput(
                f"the counts have {np.size(values)} bins, and the column's edges make {column.bins}",
                where=f"{where}, slice {name}, column {column.name}",
                value=np.shape(values),
                remedy="Count on the column's own grid; a reference of another grid is pinned anew.",
            )
    stacked = np.array(parts).reshape(len(parts), column.bins)
    return _whole(stacked, slices, f"column {column.name}", where)


def _row_numbers(rows: Sequence[int], slices: Sequence[str], where: str) -> Counts:
    if any(isinstance(value, bool) for value in rows):
        raise InvalidInput("true or false is no number of rows", where=where, value=tuple(rows), remedy=COUNT_AGAIN)
    return _whole(np.array(rows).reshape(len(rows), 1), slices, "rows", where)[:, 0]


def _whole(values: NDArray[np.generic], slices: Sequence[str], what: str, where: str) -> Counts:
    """[slices, anything] as whole numbers. Floats pass only where they are whole: JSON has but one kind of number."""
    if values.size == 0:
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        numbers = _floats(values, f"{where}, {what}")
        broken = ~np.isfinite(numbers) | (numbers != np.round(numbers))
        if broken.any():
            at, bin_number = (int(place) for place in np.argwhere(broken)[0])
            raise InvalidInput(
                "a count is no whole number",
                where=f"{where}, slice {slices[at]}, {what}, bin {bin_number}",
                value=float(numbers[at, bin_number]),
                remedy=COUNT_AGAIN,
            )
    if int(values.max()) > MOST:
        at = int(np.argwhere(values.max(axis=1) == values.max())[0][0])
        raise InvalidInput(
            f"a count is above {MOST}, where numbers no longer tell rows apart",
            where=f"{where}, slice {slices[at]}, {what}",
            value=int(values.max()),
            remedy=COUNT_AGAIN,
        )
    whole: Counts = values.astype(np.int64)
    if whole.min() < 0:
        at, bin_number = (int(place) for place in np.argwhere(whole < 0)[0])
        raise InvalidInput(
            "a count is negative",
            where=f"{where}, slice {slices[at]}, {what}, bin {bin_number}",
            value=int(whole[at, bin_number]),
            remedy=COUNT_AGAIN,
        )
    return whole


def _floats(values: NDArray[np.generic], where: str) -> NDArray[np.float64]:
    """Texts, truth values and whole numbers that no float holds are no counts."""
    try:
        if values.dtype.kind not in "fO":
            raise TypeError(f"values of {values.dtype}")
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("a count is no number", where=where, value=str(error), remedy=COUNT_AGAIN) from error
