"""``python -m services.correction_desk --config flywheel.yaml``: from the corrections topic to accepted corrections."""

import argparse
import asyncio
import os
import sys
import threading
from pathlib import Path

from flywheel.errors import CannotRun, FlywheelError
from services.correction_desk.app import PROCESS, build_app
from services.correction_desk.decide_corrections import CorrectionDesk
from services.correction_desk.wiring import CorrectionStream, desk_parts, desk_stream
from services.observability import configure_logging, serve_health, stop_event
from services.process.names import metrics_port
from services.settings import Settings, load

STOP_WITHIN_SECONDS = 3.0


def main() -> int:
    """Exit code 0 after SIGTERM; a FlywheelError's own code with its sentence on standard error."""
    parser = argparse.ArgumentParser(prog="correction_desk", description=__doc__)
    parser.add_argument("--config", type=Path, default=None)
    arguments = parser.parse_args()
    stop = stop_event()
    try:
        settings = load(arguments.config)
        configure_logging(settings.log_level)
        return _run(settings, stop)
    except FlywheelError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code


def _run(settings: Settings, stop: threading.Event) -> int:
    state: dict[str, str | None] = {"not_ready": "waiting for its partition"}
    health = serve_health(host=settings.http.host, port=metrics_port(settings, PROCESS), process=PROCESS, ready=lambda: state["not_ready"])
    desk = CorrectionDesk(desk_parts(settings))
    try:
        return asyncio.run(_serve(desk, desk_stream(settings), stop, state))
    finally:
        health.shutdown()


async def _serve(desk: CorrectionDesk, stream: CorrectionStream, stop: threading.Event, state: dict[str, str | None]) -> int:
    def on_assigned(_partitions: int) -> None:
        state["not_ready"] = None  # also without one: then another worker holds it

    app = build_app(desk, stream, on_assigned=on_assigned)
    starting = asyncio.ensure_future(app.start())
    while not stop.is_set():
        if starting.done() and (reason := starting.exception() or app.crash_reason) is not None:
            raise CannotRun(
                f"the stream ended: {reason}",
                where="kafka.bootstrap",
                value=stream.broker,
                remedy="See that the broker runs and start again.",
            )
        await asyncio.sleep(0.1)
    state["not_ready"] = "stopping"
    try:
        await asyncio.wait_for(app.stop(), STOP_WITHIN_SECONDS)
    except TimeoutError:
        os._exit(0)  # nothing is lost: what was not acknowledged is read again
    return 0


if __name__ == "__main__":
    sys.exit(main())
