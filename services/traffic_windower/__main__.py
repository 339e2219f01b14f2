"""``python -m services.traffic_windower --config flywheel.yaml``: records traffic until SIGTERM.

Ends with 0 when told to stop, with the error's code when a person can put it right, and with 1 on anything unexpected; what
was not recorded is read again at the next start.
"""

import asyncio
import logging
import sys

from flywheel.errors import CannotRun
from services.process.health import serve_health
from services.process.progress import FlowWatch
from services.process.start_stop import Start, main, stop_event_of_loop
from services.traffic_windower.consume_partitions import PROCESS, Recorder
from services.traffic_windower.faust_app import build_app
from services.traffic_windower.wiring import windower_parts

START_SECONDS = 30.0  # Faust's app hangs in silence when a service inside it fails to start
STOP_SECONDS = 4.0  # then the process ends anyway: the traffic store is consistent at every moment
POLL_SECONDS = 1.0  # between two looks whether app or service has crashed
LOG_LEVELS = {"aiokafka": logging.ERROR, "kafka": logging.CRITICAL, "alembic": logging.WARNING}  # they log at every connection


def run(start: Start) -> None:
    for name, level in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    asyncio.run(_run(start))


async def _run(start: Start) -> None:
    parts = windower_parts(start.settings)
    recorder = Recorder(parts)
    waits_for: dict[str, str | None] = {"broker": None}

    def why_not_ready() -> str | None:
        return waits_for["broker"] or recorder.why_not_ready()

    watch = FlowWatch(PROCESS, [recorder.flow], journal=lambda: parts.journal, disk=recorder.disk)
    server = serve_health(start.settings, PROCESS, ready=why_not_ready, watch=watch)
    watch.start()
    stop = stop_event_of_loop(start.stop)
    if not await parts.broker_is_back(stop=stop, told=lambda why: waits_for.update(broker=why)):  # before Faust, which shows a stack trace
        watch.close()
        server.close()
        return
    app, service = build_app(recorder, broker=parts.faust_broker, credentials=parts.faust_credentials, data_dir=parts.faust_dir)
    starting = asyncio.create_task(app.start())
    try:
        await _until_ended(app, service, starting, stop)
    finally:
        watch.close()
        await _stopped(app, starting)
        server.close()


async def _until_ended(app: object, service: object, starting: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    """Returns when asked to stop. Raises the error that ended app or service, which Faust would not propagate."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_SECONDS
    while not stop.is_set():
        if starting.done() and (error := starting.exception()):
            raise error
        for part in (service, app):
            if part.crashed:  # type: ignore[attr-defined]
                raise part.crash_reason or RuntimeError(f"{part} has crashed")  # type: ignore[attr-defined]
        if not service.started and loop.time() > give_up:  # type: ignore[attr-defined]
            raise CannotRun(
                "the recorder does not start", where="traffic_windower", remedy="See that the broker of kafka.bootstrap answers."
            )
        try:
            await asyncio.wait_for(stop.wait(), POLL_SECONDS)
        except TimeoutError:
            continue


async def _stopped(app: object, starting: "asyncio.Task[None]") -> None:
    starting.cancel()
    try:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)  # type: ignore[attr-defined]
    except TimeoutError:
        logging.getLogger(PROCESS).warning("The app did not stop in %s s; ending without it", STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))
