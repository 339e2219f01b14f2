"""The seasonal reference: counts by the hour of the day, weekdays and weekends apart.

In: counts of consecutive hours, and the hours of a window. Out: for the window that ends with each hour, the sum of the reference's same
hours. One whole day is one pool. From two days of a kind on, a window is compared with the same hours of weekdays or of weekends, and the
adjacent hours, so that nights and Saturdays are not drift. Without one of the window's hours there is no comparison. Hours count from the
epoch in UTC. Does not model holidays and daylight saving; the overdispersion contains them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel.ids import digest_of
from flywheel.windows.counts import CountMatrix, Counts, added

HOURS_A_DAY = 24
NEIGHBOURS = 1  # hours on either side of the window's own
EPOCHS_WEEKDAY = 3  # 1970-01-01 was a Thursday
HourOfDay = tuple[int, int]
"""(0 on weekdays and 1 on weekends, hour of the day)"""


def counts_as_json(matrix: CountMatrix) -> dict[str, object]:
    """All counts and rows by name."""
    counts = {name: {column: matrix.of(column)[at].tolist() for column, _ in matrix.bins} for at, name in enumerate(matrix.slices)}
    return {"counts": counts, "rows": matrix.rows_by_slice}


def json_digest(document: Mapping[str, object]) -> str:
    """Does not depend on the order of keys."""
    return digest_of(json.dumps(document, sort_keys=True))


class Season(StrEnum):
    """The calendar resolution of a reference."""

    LEARNING = "learning"
    POOLED_DAYS = "pooled_days"
    HOUR_OF_DAY = "hour_of_day"  # weekdays and weekends apart


@dataclass(frozen=True, kw_only=True)
class SeasonalReference:
    """Counts by hour of the day. ``Reference.seasonal_digest`` is its digest."""

    cells: Mapping[HourOfDay, CountMatrix]

    @property
    def digest(self) -> str:
        return json_digest({f"{weekend}/{hour}": counts_as_json(cell) for (weekend, hour), cell in self.cells.items()})

    def stacked(self, *, slices: Sequence[str], bins: Sequence[tuple[str, int]]) -> CountMatrix:
        """All hours as one matrix: [2, 24, slices, bins]."""
        width = sum(number for _, number in bins)
        counts = np.zeros((2, HOURS_A_DAY, len(slices), width), dtype=np.int64)
        rows = np.zeros((2, HOURS_A_DAY, len(slices)), dtype=np.int64)
        for at, cell in self.cells.items():
            aligned = cell.aligned(slices=slices, bins=bins)
            counts[at], rows[at] = aligned.counts, aligned.rows
        return CountMatrix(slices=tuple(slices), bins=tuple(bins), counts=counts, rows=rows)


def seasonal_reference(hours: Iterable[CountMatrix], *, first_hour: int) -> SeasonalReference:
    """``hours``: the counts of consecutive hours."""
    cells: dict[HourOfDay, CountMatrix] = {}
    for hour, matrix in enumerate(hours, start=first_hour):
        at = int(is_weekend(np.asarray(hour))), hour % HOURS_A_DAY
        cells[at] = added(cells[at], matrix) if at in cells else matrix
    return SeasonalReference(cells=cells)


def season_of(*, first_hour: int, hours: int) -> tuple[Season, str]:
    """The resolution of a period of consecutive hours, and why. By the hour from two days of one kind on."""
    days = hours // HOURS_A_DAY
    if days < 1:
        return Season.LEARNING, "the reference has seen under one whole day"
    if int((times_seen(first_hour=first_hour, hours=hours) > 1).sum()) < HOURS_A_DAY:
        return Season.POOLED_DAYS, "one pool until two weekdays or two days of a weekend were seen"
    return Season.HOUR_OF_DAY, f"{days} whole days, read by the hour, weekdays and weekends apart"


def is_weekend(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours since the epoch -> 1 on Saturday and Sunday, else 0."""
    return ((hours // HOURS_A_DAY + EPOCHS_WEEKDAY) % 7 >= 5).astype(np.int64)


def times_seen(*, first_hour: int, hours: int) -> Counts:
    """[2, 24]: how often a period contains each hour of weekdays (0) and of weekends (1)."""
    return by_hour_of_day(np.ones(hours, dtype=np.int64), first_hour=first_hour)


def by_hour_of_day(hourly: Counts, *, first_hour: int) -> Counts:
    """[H, ...] of hours in a row -> [2, 24, ...]: sums over weekdays (0) and weekends (1) at each hour of the day."""
    hours = first_hour + np.arange(len(hourly))
    cells = is_weekend(hours) * HOURS_A_DAY + hours % HOURS_A_DAY
    found = np.zeros((2 * HOURS_A_DAY, *hourly.shape[1:]), dtype=np.int64)
    for cell in np.unique(cells):  # 48 sums; 20 times faster than np.add.at
        found[cell] = hourly[cells == cell].sum(axis=0)
    return found.reshape(2, HOURS_A_DAY, *hourly.shape[1:])


def sliding_sums(hourly: Counts, length: int) -> Counts:
    """[H, ...] -> [H, ...]: sums over the ``length`` hours that end with each hour; the first ones are over fewer hours."""
    total = np.cumsum(hourly, axis=0, dtype=np.int64)
    total[length:] -= total[:-length].copy()
    return total


def same_hours(
    seasonal: Counts, *, first_hour: int, hours: int, length: int, seen: Counts, own: Counts | None = None, neighbours: int = NEIGHBOURS
) -> Counts:
    """[2, 24, ...] -> [hours, ...]: what each window of ``length`` hours is compared with; the first window ends with ``first_hour``.

    ``seen`` [2, 24]: ``times_seen`` of the reference's period. A window with an hour that the period lacks gets zeros.
    ``own`` [hours, ...]: the counts of these hours if the reference contains them; they are subtracted, so that no window is compared with
    itself. A window of about a day takes no neighbours: it has all hours.
    """
    beside = neighbours if length + 2 * neighbours <= HOURS_A_DAY else 0
    moments = first_hour - length + 1 + np.arange(hours + length - 1)
    kinds = is_weekend(moments)
    same = seasonal[kinds, moments % HOURS_A_DAY]
    if own is not None:
        there = same[length - 1 : length - 1 + hours]
        there -= own[: len(there)]
    found = sliding_sums(same, length)[length - 1 :]
    for edge, step in ((slice(0, hours), -1), (slice(length - 1, None), 1)):
        for away in range(step, step * (beside + 1), step):
            found += _beside(seasonal, moments[edge] + away, kinds[edge], own=own, first_hour=first_hour)
    unseen = seen[kinds, moments % HOURS_A_DAY] <= (own is not None)
    found[sliding_sums(unseen.astype(np.int64), length)[length - 1 :] > 0] = 0
    return found


def _beside(seasonal: Counts, moments: NDArray[np.int64], kinds: NDArray[np.int64], *, own: Counts | None, first_hour: int) -> Counts:
    """[hours, ...]: the counts of neighbouring hours, on the kind of day of the window's edge.

    The hour before a Saturday's midnight is taken from weekends: weekdays are more days and have other traffic.
    """
    found = seasonal[kinds, moments % HOURS_A_DAY]
    if own is not None:
        at = moments - first_hour
        there = (at >= 0) & (at < len(own)) & (is_weekend(moments) == kinds)
        found[there] -= own[at[there]]
    return found


def all_other_hours(hourly: Counts, *, length: int) -> Counts:
    """[H, ...] -> [H, ...]: the pooled reference of each window: all hours of the period except its own."""
    return np.asarray(hourly.sum(axis=0, dtype=np.int64)[None] - sliding_sums(hourly, length))
