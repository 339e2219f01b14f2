"""What a moment, a number, a text and a list of names must be before anything is decided by them.

In: a value, and where it stands. Out: nothing, or InvalidInput that says which value does not fit. What values mean is not known here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import cast

from flywheel.errors import InvalidInput

MOST = 2**53
"""Counts above it are not told apart by a double."""
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)  # windows, drains and watch periods still fit beside them
CLOCKS = "Set the clocks of the hosts by NTP, and give times with their zone."


def check_moment(moment: object, *, where: str, said: str = "time") -> None:
    """It has a time zone and lies inside the calendar."""
    if not isinstance(moment, datetime):
        raise InvalidInput(f"the {said} is not a date with a time", where=where, value=shown(moment), remedy="Give a time in UTC.")
    if moment.utcoffset() is None:
        remedy = "A time without a zone may be any of many: give times with their zone."
        raise InvalidInput(f"the {said} has no time zone", where=where, value=moment.isoformat(), remedy=remedy)
    if not FIRST <= moment <= LAST:
        raise InvalidInput(f"the {said} lies outside of the calendar", where=where, value=moment.isoformat(), remedy=CLOCKS)


def check_moments(where: str, **moments: datetime | None) -> None:
    """Each by its name; None is no moment."""
    for said, moment in moments.items():
        if moment is not None:
            check_moment(moment, where=where, said=said)


def check_whole(value: object, *, where: str, least: int = 0, most: int = MOST) -> None:
    """True and 3.0 are no whole numbers here."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        reason = f"must be a whole number from {least} to {most}" + (", never negative" if least == 0 else "")
        raise InvalidInput(reason, where=where, value=shown(value), remedy="Correct this value at its source.")


def check_number(
    value: object,
    *,
    where: str,
    least: float = 0.0,
    above: float | None = None,
    most: float = float(MOST),
    below: float | None = None,
    said: str = "",
    remedy: str = "Correct this value at its source.",
) -> None:
    """Finite, from ``least`` (or really above ``above``) to ``most`` (or really below ``below``). ``said`` stands for our own sentence."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = cast(float, value)  # compared as it is: a whole number may be too large for a double
        if (number > above if above is not None else number >= least) and (number < below if below is not None else number <= most):
            return
    low = f"from {least:g}" if above is None else f"above {above:g}"
    high = f"up to {most:g}" if below is None else f"below {below:g}"
    raise InvalidInput(said or f"must be a number {low} and {high}", where=where, value=shown(value), remedy=remedy)


def check_text(value: object, *, where: str, empty: bool = False) -> None:
    """A text that UTF-8 can hold: half of a surrogate pair can be neither hashed nor stored."""
    if not isinstance(value, str) or not (value or empty):
        remedy = "Give text." if empty else "Give it a name."
        raise InvalidInput("must be a text", where=where, value=shown(value), remedy=remedy)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                "holds half of a surrogate pair, which is no character",
                where=where,
                value=ascii(value),
                remedy="Decode the text as UTF-8 where it comes in.",
            ) from error


def check_names(values: object, *, where: str) -> None:
    """A sequence of texts, each once; one text is not a sequence of its letters."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise InvalidInput("must be a list of names", where=where, value=shown(values), remedy="Give a list, also of one name.")
    for value in values:
        if type(value) is not str or not value or not value.isascii():
            check_text(value, where=where)
    if len(set(values)) < len(values):
        raise InvalidInput("a name stands there twice", where=where, value=tuple(values), remedy="Give each name once.")


def shown(value: object) -> object:
    """For a message: Python refuses to print a number of thousands of digits, and an error of None would show no value at all."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return "None" if value is None else value
