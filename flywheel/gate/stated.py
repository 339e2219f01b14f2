"""What an alpha, a margin, a pair of counts and the answers of an arm must be before a gate or a guard decides by them.

In: a value from outside and where it stood. Out: nothing, or InvalidInput that names it. What follows from it is not decided here.
"""

from collections.abc import Collection
from contextlib import suppress

from flywheel.errors import InvalidInput
from flywheel.plausible import check_number, check_text, check_wholes, shown

LEAST_MARGIN = 1e-6
"""Below it no number of items that can be counted shows anything."""


def paired_counts(*, n: int, wins: int, losses: int) -> None:
    """InvalidInput for a count that is none, and for more differing items than items."""
    check_wholes(where="gate", n=n, wins=wins, losses=losses)
    if wins + losses > n:
        raise InvalidInput("more differing items than items", where="gate.pair", value=f"{wins}+{losses} of {n}", remedy="Count again.")


def chance_of_error(alpha: object, *, where: str, below: float = 1.0) -> None:
    """An alpha."""
    said = f"alpha must be between 0 and {below:g}"
    check_number(alpha, where=where, above=0, below=below, said=said, remedy="The standard is 0.025 or 0.01.")


def share_lost(margin: object, *, where: str) -> None:
    """A margin."""
    check_number(margin, where=where, above=0, below=1, said="a margin is a share between 0 and 1", remedy="5 points are 0.05.")
    said = "no number of items shows a margin as small"
    check_number(margin, where=where, least=LEAST_MARGIN, said=said, remedy="5 points are 0.05.")


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
            raise InvalidInput(f"{said} (item {at})", where=where, value=shown(value), remedy=remedy)


def entities_named(entities: Collection[str]) -> None:
    """Every entity is text."""
    for entity in entities if any(type(one) is not str for one in entities) else set(entities):
        check_text(entity, where="gate.entity", empty=True)
