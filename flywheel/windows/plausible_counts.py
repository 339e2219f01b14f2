"""What rows of slices, arrays of counts and columns must be before anything is counted with them.

In: a value, and where it stands. Out: nothing, or InvalidInput that says which value does not fit. What counts mean is not known here.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite

import numpy as np

from flywheel.errors import InvalidInput
from flywheel.plausible import MOST, check_text, check_whole
from flywheel.traffic.column import Column, Measure


def check_rows(rows: Mapping[str, int], *, where: str) -> None:
    """Of each slice: a name, and a whole number of rows."""
    for name, value in rows.items():
        if type(name) is not str or not name.isascii():
            check_text(name, where=f"{where}, slice {name!a}")
        if type(value) is not int or not 0 <= value <= MOST:
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
    if values.size and values.max() > MOST:
        raise InvalidInput(
            f"a count is above {MOST}, where numbers no longer tell rows apart",
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
        if column.first_of and (column.measure is not Measure.RATE or column.worse != "yes"):
            raise InvalidInput(
                'what counts firsts is a rate of which "yes" is worse',
                where=f"{where}, column {column.name}",
                value=(column.measure, column.worse),
                remedy="Correct the column.",
            )
