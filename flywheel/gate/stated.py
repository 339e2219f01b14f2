"""What a number must be before anything is decided by it.

In: a value from outside and where it stood. Out: nothing, or InvalidInput that names it. What follows from it is not decided here.
"""

from collections.abc import Collection
from contextlib import suppress
from numbers import Integral, Real
from typing import cast

from flywheel.errors import InvalidInput

MOST = 1 << 53
"""Counts beyond it are not told apart by a double."""
LEAST_MARGIN = 1e-6
"""Below it no number of items up to ``MOST`` shows anything."""


def whole(*, where: str, least: int = 0, **counts: object) -> None:
    """Counts are whole numbers from ``least``; True and 3.0 are none."""
    for name, value in counts.items():
        at = f"{where}.{name}"
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InvalidInput("a count is not a whole number", where=at, value=_shown(value), remedy="Count again.")
        if int(value) < least:
            reason = "a count is negative" if int(value) < 0 else f"must be a whole number from {least}"
            raise InvalidInput(reason, where=at, value=_shown(value), remedy="Count again.")
        if int(value) > MOST:
            raise InvalidInput("a count is beyond all counting", where=at, value=f"over {MOST}", remedy="Count again.")


def paired_counts(*, n: int, wins: int, losses: int) -> None:
    """InvalidInput for a count that is none, and for more differing items than items."""
    whole(where="gate", n=n, wins=wins, losses=losses)
    if wins + losses > n:
        raise InvalidInput("more differing items than items", where="gate.pair", value=f"{wins}+{losses} of {n}", remedy="Count again.")


def between(value: object, low: float, high: float, *, where: str, said: str, remedy: str, ends: bool = False) -> None:
    """A finite number between ``low`` and ``high``; those two themselves only with ``ends``."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = cast(float, value)  # compared as it is: a whole number may be too large for a double
        if low <= number <= high if ends else low < number < high:
            return
    raise InvalidInput(said, where=where, value=_shown(value), remedy=remedy)


def chance_of_error(alpha: object, *, where: str, below: float = 1.0) -> None:
    """An alpha."""
    between(alpha, 0, below, where=where, said=f"alpha must be between 0 and {below:g}", remedy="The standard is 0.025 or 0.01.")


def share_lost(margin: object, *, where: str) -> None:
    """A margin."""
    between(margin, 0, 1, where=where, said="a margin is a share between 0 and 1", remedy="5 points are 0.05.")
    between(margin, LEAST_MARGIN, 1, where=where, said="no number of items shows a margin as small", remedy="5 points are 0.05.", ends=True)


def only(values: Collection[object], allowed: Collection[object], *, where: str, said: str, remedy: str) -> None:
    """Every value is one of these; the first that is not is named by its place."""
    kept = frozenset(allowed)
    with suppress(TypeError):  # the usual case, at once
        if kept.issuperset(values):
            return
    for at, value in enumerate(values):
        try:
            known = value in kept
        except TypeError:  # a list is no answer either
            known = False
        if not known:
            raise InvalidInput(f"{said} (item {at})", where=where, value=_shown(value), remedy=remedy)


def text(*, where: str, **texts: object) -> None:
    """Text that can be written down: a half of a surrogate pair cannot."""
    for name, value in texts.items():
        if not isinstance(value, str):
            raise InvalidInput("must be text", where=f"{where}.{name}", value=_shown(value), remedy="Give text.")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InvalidInput("holds half a letter", where=f"{where}.{name}", value=ascii(value), remedy="Give text in UTF-8.")


def entities_named(entities: Collection[str]) -> None:
    """Every entity is text."""
    for entity in entities if any(type(one) is not str for one in entities) else set(entities):
        text(where="gate", entity=entity)


def _shown(value: object) -> object:
    """Python refuses to print a number of many digits, which must not stand in for what is wrong with it."""
    return f"a number of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 200 else value
