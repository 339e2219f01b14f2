"""Which stored moments are believed: the wall clock may have been set back since they were stored.

In: a moment that was stored, the time. Out: whether it counts. One rule for leases, waits, appointments and marks of progress: a moment
that lies further ahead than clocks differ was stored by a clock that ran ahead. Nothing waits until that moment comes.
"""

from datetime import datetime, timedelta

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""Two machines' clocks may differ by so much before one of them counts as wrong."""


def lies_ahead(stored: datetime, *, now: datetime) -> bool:
    """True for a moment that a right clock cannot have stored yet."""
    return stored - now > CLOCKS_DIFFER_BY


def has_passed(wait: timedelta, *, since: datetime, now: datetime) -> bool:
    """Whether the wait is over. A wait that began in the future is: it would last as long as the clock was ahead."""
    return now - since >= wait or lies_ahead(since, now=now)
