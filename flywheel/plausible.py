"""What a number from outside must be before anything is decided by it.

In: a value, and where it stands. Out: nothing, or InvalidInput that says which value does not fit. What values mean is not known here.
"""

from numbers import Integral, Real
from typing import cast

from flywheel.errors import InvalidInput

MOST = 2**53
"""Counts above it are not told apart by a double."""


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


def shown(value: object) -> object:
    """For a message: Python refuses to print a number of thousands of digits, and an error of None would show no value at all."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return "None" if value is None else value
