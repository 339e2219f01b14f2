"""``python -m services.retrain_scheduler``: looks on a persistent schedule whether it is time to retrain, and serves requests."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from flywheel.errors import FlywheelError
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port
from services.retrain_scheduler.consider_retraining import serve_requests
from services.retrain_scheduler.wiring import schedule, scheduler_parts
from services.settings import load

PROCESS = "retrain_scheduler"
EVERY_SECONDS = 1.0


def main() -> int:
    """Until SIGTERM, or until a scheduled look fails: the restart looks again."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{PROCESS}")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    stop = stop_event()
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    def step(now: datetime) -> None:
        serve_requests(parts, now)

    try:
        settings = load(arguments.config)
        configure_logging(settings.log_level)
        parts = scheduler_parts(settings)
        serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: None)
        appointments = schedule(settings, arguments.config, on_error=failed)
        try:
            run_loop(process=PROCESS, step=step, every_seconds=EVERY_SECONDS, stop=stop)
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
