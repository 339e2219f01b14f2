"""APScheduler with a persistent store: when a retraining is considered survives restarts, and a calendar run that fell into a
stop is made up for once.

A stored job names its function by module and takes strings only, so that any later process can run it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from flywheel.errors import InvalidSettings


@dataclass(frozen=True, kw_only=True)
class Appointment:
    """``every`` or ``crontab`` (UTC); ``function`` is "module:name"."""

    id: str
    function: str
    arguments: tuple[str, ...]
    every: timedelta | None = None
    crontab: str | None = None


class Schedule:
    """Started at once; jobs run one at a time in a thread."""

    def __init__(self, store: Path, appointments: Sequence[Appointment], *, on_error: Callable[[BaseException], None]) -> None:
        """``on_error`` is told of a job that raised: the process decides what that means."""
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        store.parent.mkdir(parents=True, exist_ok=True)
        self._scheduler = BackgroundScheduler(
            jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{store}")},
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )

        def failed(event: JobExecutionEvent) -> None:
            on_error(event.exception)

        self._scheduler.add_listener(failed, EVENT_JOB_ERROR)
        self._scheduler.start(paused=True)
        for job in self._scheduler.get_jobs():
            if job.id not in {appointment.id for appointment in appointments}:
                job.remove()
        for appointment in appointments:
            self._keep(appointment)
        self._scheduler.resume()

    def stop(self) -> None:
        """Lets a job in the middle of its work end."""
        self._scheduler.shutdown(wait=True)

    def _keep(self, appointment: Appointment) -> None:
        """An unchanged one keeps its next run time: replacing it would forget a run that fell into a stop."""
        trigger = _trigger(appointment)
        kept = self._scheduler.get_job(appointment.id)
        if kept is None or str(kept.trigger) != str(trigger) or kept.args != appointment.arguments or kept.func_ref != appointment.function:
            self._scheduler.add_job(
                appointment.function, trigger=trigger, args=appointment.arguments, id=appointment.id, replace_existing=True
            )


def _trigger(appointment: Appointment) -> IntervalTrigger | CronTrigger:
    if appointment.every is not None:
        return IntervalTrigger(seconds=appointment.every.total_seconds(), timezone="UTC")
    try:
        return CronTrigger.from_crontab(appointment.crontab, timezone="UTC")
    except ValueError as error:
        raise InvalidSettings(
            f"is not a crontab line: {error}",
            where=f"{appointment.id}: trigger.calendar",
            value=appointment.crontab,
            remedy="Example: 0 3 * * 1",
        ) from error
