"""``python -m services.drift_monitor``: closes and judges windows of traffic."""

import argparse
import sys
from pathlib import Path

from flywheel.errors import FlywheelError
from services import settings as configuration
from services.drift_monitor.judge_windows import tick
from services.drift_monitor.wiring import monitor_parts
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port

PROCESS = "drift_monitor"
EVERY_SECONDS = 1.0


def main() -> int:
    """Until SIGTERM."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{PROCESS}")
    parser.add_argument("--config", type=Path, default=None)
    arguments = parser.parse_args()
    try:
        run(configuration.load(arguments.config))
    except FlywheelError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def run(settings: configuration.Settings) -> None:
    """A step that waits for Evidently gives up as soon as the process is asked to end: its window closes without a second opinion."""
    configure_logging(settings.log_level)
    stop = stop_event()
    parts, reports = monitor_parts(settings)
    health = serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: None)
    reports.start_with(stop)
    try:
        run_loop(process=PROCESS, step=lambda now: tick(parts, now), every_seconds=EVERY_SECONDS, stop=stop)
    finally:
        reports.close()
        health.shutdown()


if __name__ == "__main__":
    sys.exit(main())
