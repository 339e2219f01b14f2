"""Repeats an attempt to read, decide and save, when another process has saved the same object first."""

from collections.abc import Callable
from typing import TypeVar

from flywheel.errors import Conflict

ATTEMPTS = 5
Saved = TypeVar("Saved")


def until_saved(attempt: Callable[[], Saved | None], *, kind: str, subject: str) -> Saved:
    """Calls ``attempt`` until it returns something other than None, and returns that. None means that another process saved first.

    Raises Conflict after five attempts.
    """
    for _ in range(ATTEMPTS):
        saved = attempt()
        if saved is not None:
            return saved
    raise Conflict(
        f"other processes changed this {kind} during each of {ATTEMPTS} attempts",
        where=kind,
        value=subject,
        remedy="Look at its state, then repeat the command.",
    )
