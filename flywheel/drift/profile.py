"""What a reference held at each hour of the day, on weekdays and on weekends.

In: hourly counts of whole days; later a window. Out: the counts of the reference's hours that are like the window's, and the hours beside
them. Which reference is old enough to be read by the hour is said by ``reference``; days and hours are UTC.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.drift.seasons import HOURS_A_DAY, SeasonPolicy
from flywheel.errors import InvalidInput
from flywheel.ids import digest_of
from flywheel.plausible import check_moments, check_whole
from flywheel.windows.pane import Counts, Tally, WindowCounts, add
from flywheel.windows.plausible_counts import check_rows

HOUR = timedelta(hours=1)
SATURDAY = 5
Cell = tuple[int, int]
"""(0 on weekdays, 1 on weekends; hour of the day)."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Immutable; its digest stands in the reference it belongs to."""

    cells: Mapping[Cell, Tally]

    def __post_init__(self) -> None:
        for (weekend, hour), cell in self.cells.items():
            check_whole(weekend, where="profile: weekend", most=1)
            check_whole(hour, where="profile: hour", most=HOURS_A_DAY - 1)
            check_rows(cell.rows, where=f"profile, hour {hour}")

    @property
    def digest(self) -> str:
        """Of every count, in an order of its own."""
        held = {
            f"{weekend}/{hour}": {
                "rows": dict(cell.rows),
                "counts": {name: {column: values.tolist() for column, values in columns.items()} for name, columns in cell.counts.items()},
            }
            for (weekend, hour), cell in self.cells.items()
        }
        return digest_of(json.dumps(held, sort_keys=True))


def by_hour(windows: Iterable[WindowCounts]) -> Profile:
    """Raises InvalidInput unless each window is one whole hour of the clock, and all are of one workload."""
    cells: dict[Cell, Tally] = {}
    workload = None
    for window in windows:
        check_moments(f"profile of {window.workload}", start=window.start, end=window.end)
        if window.workload != (workload := workload or window.workload):
            raise InvalidInput(
                f"the hours before belong to {workload}",
                where="profile",
                value=window.workload,
                remedy="Make one profile for each workload.",
            )
        if window.end - window.start != HOUR or window.start != _on_the_hour(window.start):
            raise InvalidInput(
                "a profile is made of whole hours",
                where=f"profile of {window.workload}",
                value=f"{window.start.isoformat()} to {window.end.isoformat()}",
                remedy="Hand in windows of one hour that begin on the hour.",
            )
        cell = _cell(window.start)
        cells[cell] = add(cells[cell], window) if cell in cells else add(window)
    return Profile(cells=cells)


def like_hours(profile: Profile, *, start: datetime, end: datetime, policy: SeasonPolicy, seen: Counts | None = None) -> Tally | None:
    """The reference's hours that are like those of the window, with ``policy.neighbours`` beside it; None for a window of no whole hours.

    A window of a day, or nearly, takes no hours beside it: it has them all. ``seen`` [2, 24]: how often the reference's period has seen
    each hour (``seasons.times_seen``); to a window with an hour of which it has seen none, nothing is like.
    """
    check_moments("window to be read by the hour", start=start, end=end)
    if end - start < HOUR or start != _on_the_hour(start) or end != _on_the_hour(end):
        return None
    length = (end - start) // HOUR
    if seen is not None and not all(seen[_cell(start + HOUR * step)] for step in range(length)):
        return Tally(counts={}, rows={})
    beside = policy.neighbours if length + 2 * policy.neighbours <= HOURS_A_DAY else 0
    hours = (start + HOUR * step for step in range(-beside, length + beside))
    return add(*(profile.cells[cell] for cell in map(_cell, hours) if cell in profile.cells))


def _cell(moment: datetime) -> Cell:
    moment = moment.astimezone(UTC)
    return int(moment.weekday() >= SATURDAY), moment.hour


def _on_the_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
