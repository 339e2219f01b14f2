"""The loop of a process that waits: one step now and then, and one as soon as the databases have changed."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from services.observability import LAST_STEP, STEPS
from services.process.progress import FlowWatch
from services.process.wait_for_disk import RETRY_SECONDS

LOOK_SECONDS = 0.5  # between two looks whether a database has changed
LEAST_SECONDS = 0.5  # between the beginnings of two steps, however much changes

Step = Callable[[datetime], float | None]
"""Takes the time. Returns the seconds after which the next step is due, where that is sooner than the loop's own interval."""
Changed = Callable[[], bool]
"""Whether the databases have changed since the last call."""


def run_loop(
    *,
    process: str,
    step: Step,
    every_seconds: float,
    stop: threading.Event,
    changed: Changed | None = None,
    least_seconds: float = LEAST_SECONDS,
    watch: FlowWatch | None = None,
) -> None:
    """Until ``stop``. A commit during a step leads to another step. An unexpected error ends the process: its restart reads again.

    With ``watch``, a disk that cannot be written ends nothing: the step is done again until it can.
    """
    structlog.contextvars.bind_contextvars(process=process)
    mark = watch.add_loop(f"steps of {process}", every_seconds=every_seconds) if watch is not None else None
    while not stop.is_set():
        began = time.monotonic()
        if changed is not None:
            changed()  # from here on: what is committed while the step reads must not be missed
        try:
            soon = step(datetime.now(UTC))
        except BaseException as error:
            STEPS.labels(process, "failed").inc()
            if watch is None or not watch.disk.waits_for(error, by=process):
                raise
            stop.wait(RETRY_SECONDS)
            continue
        STEPS.labels(process, "done").inc()
        if watch is not None and mark is not None:
            mark.moved()
            watch.disk.is_over(by=process)
        LAST_STEP.labels(process).set_to_current_time()
        longest = every_seconds if soon is None else min(soon, every_seconds)
        _wait(began=began, longest=longest, shortest=min(least_seconds, longest), stop=stop, changed=changed)


def _wait(*, began: float, longest: float, shortest: float, stop: threading.Event, changed: Changed | None) -> None:
    """Until ``longest`` seconds after ``began`` (of the monotonic clock); after a change, until ``shortest`` seconds after it."""
    news = False
    while not stop.is_set():
        left = began + (shortest if news else longest) - time.monotonic()
        if left <= 0:
            return
        stop.wait(left if changed is None or news else min(left, LOOK_SECONDS))
        news = news or (changed is not None and changed())
