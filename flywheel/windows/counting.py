"""Counting a batch of events into a table in one go, with the same result as row by row.

In: the columns' values as arrays, and which slices each event belongs to. Out: a table of counts. Reading rows into arrays,
and leaving out events that were counted before, is the caller's.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column, Measure
from flywheel.windows.pane import Counts
from flywheel.windows.table import CountTable

Values = NDArray[np.float64]
Bins = NDArray[np.intp]
NOT_IN_ANY = -1


def count_events(
    *, values: Mapping[str, Bins], membership: NDArray[np.intp], slices: Sequence[str], columns: Sequence[Column]
) -> CountTable:
    """``values[column]`` [events]: the bin of each event, as ``bins_of`` gives it; a column left out is MISSING throughout.

    ``membership`` [events, dimensions]: places in ``slices``, or -1; an event is counted once in each slice it names. One count of
    combined indices (slice, column, bin) does it all: linear in events, and independent of how many slices there are.
    """
    events = len(membership)
    _check(values, membership, slices, columns, events)
    offsets = np.cumsum([0, *(column.bins for column in columns)])
    width = int(offsets[-1])
    flat = np.empty((len(columns), events), dtype=np.intp)
    for place, column in enumerate(columns):
        held = values.get(column.name)
        flat[place] = offsets[place] + (column.bins - 1 if held is None else held)
    total = np.zeros(len(slices) * width, dtype=np.int64)
    rows = np.zeros(len(slices), dtype=np.int64)
    for dimension in membership.T:
        inside = dimension != NOT_IN_ANY
        whole = bool(inside.all())
        mine = dimension if whole else dimension[inside]
        cells = (mine * width)[None, :] + (flat if whole else flat[:, inside])
        total += np.bincount(cells.ravel(), minlength=len(total))
        rows += np.bincount(mine, minlength=len(slices))
    table = total.reshape(len(slices), width)
    return CountTable(
        slices=tuple(slices),
        columns=tuple(columns),
        counts={column.name: table[:, offsets[place] : offsets[place + 1]] for place, column in enumerate(columns)},
        rows=rows,
    )


def bins_of(column: Column, values: Values, *, missing: NDArray[np.bool_] | None = None) -> Bins:
    """[events] -> [events]; total over every value. NUMBER: the value; RATE: 1 or 0; NAME: the place in ``column.names``.

    What is no such thing (infinite, not a number, a name nobody knows) is OTHER; what ``missing`` marks is MISSING.
    """
    other = column.bins - 2
    found: Bins
    if column.measure is Measure.NUMBER:
        found = np.searchsorted(np.asarray(column.lines), values, side="right")
        odd = ~np.isfinite(values)
    else:
        odd = ~((values >= 0) & (values < len(column.names)) & (np.floor(values) == values))
        found = np.where(odd, 0.0, values).astype(np.intp)
    if odd.any():
        found = np.where(odd, other, found)
    return found if missing is None else np.where(missing, column.bins - 1, found)


def _check(values: Mapping[str, Bins], membership: NDArray[np.intp], slices: Sequence[str], columns: Sequence[Column], events: int) -> None:
    if membership.ndim != 2 or (membership.size and (membership.min() < NOT_IN_ANY or membership.max() >= len(slices))):
        raise InvalidInput(
            "an event names a slice that is not in the list",
            where="slices of a batch",
            value=int(membership.max()) if membership.size else membership.shape,
            remedy=f"Give [events, dimensions] of places from 0 to {len(slices) - 1}, or -1 for none.",
        )
    for column in columns:
        held = values.get(column.name)
        if held is None:
            continue
        if held.shape != (events,) or held.dtype.kind not in "iu" or (events and (held.min() < 0 or held.max() >= column.bins)):
            raise InvalidInput(
                f"the bins do not fit: {events} events, each from 0 to {column.bins - 1}, are wanted",
                where=f"batch, column {column.name}",
                value=(held.shape, str(held.dtype), int(held.max()) if held.size else None),
                remedy="Give what `bins_of` gives for this column.",
            )


def places_of(names: Sequence[str], *, slices: Sequence[str]) -> Counts:
    """[events]: where each name stands in ``slices``; -1 for one that does not."""
    place = {name: at for at, name in enumerate(slices)}
    return np.array([place.get(name, NOT_IN_ANY) for name in names], dtype=np.int64)
