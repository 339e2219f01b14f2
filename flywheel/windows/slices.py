"""Which slices a row belongs to, and how their number stays bounded.

In: a row's dimensions and the policy. Out: slice names: "all" and "<dimension>=<value>". A slice that has no place of its own is counted
under "<dimension>=(other)", so sums stay whole; protected slices always have a place.

The largest slices have places by space-saving (Metwally, Agrawal and El Abbadi 2005, "Efficient computation of frequent and top-k
elements in data streams"): a slice that arrives when all places are taken replaces the smallest one and takes over its count. So every
slice with more than 1 / ``top`` of all rows has a place, whenever it arrived, and no count is too low.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from flywheel.ids import EVERYTHING
from flywheel.windows.counts import NO_COUNTS, CountMatrix, added

FOLDED = "(other)"


@dataclass(frozen=True, kw_only=True)
class SlicePolicy:
    """Declared dimensions, the slices that always have a place, and the number of places beside them."""

    dimensions: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()  # e.g. "tenant=globex"
    top: int = 50

    @property
    def always(self) -> frozenset[str]:
        """Slices that have a place whatever arrives."""
        return frozenset((EVERYTHING, *self.protected, *(f"{name}={FOLDED}" for name in self.dimensions)))


@dataclass(frozen=True, kw_only=True)
class Pane:
    """The counts of one pane of time. A slice may have had up to ``over`` rows more, counted in "(other)" before it got its place."""

    matrix: CountMatrix = NO_COUNTS
    over: Mapping[str, int] = field(default_factory=dict)


def slices_of(dimensions: Mapping[str, str], policy: SlicePolicy) -> tuple[str, ...]:
    """All traffic, then one slice per declared dimension that the row has."""
    return (EVERYTHING, *(f"{name}={dimensions[name]}" for name in policy.dimensions if name in dimensions))


def folded_into(name: str) -> str:
    """The slice in which a slice without a place is counted."""
    return f"{name.partition('=')[0]}={FOLDED}"


def summed(held: Pane, fresh: CountMatrix, *, policy: SlicePolicy) -> Pane:
    """A pane with new rows of its time: the largest slices have places, the others are folded.

    Slices that have a place are counted first, then newcomers from the largest, so a batch gives the same result in any order of its rows.
    """
    rows = {name: number + held.over.get(name, 0) for name, number in held.matrix.rows_by_slice.items()}
    over = dict(held.over)
    arrivals = fresh.rows_by_slice
    for name in sorted(arrivals, key=lambda name: (name not in rows, -arrivals[name], name)):
        taken = [other for other in rows if other not in policy.always]
        if name in rows or name in policy.always or len(taken) < policy.top:
            rows[name] = rows.get(name, 0) + arrivals[name]
        elif taken:
            smallest = min(taken, key=lambda other: (rows[other], other))
            over.pop(smallest, None)
            over[name] = rows.pop(smallest)
            rows[name] = over[name] + arrivals[name]
    parts = [
        _folded(part, [name for name in part.slices if name not in rows and name not in policy.always]) for part in (held.matrix, fresh)
    ]
    return Pane(matrix=added(*parts), over={name: number for name, number in over.items() if number})


def capped(matrix: CountMatrix, *, policy: SlicePolicy) -> CountMatrix:
    """The matrix with its ``top`` largest slices; each of the panes it sums may have held others."""
    rows = matrix.rows_by_slice
    by_size = sorted((name for name in rows if name not in policy.always), key=lambda name: (-rows[name], name))
    return _folded(matrix, by_size[policy.top :])


def _folded(matrix: CountMatrix, names: Collection[str]) -> CountMatrix:
    """The same sums, with these slices counted in "(other)" of their dimension."""
    if not names:
        return matrix
    targets = [folded_into(name) if name in set(names) else name for name in matrix.slices]
    slices = tuple(dict.fromkeys(targets))
    at = np.array([slices.index(name) for name in targets], dtype=np.intp)
    counts = np.zeros((len(slices), matrix.counts.shape[1]), dtype=np.int64)
    rows = np.zeros(len(slices), dtype=np.int64)
    np.add.at(counts, at, matrix.counts)
    np.add.at(rows, at, matrix.rows)
    return CountMatrix(slices=slices, bins=matrix.bins, counts=counts, rows=rows)
