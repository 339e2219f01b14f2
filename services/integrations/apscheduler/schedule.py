"""APScheduler with a persistent store: calendar appointments survive restarts, and one that was missed during a stop runs once.

APScheduler sleeps until its next appointment and keeps its time: ``follow_clock`` wakes it where the clock was set meanwhile.

A stored job names its function by module and takes strings only, so that any later process can run it.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from flywheel.clock import lies_ahead
from flywheel.retraining.crontab import WEEKDAYS, Crontab, parse_crontab

UNWRITTEN_SECONDS = 5.0
DAMAGED = {11, 26}
"""SQLite's codes: CORRUPT, NOTADB."""
log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Appointment:
    """``crontab`` is in UTC; ``function`` is "module:name"."""

    id: str
    function: str
    arguments: tuple[str, ...]
    crontab: str


@dataclass(frozen=True, kw_only=True)
class PlannedAnew:
    """An appointment whose stored time lay beyond its next one."""

    id: str
    stored: datetime
    planned: datetime


def _lay_aside_if_damaged(store: Path) -> None:
    """It holds times only, which follow from the settings: a new one is made."""
    if not store.exists():
        return
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as database:
            why = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in DAMAGED:
            raise
        why = str(error)
    if why == "ok":
        return
    aside = store.with_suffix(".unreadable")
    store.replace(aside)
    for more in ("-wal", "-shm", "-journal"):
        store.with_name(store.name + more).unlink(missing_ok=True)
    log.warning("The schedule's file is damaged; appointments are planned anew.", action="schedule_anew", aside=str(aside), error=why)


class Schedule:
    """Starts at once. Jobs run one at a time in a thread; without an appointment it sleeps."""

    def __init__(self, store: Path, appointments: Sequence[Appointment], *, on_error: Callable[[BaseException], None]) -> None:
        """Calls ``on_error`` with the error of a job that raised."""
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        store.parent.mkdir(parents=True, exist_ok=True)
        _lay_aside_if_damaged(store)
        jobs = _PatientStore(url=f"sqlite:///{store}")
        self._scheduler = BackgroundScheduler(
            jobstores={"default": jobs},
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )

        def failed(event: JobExecutionEvent) -> None:
            on_error(event.exception)

        self._scheduler.add_listener(failed, EVENT_JOB_ERROR)
        self._scheduler.start(paused=True)
        # By id, without restoring the job: its function may be gone since.
        with jobs.engine.begin() as connection:
            connection.execute(delete(jobs.jobs_t).where(jobs.jobs_t.c.id.not_in([appointment.id for appointment in appointments])))
        for appointment in appointments:
            self._keep(appointment)
        self._scheduler.resume()
        self._is_empty = not appointments

    def follow_clock(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Sequence[PlannedAnew]:
        """Runs what is due by now, and plans anew what a clock that ran ahead has put off: returns these appointments.

        Reads the time after the stored ones: one that has just run is not planned for the same time again.
        """
        if self._is_empty:
            return []
        found = []
        for job in self._scheduler.get_jobs():
            planned = job.trigger.get_next_fire_time(None, clock())
            if planned is not None and job.next_run_time is not None and lies_ahead(job.next_run_time, now=planned):
                found.append(PlannedAnew(id=job.id, stored=job.next_run_time, planned=planned))
                job.modify(next_run_time=planned)
        self._scheduler.wakeup()
        return found

    def overdue(self) -> int:
        """How many appointments were due and have not begun."""
        now = datetime.now(UTC)
        return sum(job.next_run_time is not None and job.next_run_time <= now for job in self._scheduler.get_jobs())

    def stop(self) -> None:
        """Waits until a running job has ended."""
        self._scheduler.shutdown(wait=True)

    def _keep(self, appointment: Appointment) -> None:
        """An unchanged appointment keeps its next run time: replacing it would forget a run that was missed during a stop."""
        trigger = trigger_of(parse_crontab(appointment.crontab))
        kept = self._scheduler.get_job(appointment.id)
        if kept is None or str(kept.trigger) != str(trigger) or kept.args != appointment.arguments or kept.func_ref != appointment.function:
            self._scheduler.add_job(
                appointment.function, trigger=trigger, args=appointment.arguments, id=appointment.id, replace_existing=True
            )


class _PatientStore(SQLAlchemyJobStore):  # type: ignore[misc]
    """A job's next time that cannot be written, as on a full disk, would end APScheduler's thread in silence. Here the job runs again."""

    def update_job(self, job: Any) -> None:
        try:
            super().update_job(job)
        except OperationalError as error:
            log.warning("The schedule cannot be written.", action="schedule_unwritten", job=job.id, error=str(error.orig))
            time.sleep(UNWRITTEN_SECONDS)  # its time is still the old one, so it is due at once


class MissedOnce(BaseTrigger):  # type: ignore[misc]
    """The times of another trigger, of which those that were missed count as one.

    APScheduler goes through them one by one: a year of minutes, after a clock that jumped, takes minutes of CPU time.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self.trigger = trigger

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        after = now if previous_fire_time is None else max(now, previous_fire_time + timedelta(seconds=1))
        found: datetime | None = self.trigger.get_next_fire_time(None, after)
        return found

    def __str__(self) -> str:
        return f"{self.trigger}, missed ones once"


def trigger_of(crontab: Crontab) -> MissedOnce:
    """APScheduler's trigger for the same times.

    It counts weekdays from Monday, hence their names; and it never takes day or weekday, hence two triggers where cron does.
    """
    time = {"minute": _list(crontab.minutes), "hour": _list(crontab.hours), "month": _list(crontab.months), "timezone": "UTC"}
    dates = {"day": _list(crontab.days)}
    weekdays = {"day_of_week": ",".join(WEEKDAYS[day] for day in crontab.weekdays)}
    if crontab.either_day:
        return MissedOnce(OrTrigger([CronTrigger(**time, **dates), CronTrigger(**time, **weekdays)]))
    return MissedOnce(CronTrigger(**time, **dates, **weekdays))


def _list(values: Sequence[int]) -> str:
    return ",".join(str(value) for value in values)
