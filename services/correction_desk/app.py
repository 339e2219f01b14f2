"""The Faust app of the correction desk: one agent on the corrections topic, one timer for corrections that wait.

An event is acknowledged by hand, after it was saved or dead-lettered. Faust on its own acknowledges an event whose agent
raised, which would lose the event. So a failure of the machine ends the process, and the restart reads the event again.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import faust
import structlog

from flywheel.errors import InvalidInput
from flywheel.traffic.dead_letter import LetterState, letter_id
from services.correction_desk.dead_letter import RecordPosition, dead_letter_entry, dead_letter_of, letter_notice
from services.correction_desk.decide_corrections import CorrectionDesk
from services.correction_desk.wiring import CorrectionStream
from services.observability import LAST_STEP, STEPS
from services.observability.unexpected import sentence_of, trace_of
from services.process.wait_for_disk import DiskWait

log = structlog.get_logger()
PROCESS = "correction_desk"


def build_app(
    desk: CorrectionDesk,
    stream: CorrectionStream,
    *,
    on_assigned: Callable[[int], None],
    on_done: Callable[[], None] = lambda: None,
    disk: DiskWait | None = None,
    retry_seconds: float = 1.0,
) -> faust.App:
    """Call inside the running loop. ``on_assigned`` receives the number of partitions that this worker has; ``on_done`` is called for each
    event that was decided on or dead-lettered. A disk that cannot be written ends nothing: the event is tried until it can.
    """
    app = stream.committed_only(_faust_app(stream))
    raw: dict[str, Any] = {"value_type": bytes, "value_serializer": "raw", "key_type": bytes, "key_serializer": "raw"}
    incoming, notices = app.topic(stream.topic, **raw), app.topic(stream.dead_letter_topic, **raw)
    one_at_a_time, waits = asyncio.Lock(), disk or DiskWait(PROCESS)

    async def corrections(events: Any) -> None:
        async for event in events.noack().events():
            message, value = event.message, event.value or b""
            position = _position(message)
            try:
                async with one_at_a_time:
                    await waits.patiently(partial(_receive, value, position))
            except Exception as error:  # noqa: BLE001 (ends the process: Faust would go on and lose the event)
                _end(error, position)
            event.ack()
            on_done()
            STEPS.labels(PROCESS, "done").inc()

    async def _receive(value: bytes, position: RecordPosition) -> None:
        try:
            await asyncio.to_thread(desk.receive, value, now=datetime.now(UTC))
        except InvalidInput as error:
            letter = dead_letter_of(value, at=position, error=error, claimed=stream.claimed_ids(value), known=stream.workloads)
            await asyncio.to_thread(stream.letters.keep, letter, value)
            await (await notices.send(key=None, value=letter_notice(letter)))
            await asyncio.to_thread(stream.journal.append, dead_letter_entry(letter))
            log.warning(f"Dead letter: {error.reason}", action="correction_dead_lettered", where=error.where, letter=letter.id)
            STEPS.labels(PROCESS, "dead_lettered").inc()
        else:
            await asyncio.to_thread(_taken, stream, value, position)

    async def waiting() -> None:
        try:
            async with one_at_a_time:
                if desk.may_wait:
                    await waits.patiently(partial(_retry_waiting, desk))
        except Exception as error:  # noqa: BLE001 (ends the process: without the timer, corrections would wait for ever)
            _end(error, None)
        LAST_STEP.labels(PROCESS).set_to_current_time()

    async def assigned(_app: Any, assigned: Any = (), **_rest: Any) -> None:
        desk.may_wait = True  # another worker may have left some
        on_assigned(len(assigned))

    app.agent(incoming, name="corrections", concurrency=1)(corrections)
    app.timer(interval=retry_seconds)(waiting)
    app.on_partitions_assigned.connect(assigned, weak=False)
    return app


async def _retry_waiting(desk: CorrectionDesk) -> None:
    await asyncio.to_thread(desk.retry_waiting, now=datetime.now(UTC))


def _faust_app(stream: CorrectionStream) -> faust.App:
    return faust.App(
        "flywheel-correction-desk",
        broker=stream.broker,
        broker_credentials=stream.credentials,
        store="memory://",
        datadir=stream.scratch,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=stream.session_timeout_seconds,
        broker_heartbeat_interval=stream.session_timeout_seconds / 4,
        broker_rebalance_timeout=stream.session_timeout_seconds + 2.0,
        broker_commit_interval=3.0,
        stream_wait_empty=False,
    )


def _taken(stream: CorrectionStream, value: bytes, position: RecordPosition) -> None:
    """If it was a dead letter and was sent again, the letter is done with."""
    id = letter_id(position.topic, value)
    if id in stream.letters.retried():
        stream.letters.move(id, LetterState.TAKEN)


def _end(error: Exception, position: RecordPosition | None) -> None:
    """Ends the process at once: an orderly stop would commit offsets."""
    log.error(
        f"The correction desk ends: {sentence_of(error)}", action="correction_desk_ended", trace=trace_of(error), position=str(position)
    )
    sys.stderr.flush()
    os._exit(1)


def _position(message: Any) -> RecordPosition:
    return RecordPosition(topic=message.topic, partition=message.partition, offset=message.offset, time=_moment(message.timestamp))


def _moment(timestamp: float | None) -> datetime:
    """The broker's time of a record; the epoch when it gives none, so that a record read twice has one time."""
    return datetime.fromtimestamp(timestamp if timestamp and timestamp > 0 else 0, UTC)
