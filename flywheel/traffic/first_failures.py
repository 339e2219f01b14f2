"""Is this the first failure of its session that day?

In: a row's column values and time, the columns in which it is its session's first failure. Out: the same values, and for each rate with
a worse side whether this row is the first. Days are those of the calendar (UTC), so that counts do not depend on the order of arrival.
A session that refuses once refuses again: eight refusals of one session say little more than one, so counting sessions tells a rise
from chance with fewer rows than counting answers. Which sessions have failed already is remembered by the store, not here.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from flywheel.traffic.column import Column, FeatureRow
from flywheel.traffic.features import COLUMNS

_BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}
FIRST_FAILURES: Mapping[str, Column] = {column.name: _BY_NAME[column.first_of] for column in COLUMNS if column.first_of}
"""Name of a column of first failures -> the rate whose failures it counts."""


def candidates(row: FeatureRow) -> tuple[str, ...]:
    """The columns of first failures in which this row may count: those whose rate is on its worse side here."""
    return tuple(name for name, rate in FIRST_FAILURES.items() if row.get(rate.name) == float(rate.worse == "yes"))


def day_of(at: datetime) -> str:
    """The day (UTC) in which a session counts once, as 2026-01-31."""
    return at.astimezone(UTC).date().isoformat()


def with_first_failures(row: FeatureRow, first: Collection[str]) -> FeatureRow:
    """``first``: the columns in which the row is its session's first failure. Missing where the rate itself is missing."""
    return {**row, **{name: None if row.get(rate.name) is None else float(name in first) for name, rate in FIRST_FAILURES.items()}}
