"""Is this the first bad answer that its session got?

In: a row's column values, when its session's first was counted. Out: the same values, and for each rate with a worse side whether this row
is its session's first. A session that refuses once refuses again: eight refusals of one session say little more than one, so that
counting sessions tells a rise from chance with fewer rows than counting answers. Who remembers the sessions is not known here.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from flywheel.plausible import check_moments
from flywheel.traffic.column import Column, FeatureRow
from flywheel.traffic.features import COLUMNS

FORGOTTEN_AFTER = timedelta(hours=24)
"""A session that comes back later begins anew: the longest window is no longer than this."""

_BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}
FIRSTS: Mapping[str, Column] = {column.name: _BY_NAME[column.first_of] for column in COLUMNS if column.first_of}
"""Name of a column of firsts -> the rate that it is of."""


def candidates(row: FeatureRow) -> tuple[str, ...]:
    """The columns of firsts in which this row may count: those whose rate is on its worse side here."""
    return tuple(name for name, rate in FIRSTS.items() if row.get(rate.name) == float(rate.worse == "yes"))


def counts_as_first(*, at: datetime, counted_at: datetime | None) -> bool:
    """``counted_at``: when the session's first was, if one was counted. A row that comes late does not take its place."""
    check_moments("a session's first", at=at, counted_at=at if counted_at is None else counted_at)
    return counted_at is None or abs(at - counted_at) >= FORGOTTEN_AFTER


def with_firsts(row: FeatureRow, first: Collection[str]) -> FeatureRow:
    """``first``: the columns in which it is its session's first. Where the rate has no value, neither has the first."""
    return {**row, **{name: None if row.get(rate.name) is None else float(name in first) for name, rate in FIRSTS.items()}}
