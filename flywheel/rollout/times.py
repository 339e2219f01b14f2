"""Times that can be compared: with a zone, and within what a record can bear.

In: a time from outside and where it stood. Out: nothing, or InvalidInput. What is late and what is early is not decided here.
"""

from datetime import datetime, timedelta

from flywheel.errors import InvalidInput

FIRST_YEAR, LAST_YEAR = 1970, 8999
"""Beyond it a policy's time could not be added."""
LONGEST = timedelta(days=3_650)
"""Longer than any step, watch period or drain that is meant."""


def told(moment: object, *, where: str) -> None:
    """InvalidInput for what is no time, has no zone or cannot be."""
    if not isinstance(moment, datetime):
        raise InvalidInput("not a time", where=where, value=moment, remedy="Give a time in UTC.")
    if moment.utcoffset() is None:
        raise InvalidInput("a time without a zone", where=where, value=moment.isoformat(), remedy="Use UTC.")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidInput("a time that cannot be", where=where, value=moment.isoformat(), remedy="Set the clock that told it.")


def lasts(duration: object, *, where: str) -> None:
    """InvalidInput for what is no duration, is negative or longer than ten years."""
    if not isinstance(duration, timedelta) or not timedelta(0) <= duration <= LONGEST:
        raise InvalidInput("must last from no time to ten years", where=where, value=duration, remedy="Give hours or minutes.")
