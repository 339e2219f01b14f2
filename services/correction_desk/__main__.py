"""``python -m services.correction_desk --config flywheel.yaml``: from the corrections topic to accepted corrections."""

import asyncio
import os
import sys
import threading
from contextlib import suppress

from flywheel.errors import CannotRun
from services.correction_desk.app import PROCESS, build_app
from services.correction_desk.count_waiting import WAITS_FOR_PARTITION, StreamState
from services.correction_desk.decide_corrections import CorrectionDesk
from services.correction_desk.wiring import CorrectionStream, correction_desk_parts, correction_stream
from services.process.health import serve_health
from services.process.progress import FlowWatch
from services.process.start_stop import Start, main, stop_event_of_loop

STOP_WITHIN_SECONDS = 3.0
LOOK_SECONDS = 1.0  # between two looks whether the stream has ended


def run(start: Start) -> None:
    state, stream = StreamState(), correction_stream(start.settings)
    watch = FlowWatch(PROCESS, [state.flow], journal=lambda: stream.journal, disk=state.disk)
    health = serve_health(start.settings, PROCESS, ready=lambda: state.not_ready, watch=watch)
    desk = CorrectionDesk(correction_desk_parts(start.settings))
    watch.start()
    try:
        asyncio.run(_serve(desk, stream, start.stop, state))
    finally:
        watch.close()
        health.close()


async def _serve(desk: CorrectionDesk, stream: CorrectionStream, asked_to_stop: threading.Event, state: StreamState) -> None:
    def on_assigned(_partitions: int) -> None:
        state.not_ready = None  # also without one: then another worker holds it

    def waits(why: str | None) -> None:
        state.not_ready = why or WAITS_FOR_PARTITION

    stop = stop_event_of_loop(asked_to_stop)
    if not await stream.broker_is_back(stop=stop, told=waits):  # before Faust, whose answer is a stack trace
        return
    app = build_app(desk, stream, on_assigned=on_assigned, on_done=state.flow.moved, disk=state.disk)
    starting = asyncio.ensure_future(app.start())
    counting: asyncio.Task[None] | None = None
    while not stop.is_set():
        if starting.done() and (reason := starting.exception() or app.crash_reason) is not None:
            raise CannotRun(
                f"the stream ended: {reason}",
                where="kafka.bootstrap",
                value=stream.broker,
                remedy="See that the broker runs and start again.",
            )
        if counting is None and state.not_ready is None:
            counting = asyncio.create_task(state.count(stream, app))
        if counting is not None and counting.done():
            counting.result()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
    state.not_ready = "stopping"
    if counting is not None:
        counting.cancel()
    try:
        await asyncio.wait_for(app.stop(), STOP_WITHIN_SECONDS)
    except TimeoutError:
        os._exit(0)  # nothing is lost: what was not acknowledged is read again


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))
