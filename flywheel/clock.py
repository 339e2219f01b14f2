"""Stored times that lie in the future, because a clock was ahead when they were stored and has been set back since.

In: a stored time, and the time now. Out: whether the stored time counts. A time that lies over ``CLOCKS_DIFFER_BY`` in the future does not:
nothing waits until it comes.
"""

from datetime import datetime, timedelta

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""The largest difference between two machines' clocks that is accepted."""


def lies_ahead(stored: datetime, *, now: datetime) -> bool:
    """True for a time over ``CLOCKS_DIFFER_BY`` after ``now``. Of a deadline, give the latest possible time as ``now``."""
    return stored - now > CLOCKS_DIFFER_BY


def has_passed(wait: timedelta, *, since: datetime, now: datetime) -> bool:
    """Whether the wait is over. One that began in the future is over too: else it would last as long as the clock was ahead."""
    return now - since >= wait or lies_ahead(since, now=now)
