"""Runs the release controller: ``python -m services.release_controller --config flywheel.yaml``."""

import argparse
import sys
import threading
from pathlib import Path

from flywheel.errors import FlywheelError
from services import settings as configuration
from services.observability import configure_logging, run_loop, serve_health, stop_event
from services.process.names import metrics_port
from services.release_controller.advance_releases import advance_releases, reconcile_server
from services.release_controller.measure_rollbacks import RollbackWatch
from services.release_controller.reconcile_adapters import Replica
from services.release_controller.wiring import ControllerParts, controller_parts

PROCESS = "release_controller"
LOOK_EVERY_SECONDS = 1.0


def main() -> int:
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
    """Until SIGTERM. A server that hangs does not keep the process from ending: its thread is a daemon."""
    configure_logging(settings.log_level)
    stop = stop_event()
    parts = controller_parts(settings)
    replica, watch = (
        Replica(server=parts.server, read_probe=parts.read_probe, drain=parts.drain, lora_slots=parts.lora_slots),
        RollbackWatch(),
    )
    health = serve_health(
        host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: not_ready(parts, replica)
    )
    failures: list[BaseException] = []

    def keep_server() -> None:
        try:
            run_loop(
                process=f"{PROCESS}_server",
                step=lambda now: reconcile_server(parts, replica, now=now),
                every_seconds=LOOK_EVERY_SECONDS,
                stop=stop,
            )
        except BaseException as error:  # noqa: BLE001 (raised again by the main thread: the process must end)
            failures.append(error)
            stop.set()

    threading.Thread(target=keep_server, name="server", daemon=True).start()
    run_loop(
        process=PROCESS,
        step=lambda now: advance_releases(parts, replica, watch, now=now),
        every_seconds=LOOK_EVERY_SECONDS,
        stop=stop,
    )
    health.shutdown()
    if failures:
        raise failures[0]


def not_ready(parts: ControllerParts, replica: Replica) -> str | None:
    """Ready when every workload has a route. A server that goes away later is not our end: gateways have the route."""
    without = [workload for workload in parts.workloads if parts.releases.route(workload) is None]
    if not without:
        return None
    return f"no route yet for {', '.join(without)}" + ("" if replica.healthy else ": the server does not answer")


if __name__ == "__main__":
    sys.exit(main())
