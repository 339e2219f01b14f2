"""``python -m services.retrain_scheduler``: considers retraining regularly and by calendar, and serves requests."""

import sys
from datetime import datetime

from flywheel.progress import Flow
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowMark, FlowWatch
from services.process.start_stop import Start, main
from services.retrain_scheduler.check_regularly import RetrainScheduler, tell_planned_anew
from services.retrain_scheduler.jobs import ENDING
from services.retrain_scheduler.wiring import calendar_schedule, check_interval, ledger_changes, scheduler_parts

PROCESS = "retrain_scheduler"
PACE_SECONDS = 120.0  # an appointment begins within this
EVERY_SECONDS = 5.0  # for requests whose lease has run out; a new one wakes the loop at once


def run(start: Start) -> None:
    """Ends when an appointment of the calendar fails: the restart considers again."""
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        start.stop.set()

    interval = check_interval(start.settings)
    parts = scheduler_parts(start.settings)
    scheduler = RetrainScheduler(parts, check_every=interval)
    appointments = calendar_schedule(start.settings, start.config, on_error=failed)
    flow = Flow(name="schedule", pace_seconds=PACE_SECONDS, remedy="See the retrain scheduler's log; what was missed runs once then.")
    watch = FlowWatch(PROCESS, [FlowMark(flow, waiting=appointments.overdue)], journal=lambda: parts.journal)
    health = serve_health(start.settings, PROCESS, ready=lambda: None, hosted=start.hosted, watch=watch)
    watch.start()

    def step(now: datetime) -> None:
        tell_planned_anew(parts, appointments.follow_clock(), now=now)
        scheduler.tick(now)

    try:
        run_loop(
            process=PROCESS,
            step=step,
            every_seconds=min(EVERY_SECONDS, interval.total_seconds()),
            stop=start.stop,
            changed=ledger_changes(start.settings),
            watch=watch,
        )
    finally:
        watch.close()
        ENDING.set()
        appointments.stop()
        health.close()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))
