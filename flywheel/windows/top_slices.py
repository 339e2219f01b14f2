"""Which slices are worth counting apart, when more come than there is room for.

In: how many rows each slice had, batch after batch. Out: at most ``room`` slices, with how much each was over-counted at most.
This is space-saving (Metwally, Agrawal and El Abbadi 2005, "Efficient computation of frequent and top-k elements in data
streams"): a slice that comes when the room is full takes the place of the smallest, and its count. So every slice with more
than one in ``room`` of all rows is held, whenever it came, and no count is too low. Folding what is not held is ``slices``'.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flywheel.plausible import check_whole
from flywheel.windows.plausible_counts import check_rows


@dataclass(frozen=True, kw_only=True)
class Held:
    """A slice that has a place. Its true number of rows lies between ``rows - over`` and ``rows``."""

    rows: int
    over: int = 0  # rows of the slice whose place this one took

    def __post_init__(self) -> None:
        check_whole(self.rows, where="rows of a slice that has a place")
        check_whole(self.over, where="rows it may have too many", most=self.rows)


@dataclass(frozen=True, kw_only=True)
class TopSlices:
    """The slices that have a place."""

    held: Mapping[str, Held] = field(default_factory=dict)


def offered(top: TopSlices, arrivals: Mapping[str, int], *, room: int, always: Collection[str] = ()) -> TopSlices:
    """The slices that have a place after these rows. ``always`` have one beside the room, and take none.

    Slices that have a place are counted first, then newcomers from the largest: a batch gives the same result in any order of its rows.
    """
    check_whole(room, where="room for slices")
    check_rows(arrivals, where="batch")
    held = dict(top.held)
    for name, rows in sorted(arrivals.items(), key=lambda arrival: (arrival[0] not in top.held, -arrival[1], arrival[0])):
        if name in held:
            held[name] = Held(rows=held[name].rows + rows, over=held[name].over)
            continue
        taken = [other for other in held if other not in always]
        if name in always or len(taken) < room:
            held[name] = Held(rows=rows)
        elif taken:
            smallest = min(taken, key=lambda other: (held[other].rows, other))
            before = held.pop(smallest).rows
            held[name] = Held(rows=before + rows, over=before)
    return TopSlices(held=held)
