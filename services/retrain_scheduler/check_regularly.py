"""One step of the retrain scheduler: serves requests, and considers each workload every ``check_seconds``.

Every decision that a trigger looks at writes a line to the journal. While the journal's newest line stays the same, a check costs
one query; every tenth check considers anyway, because time alone ends a cool-down.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from flywheel.clock import has_passed
from flywheel.errors import FlywheelError
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.retrain_scheduler.consider_retraining import consider_retraining, serve_requests
from services.retrain_scheduler.wiring import PlannedAnew, SchedulerParts

CHECKS_WITHOUT_NEWS = 10
log = structlog.get_logger("retrain_scheduler")


class RetrainScheduler:
    """``tick`` is called every few seconds, by one thread."""

    def __init__(self, parts: SchedulerParts, *, check_every: timedelta) -> None:
        self._parts, self._check_every = parts, check_every
        self._checked_at: datetime | None = None
        self._considered_at: datetime | None = None
        self._seen = ""  # the journal's newest line when workloads were considered last

    def tick(self, now: datetime) -> None:
        serve_requests(self._parts, now)
        if self._checked_at is not None and not has_passed(self._check_every, since=self._checked_at, now=now):
            return
        self._checked_at = now
        newest = self._newest_line()  # read before considering: a line that comes meanwhile is news for the next check
        is_soon = self._considered_at is not None and not has_passed(
            CHECKS_WITHOUT_NEWS * self._check_every, since=self._considered_at, now=now
        )
        if newest == self._seen and is_soon:
            return
        self._considered_at, self._seen = now, newest
        for workload in self._parts.workloads.values():
            try:
                consider_retraining(workload=workload, parts=self._parts, now=now)
            except FlywheelError as error:  # a person can put it right; the other workloads go on
                log.error(str(error), action="workload_not_considered", workload=workload.id)

    def _newest_line(self) -> str:
        lines = self._parts.journal.entries(limit=1)
        return lines[-1].id if lines else ""


def tell_planned_anew(parts: SchedulerParts, found: Sequence[PlannedAnew], *, now: datetime) -> None:
    """Once for each appointment that a clock that ran ahead had put off."""
    for one in found:
        told = f"its time lay in the future, {one.stored.isoformat()}: a clock ran ahead. It is planned for {one.planned.isoformat()}"
        log.warning(f"The appointment {one.id} is planned anew: {told}", action="appointment_planned_anew")
        line = JournalEntry(
            at=now,
            workload=WorkloadId(""),
            kind=JournalKind.TRIGGER,
            subject=one.id,
            state="planned_anew",
            reason=told,
            evidence={"stored": one.stored.isoformat(), "planned": one.planned.isoformat()},
        )
        parts.journal.append(line)
