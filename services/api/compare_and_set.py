"""Reads, decides and saves again, when another process saved the same thing between our reading and our saving."""

from collections.abc import Callable
from typing import TypeVar

from flywheel.errors import Conflict

ATTEMPTS = 5
Saved = TypeVar("Saved")


def until_saved(attempt: Callable[[], Saved | None], *, kind: str, subject: str) -> Saved:
    """What ``attempt`` returns; it reads and decides anew at each call, and returns None when another process saved first.

    Raises Conflict after five attempts.
    """
    for _ in range(ATTEMPTS):
        saved = attempt()
        if saved is not None:
            return saved
    raise Conflict(f"the {kind} keeps changing", where=kind, value=subject, remedy="Look at it and try again.")
