"""Counting a batch of events into a table in one go, with the same result as row by row.

In: the columns' values as arrays, and which slices each event belongs to. Out: a table of counts. Reading rows into arrays,
and leaving out events that were counted before, is the caller's.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column, Measure
from flywheel.windows.pane import Counts
from flywheel.windows.plausible_counts import check_columns
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
    _check_values(column, values, missing)
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
    if membership.dtype.kind not in "iu":
        raise InvalidInput(
            "places in the list of slices must be whole numbers",
            where="slices of a batch",
            value=str(membership.dtype),
            remedy="Give what `places_of` gives.",
        )
    if membership.ndim != 2 or (membership.size and (membership.min() < NOT_IN_ANY or membership.max() >= len(slices))):
        raise InvalidInput(
            "an event names a slice that is not in the list",
            where="slices of a batch",
            value=int(membership.max()) if membership.size else membership.shape,
            remedy=f"Give [events, dimensions] of places from 0 to {len(slices) - 1}, or -1 for none.",
        )
    check_columns(columns, where="batch")
    if len(set(slices)) < len(slices):
        raise InvalidInput("a slice stands there twice", where="slices of a batch", value=tuple(slices), remedy="Name each slice once.")
    for first, second in combinations(membership.T, 2):
        if ((first == second) & (first != NOT_IN_ANY)).any():
            raise InvalidInput(
                "an event names one slice twice, and would count twice in it",
                where="slices of a batch",
                value=slices[int(first[(first == second) & (first != NOT_IN_ANY)][0])],
                remedy="Name a slice once for each event, and -1 in the other places.",
            )
    if unknown := sorted(set(values) - {column.name for column in columns}):
        raise InvalidInput("there is no such column", where="batch", value=unknown, remedy="Hand in values of the counted columns only.")
    for column in columns:
        held = values.get(column.name)
        if held is None:
            continue
        if not isinstance(held, np.ndarray):
            raise InvalidInput(
                "bins must be an array",
                where=f"batch, column {column.name}",
                value=type(held).__name__,
                remedy="Give what `bins_of` gives.",
            )
        if held.shape != (events,) or held.dtype.kind not in "iu" or (events and (held.min() < 0 or held.max() >= column.bins)):
            raise InvalidInput(
                f"the bins do not fit: {events} events, each from 0 to {column.bins - 1}, are wanted",
                where=f"batch, column {column.name}",
                value=(held.shape, str(held.dtype), int(held.max()) if held.size else None),
                remedy="Give what `bins_of` gives for this column.",
            )


def _check_values(column: Column, values: Values, missing: NDArray[np.bool_] | None) -> None:
    where = f"values of column {column.name}"
    check_columns((column,), where=where)
    if values.dtype.kind not in "fiu":
        raise InvalidInput("values must be numbers", where=where, value=str(values.dtype), remedy="Hand in an array of floats.")
    if missing is not None and (missing.shape != values.shape or missing.dtype.kind != "b"):
        raise InvalidInput(
            f"what is missing must be said by true or false for each of {len(values)} values",
            where=where,
            value=f"{missing.dtype} of shape {missing.shape}",
            remedy="Hand in a boolean array of the same length.",
        )


def places_of(names: Sequence[str], *, slices: Sequence[str]) -> Counts:
    """[events]: where each name stands in ``slices``; -1 for one that does not."""
    place = {name: at for at, name in enumerate(slices)}
    return np.array([place.get(name, NOT_IN_ANY) for name in names], dtype=np.int64)
