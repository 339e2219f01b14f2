"""One step of the retrain scheduler: serves requests, and considers each workload every ``check_seconds``.

Every decision that a trigger looks at writes a line to the journal. While the journal's newest line stays the same, a check costs
one query; every tenth check considers anyway, because time alone ends a cool-down.
"""

from datetime import datetime, timedelta

import structlog

from flywheel.errors import FlywheelError
from services.retrain_scheduler.consider_retraining import consider_retraining, serve_requests
from services.retrain_scheduler.wiring import SchedulerParts

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
        if self._checked_at is not None and now - self._checked_at < self._check_every:
            return
        self._checked_at = now
        newest = self._newest_line()  # read before considering: a line that comes meanwhile is news for the next check
        if self._considered_at is not None and newest == self._seen and now - self._considered_at < CHECKS_WITHOUT_NEWS * self._check_every:
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
