"""With which hours of the past may a window be compared?

In: hourly counts of whole days, and how long the windows are. Out: for the window that ends with each hour, the counts of the
reference's like hours. One whole day is one pool; from two days of a kind on a window meets the same hours of the day, of weekdays
or of weekends, and the hours beside them, so that neither night nor Saturday is drift. A window with an hour of which the reference
has seen no like is compared with nothing. Hours count from the epoch in UTC; holidays and daylight saving are not known here: they
stay inside the measured spread.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.plausible import check_whole
from flywheel.windows.pane import Counts
from flywheel.windows.plausible_counts import check_counts

HOURS_A_DAY = 24
FARTHEST_HOUR = 100_000_000  # of the calendar
EPOCHS_WEEKDAY = 3  # 1970-01-01 was a Thursday


class Season(StrEnum):
    """How much of the calendar a reference can tell apart."""

    LEARNING = "learning"
    POOLED_DAYS = "pooled_days"
    HOUR_OF_DAY = "hour_of_day"  # weekdays and weekends apart


@dataclass(frozen=True, kw_only=True)
class SeasonPolicy:
    """How many hours beside the window's own are taken in."""

    neighbours: int = 1

    def __post_init__(self) -> None:
        check_whole(self.neighbours, where="seasons: neighbours", most=HOURS_A_DAY)


@dataclass(frozen=True, kw_only=True)
class SeasonNow:
    """What a reference is good for, and why."""

    season: Season
    reason: str


def season_of(*, first_hour: int, hours: int) -> SeasonNow:
    """Of a period of so many hours in a row. By the hour from two days of one kind on: before, no hour of it has a like."""
    seen = times_seen(first_hour=first_hour, hours=hours)
    days = hours // HOURS_A_DAY
    if days < 1:
        return SeasonNow(season=Season.LEARNING, reason="the reference has seen under one whole day")
    if int((seen > 1).sum()) < HOURS_A_DAY:
        return SeasonNow(season=Season.POOLED_DAYS, reason="one pool until two weekdays or two days of a weekend were seen")
    return SeasonNow(season=Season.HOUR_OF_DAY, reason=f"{days} whole days, read by the hour, weekdays and weekends apart")


def is_weekend(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours since the epoch -> 1 on Saturday and Sunday, else 0."""
    return ((hours // HOURS_A_DAY + EPOCHS_WEEKDAY) % 7 >= 5).astype(np.int64)


def times_seen(*, first_hour: int, hours: int) -> Counts:
    """[2, 24]: how often a period has seen each hour of weekdays (0) and of weekends (1)."""
    check_whole(first_hour, where="first hour since the epoch", least=-FARTHEST_HOUR, most=FARTHEST_HOUR)
    check_whole(hours, where="hours of a period", most=FARTHEST_HOUR)
    moments = first_hour + np.arange(hours)
    seen = np.zeros((2, HOURS_A_DAY), dtype=np.int64)
    np.add.at(seen, (is_weekend(moments), moments % HOURS_A_DAY), 1)
    return seen


def profile_of(hourly: Counts, *, first_hour: int) -> Counts:
    """[H, ...] of hours in a row -> [2, 24, ...]: what weekdays (0) and weekends (1) held at each hour of the day.

    Raises InvalidInput unless these are whole days: half a day would make its hours look rare.
    """
    check_counts(hourly, where="hourly counts")
    check_whole(first_hour, where="first hour since the epoch", least=-FARTHEST_HOUR, most=FARTHEST_HOUR)
    if len(hourly) == 0 or len(hourly) % HOURS_A_DAY:
        raise InvalidInput(
            "a profile needs whole days", where="hourly counts", value=f"{len(hourly)} hours", remedy="Hand in a multiple of 24 hours."
        )
    hours = first_hour + np.arange(len(hourly))
    profile = np.zeros((2, HOURS_A_DAY, *hourly.shape[1:]), dtype=np.int64)
    np.add.at(profile, (is_weekend(hours), hours % HOURS_A_DAY), hourly)
    return profile


def sliding_sums(hourly: Counts, length: int) -> Counts:
    """[H, ...] -> [H, ...]: the window of ``length`` hours that ends with each hour; the first ones hold what there is."""
    check_whole(length, where="hours of a window", least=1)
    if hourly.dtype.kind not in "iu":
        raise InvalidInput("counts must be whole numbers", where="hourly counts", value=str(hourly.dtype), remedy="Hand in integers.")
    total = np.cumsum(hourly, axis=0, dtype=np.int64)
    total[length:] -= total[:-length].copy()
    return total


def like_hours(
    profile: Counts,
    *,
    first_hour: int,
    hours: int,
    length: int,
    policy: SeasonPolicy,
    own: Counts | None = None,
    seen: Counts | None = None,
) -> Counts:
    """The reference of the windows that end with ``hours`` hours in a row, the first being ``first_hour``: [hours, ...].

    ``own`` [hours, ...]: counts that the profile holds of these very hours; they are left out, so that a window of the
    reference's own period never meets itself. ``seen`` [2, 24]: how often the profile's period has seen each hour, as ``times_seen`` says;
    a window with an hour of which it has seen no other meets nothing.
    """
    beside = policy.neighbours if length + 2 * policy.neighbours <= HOURS_A_DAY else 0
    moments = first_hour - length - beside + 1 + np.arange(hours + length + 2 * beside - 1)
    alike = profile[is_weekend(moments), moments % HOURS_A_DAY]
    if own is not None:
        start = length + beside - 1
        there = alike[start : start + hours]
        there -= own[: len(there)]
    span = length + 2 * beside
    found = sliding_sums(alike, span)[span - 1 :]
    if seen is not None:
        own_hours = moments[beside : len(moments) - beside]
        unseen = seen[is_weekend(own_hours), own_hours % HOURS_A_DAY] <= (own is not None)
        found[sliding_sums(unseen.astype(np.int64), length)[length - 1 :] > 0] = 0
    return found


def pooled_days(hourly: Counts, *, length: int, days: int | None) -> Counts:
    """The reference of each hour's window: [H, ...] -> [H, ...]. ``days``: the whole days before the hour's own day, at most so many.

    None: all hours there are. What the window itself holds is left out.
    """
    check_whole(length, where="hours of a window", least=1)
    if days is not None:
        check_whole(days, where="days of the pool", least=1)
    if days is None:
        return np.asarray(hourly.sum(axis=0, dtype=np.int64)[None] - sliding_sums(hourly, length))
    total = np.concatenate([np.zeros((1, *hourly.shape[1:]), dtype=np.int64), np.cumsum(hourly, axis=0, dtype=np.int64)])
    hours = np.arange(len(hourly))
    today = hours // HOURS_A_DAY * HOURS_A_DAY
    start = np.maximum(0, today - days * HOURS_A_DAY)
    end = np.maximum(start, np.minimum(today, hours + 1 - length))
    return np.asarray(total[end] - total[start])
