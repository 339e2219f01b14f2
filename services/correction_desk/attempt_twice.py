"""Attempts a decision a second time when it fails unexpectedly, and then gives the correction up, so that none stops those behind it.

In: the attempt, and what makes a second one start anew. Out: its result, or NotDecidable. A failure of the machine (disk, database,
memory) says nothing about the correction: it ends the process, which reads the event again.
"""

from collections.abc import Callable
from typing import TypeVar

import structlog

from flywheel.errors import CannotRun, InvalidInput
from flywheel.traffic.dead_letter import LetterCause
from services.observability.unexpected import place_of

ATTEMPTS = 2
log = structlog.get_logger()
Result = TypeVar("Result")


class NotDecidable(InvalidInput):
    """Deciding failed twice in an unexpected way. The reason has the error's type and place, no text of the correction."""

    cause = LetterCause.FAILED


def attempt_twice(attempt: Callable[[], Result], *, start_anew: Callable[[], None], of_machine: tuple[type[Exception], ...]) -> Result:
    """Raises NotDecidable after the second unexpected failure; InvalidInput and failures of the machine as they are."""
    passed_on: tuple[type[Exception], ...] = (InvalidInput, CannotRun, OSError, MemoryError, *of_machine)
    failed = ""
    for _ in range(ATTEMPTS):
        try:
            return attempt()
        except passed_on:
            raise
        except Exception as error:  # noqa: BLE001 (any other type: a fault of ours, which must not stop what stands behind this correction)
            failed = f"{type(error).__name__} at {place_of(error)}"
            log.warning(f"A correction could not be decided: {failed}", action="correction_failed")
            start_anew()
    raise NotDecidable(f"it cannot be decided: {failed}", where="$", remedy="Report it; the event is a dead letter: flywheel dlq list.")
