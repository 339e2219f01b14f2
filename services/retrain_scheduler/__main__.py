"""``python -m services.retrain_scheduler``: considers retraining regularly and by calendar, and serves requests."""

import argparse
import sys
from pathlib import Path

from flywheel.errors import FlywheelError
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port
from services.retrain_scheduler.check_regularly import RetrainScheduler
from services.retrain_scheduler.wiring import calendar_schedule, check_interval, scheduler_parts
from services.settings import load

PROCESS = "retrain_scheduler"
EVERY_SECONDS = 1.0


def main() -> int:
    """Runs until SIGTERM, or until an appointment of the calendar fails: the restart considers again."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{PROCESS}")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    stop = stop_event()
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    try:
        settings = load(arguments.config)
        configure_logging(settings.log_level)
        scheduler = RetrainScheduler(scheduler_parts(settings), check_every=check_interval(settings))
        serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: None)
        appointments = calendar_schedule(settings, arguments.config, on_error=failed)
        try:
            run_loop(process=PROCESS, step=scheduler.tick, every_seconds=EVERY_SECONDS, stop=stop)
        finally:
            appointments.stop()
        if failures:
            raise failures[0]
    except FlywheelError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
