"""The loop of a process that does one leased item of the work queue at a time: take, extend, end, give back.

Safe to kill at any moment: the lease runs out, and the item is taken again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

import structlog

from services.ports.work_queue import AnyCommand, WorkItem, WorkQueue

HOLD = timedelta(seconds=30)
EXTEND_EVERY = timedelta(seconds=5)
BUSY_SECONDS = 0.5  # between two checks of a running job

log = structlog.get_logger()


class Job(Protocol):
    """The running job of an item: a thread or a process."""

    @property
    def running(self) -> bool: ...

    def stop(self) -> None:
        """Ends it, where it can be ended."""


J = TypeVar("J", bound=Job)


@dataclass(kw_only=True)
class LeasedJob(Generic[AnyCommand, J]):
    """The item in hand and its job."""

    item: WorkItem[AnyCommand]
    job: J
    extended_at: datetime  # when the lease was extended last


class LeaseLoop(Generic[AnyCommand, J]):
    """``begin`` starts the job of an item, or settles the item and returns None; ``end`` settles the item of a job that has ended."""

    def __init__(
        self,
        *,
        work: WorkQueue,
        command: type[AnyCommand],
        worker: str,
        begin: Callable[[WorkItem[AnyCommand], datetime], J | None],
        end: Callable[[WorkItem[AnyCommand], J, datetime], None],
    ) -> None:
        self._work = work
        self._command: type[AnyCommand] = command
        self._worker = worker
        self._begin: Callable[[WorkItem[AnyCommand], datetime], J | None] = begin
        self._end: Callable[[WorkItem[AnyCommand], J, datetime], None] = end
        self._current: LeasedJob[AnyCommand, J] | None = None

    @property
    def job(self) -> J | None:
        """The job under way."""
        return self._current.job if self._current is not None else None

    def tick(self, now: datetime) -> float | None:
        """Takes an item, extends its lease, or ends it. Returns the seconds until the next check of a running job."""
        current = self._current
        if current is None:
            self._current = self._take(now)
        elif not current.job.running:
            self._current = None
            self._end(current.item, current.job, now)
        elif not current.extended_at <= now < current.extended_at + EXTEND_EVERY:  # at once after a clock was set back
            self._extend(current, now)
        return None if self._current is None else BUSY_SECONDS

    def stop(self, now: datetime) -> None:
        """Ends the job and gives its item back, so that a restarted worker goes on at once."""
        if self._current is not None:
            self._current.job.stop()
            self._work.extend(self._current.item.id, worker=self._worker, now=now, hold=-HOLD)
            self._current = None

    def _take(self, now: datetime) -> LeasedJob[AnyCommand, J] | None:
        item = self._work.lease(self._command, worker=self._worker, now=now, hold=HOLD)
        job = self._begin(item, now) if item is not None else None
        return LeasedJob(item=item, job=job, extended_at=now) if item is not None and job is not None else None

    def _extend(self, current: LeasedJob[AnyCommand, J], now: datetime) -> None:
        if self._work.extend(current.item.id, worker=self._worker, now=now, hold=HOLD):
            current.extended_at = now
            return
        log.warning("Another worker has taken this item.", action="lease_lost", command=self._command.kind, item=current.item.id)
        current.job.stop()
        self._current = None
