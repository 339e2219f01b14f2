"""Watches the work on each correction: notes it before the work, and gives it a budget of CPU time.

In: the name of an event or of a correction that waits. Out: the work may begin, or Deadly. A death of the process at a work that is not
known for it may have had another cause: the work is then noted as alone, and two more deaths give it up, as in the recorder.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from flywheel.traffic.caution import DEADLY, Caution, NotedWork, caution_after
from flywheel.traffic.dead_letter import LetterCause
from services.correction_desk.attempt_twice import NotDecidable
from services.correction_desk.wiring import WorkNotes
from services.process import cpu_budget

log = structlog.get_logger()


class Deadly(NotDecidable):
    """Processes died, or used up their CPU time, while they had only this in work."""

    cause = LetterCause.DEADLY


class WatchedWork:
    """Of one process, one work at a time."""

    def __init__(self, notes: WorkNotes) -> None:
        self._notes, self._process = notes, f"{os.getpid()}-{time.time_ns()}"

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Ends the process if the work takes too much CPU time. Raises Deadly without the work."""
        place = (f"correction {name}", 0)
        caution = caution_after(self._notes.noted(place), topic_id=name, offset=0, process=self._process)
        if caution.deaths >= DEADLY:
            self._notes.forget(place)  # a person may retry it
            log.error("A correction that ended its process again and again is given up", action="deadly_event", deaths=caution.deaths)
            raise Deadly(
                f"{caution.deaths} processes died, or used over {cpu_budget.EVENT_CPU_SECONDS:g} s of CPU time, "
                "while they had only this correction in work",
                where="$",
                remedy="Report it; the event is a dead letter: flywheel dlq list.",
            )
        self._notes.note(place, self._noted(name, caution))
        cpu_budget.allow(cpu_budget.EVENT_CPU_SECONDS)
        try:
            yield
        finally:
            cpu_budget.allow(0.0)
            self._notes.forget(place)

    def _noted(self, name: str, caution: Caution) -> NotedWork:
        return NotedWork(topic_id=name, process=self._process, first=0, until=1, alone=caution.until > 0, deaths=caution.deaths)
