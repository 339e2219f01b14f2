"""``python -m services.alert_desk``: moves alerts and tells receivers."""

import argparse
import sys
import threading
from pathlib import Path

from flywheel.errors import FlywheelError
from services import settings as configuration
from services.alert_desk.advance_alerts import AlertStates
from services.alert_desk.send_notifications import Notifications
from services.alert_desk.wiring import desk_parts
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port

PROCESS = "alert_desk"
EVERY_SECONDS = 0.5


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
    """A receiver that hangs keeps neither alerts nor the end of the process waiting: notices have a thread of their own."""
    configure_logging(settings.log_level)
    stop = stop_event()
    parts = desk_parts(settings)
    states, notices = AlertStates(parts), Notifications(parts)
    health = serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: None)
    failures: list[BaseException] = []

    def tell() -> None:
        try:
            run_loop(process=f"{PROCESS}_notices", step=notices.tick, every_seconds=EVERY_SECONDS, stop=stop)
        except BaseException as error:  # noqa: BLE001  raised again by the main thread: the process must end
            failures.append(error)
            stop.set()

    threading.Thread(target=tell, name="notices", daemon=True).start()
    run_loop(process=PROCESS, step=states.tick, every_seconds=EVERY_SECONDS, stop=stop)
    health.shutdown()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main())
