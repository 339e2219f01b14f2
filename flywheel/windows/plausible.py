"""What a moment, a number, a name and an array of counts must be before anything is computed with them.

In: a value, and where it stands. Out: nothing, or InvalidInput that says which value does not fit. What values mean is not known here.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite, nan
from numbers import Integral

import numpy as np

from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column, Measure

MOST_ROWS = 2**53  # above it a float does not tell one row from the next
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)  # the longest window still fits beside them
CLOCKS = "Set the clocks of the hosts by NTP, and give times with their zone."


def check_moments(where: str, **moments: datetime | None) -> None:
    """Each has a time zone and lies inside the calendar; None is no moment."""
    for said, moment in moments.items():
        if moment is None:
            continue
        if moment.utcoffset() is None:
            raise InvalidInput(f"the {said} has no time zone", where=where, value=moment.isoformat(), remedy="Give times with their zone.")
        if not FIRST <= moment <= LAST:
            raise InvalidInput(f"the {said} lies outside of the calendar", where=where, value=moment.isoformat(), remedy=CLOCKS)


def check_whole(value: object, *, where: str, least: int = 0, most: int = MOST_ROWS) -> None:
    """True is no number here."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InvalidInput(
            f"must be a whole number from {least} to {most}", where=where, value=_shown(value), remedy="Correct this value at its source."
        )


def check_number(value: object, *, where: str, above: float | None = None, least: float = 0.0, most: float = float(MOST_ROWS)) -> None:
    """Finite, from ``least`` (or really above ``above``) to ``most``."""
    number = value if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) else nan
    if not least <= number <= most or (above is not None and not number > above):
        low = f"from {least:g}" if above is None else f"above {above:g}"
        raise InvalidInput(
            f"must be a number {low} and up to {most:g}", where=where, value=_shown(value), remedy="Correct this value at its source."
        )


def check_text(value: object, *, where: str, empty: bool = False) -> None:
    """A text that UTF-8 can hold: half of a surrogate pair can be neither hashed nor stored."""
    if not isinstance(value, str) or not (value or empty):
        raise InvalidInput("must be a text", where=where, value=_shown(value), remedy="Give it a name.")
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
        raise InvalidInput("must be a list of names", where=where, value=_shown(values), remedy="Give a list, also of one name.")
    for value in values:
        if type(value) is not str or not value or not value.isascii():
            check_text(value, where=where)
    if len(set(values)) < len(values):
        raise InvalidInput("a name stands there twice", where=where, value=tuple(values), remedy="Give each name once.")


def check_rows(rows: Mapping[str, int], *, where: str) -> None:
    """Of each slice: a name, and a whole number of rows."""
    for name, value in rows.items():
        if type(name) is not str or not name.isascii():
            check_text(name, where=f"{where}, slice {name!a}")
        if type(value) is not int or not 0 <= value <= MOST_ROWS:
            if isinstance(value, float | np.floating) and isfinite(value) and value == int(value):
                value = int(value)  # JSON has but one kind of number
            check_whole(value, where=f"{where}, rows of slice {name!a}")


def check_counts(values: object, *, where: str, dimensions: int = 1) -> None:
    """An array of so many dimensions or more, of whole numbers, with one bin at least. Looks at the array twice, never at its elements."""
    if not isinstance(values, np.ndarray) or values.ndim < dimensions or values.dtype.kind not in "iu":
        raise InvalidInput(
            "counts must be whole numbers in an array",
            where=where,
            value=f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__,
            remedy="Hand in an array of integers, bins on the last axis.",
        )
    if values.size and values.min() < 0:
        raise InvalidInput("a count is negative", where=where, value=int(values.min()), remedy="Count the pane again.")
    if values.size and values.max() > MOST_ROWS:
        raise InvalidInput(
            f"a count is above {MOST_ROWS}, where numbers no longer tell rows apart",
            where=where,
            value=int(values.max()),
            remedy="Count the pane again.",
        )


def check_columns(columns: Sequence[Column], *, where: str) -> None:
    """Each name once, lines that rise, a rate of no and yes."""
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise InvalidInput("a column stands there twice", where=where, value=tuple(names), remedy="Give each column once.")
    for column in columns:
        rises = all(low < high for low, high in pairwise(column.lines)) and all(map(isfinite, column.lines[:1] + column.lines[-1:]))
        if column.measure is Measure.NUMBER and not rises:
            raise InvalidInput(
                "the grid lines do not rise",
                where=f"{where}, column {column.name}",
                value=column.lines,
                remedy="Give finite lines in ascending order, each once.",
            )
        if column.measure is Measure.RATE and (column.names != ("no", "yes") or column.worse not in ("", *column.names)):
            raise InvalidInput(
                'a rate is of "no" and "yes", and one of them or neither is worse',
                where=f"{where}, column {column.name}",
                value=(column.names, column.worse),
                remedy="Correct the column.",
            )


def _shown(value: object) -> object:
    """Python refuses to write out whole numbers of thousands of digits."""
    if isinstance(value, int) and abs(value) > 2**64:
        return f"a whole number of {value.bit_length()} bits"
    return "None" if value is None else value
