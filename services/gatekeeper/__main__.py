"""``python -m services.gatekeeper``: gates what was proven applied, one adapter at a time."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from flywheel.errors import FlywheelError
from services.gatekeeper.take_gates import GateWorker
from services.gatekeeper.wiring import gatekeeper_parts
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port
from services.settings import load

PROCESS = "gatekeeper"
EVERY_SECONDS = 0.5


def main() -> int:
    """Until SIGTERM."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{PROCESS}")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    stop = stop_event()
    try:
        settings = load(arguments.config)
        configure_logging(settings.log_level)
        desk = GateWorker(gatekeeper_parts(settings))
        serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: None)
        try:
            run_loop(process=PROCESS, step=desk.tick, every_seconds=EVERY_SECONDS, stop=stop)
        finally:
            desk.stop(datetime.now(UTC))
    except FlywheelError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
