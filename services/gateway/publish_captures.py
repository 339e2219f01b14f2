"""What the gateway does with an attempt once the user has the answer: keep it, publish it, forget it when it is recorded.

Each step may run again at any time: the event's id makes sending twice the same event.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog
from prometheus_client import Counter

from flywheel.errors import FlywheelError
from services.gateway.attempt import Attempt, event_data
from services.gateway.wiring import CaptureSpool, SpooledEvent
from services.ports.events import EventPublisher
from services.ports.outbox import OutboxMessage
from services.ports.redaction import Redactor

log = structlog.get_logger()
Encode = Callable[[Attempt, Mapping[str, Any]], bytes]
KEPT = Counter("flywheel_gateway_captured_total", "Attempts on disk, to be recorded")
DROPPED = Counter("flywheel_gateway_dropped_total", "Attempts that will not be recorded", ["reason"])
PUBLISHED = Counter("flywheel_gateway_published_total", "Events that the broker acknowledged, each sending counted")
RESENT = Counter("flywheel_gateway_resent_total", "Events that were not recorded in time and are sent again")
RECORDED = Counter("flywheel_gateway_recorded_total", "Events known to be recorded")
PAGE = 500


class RecordedQuestion(Protocol):
    """Asks the api."""

    def recorded(self, ids: Sequence[str]) -> frozenset[str]: ...


def keep(attempts: Sequence[Attempt], *, redactor: Redactor, encode: Encode, spool: CaptureSpool, now: datetime) -> None:
    """Nothing unredacted goes further than this function. An attempt that cannot be redacted is dropped, and counted."""
    events = []
    for attempt in attempts:
        try:
            data = event_data(attempt, redactor=redactor)
            events.append(SpooledEvent(id=attempt.event_id, key=data["session_id"], body=encode(attempt, data)))
        except FlywheelError:
            raise  # no redactor: these attempts wait
        except Exception as error:  # noqa: BLE001 (whatever a recogniser stumbles over: one attempt must not stop the others)
            DROPPED.labels("unreadable").inc()
            log.error(
                "An attempt could not be redacted and is dropped.",
                action="capture_dropped",
                request=attempt.request_id,
                error=type(error).__name__,  # its text may quote the user
            )
    full = spool.keep(events, now=now)
    if full:
        DROPPED.labels("spool_full").inc(full)
    KEPT.inc(len(events) - full)


def publish(*, spool: CaptureSpool, publisher: EventPublisher, topic: str, now: datetime) -> int:
    """One page; returns how many the broker took. Raises NotPublished."""
    events = spool.due(limit=PAGE)
    for event in events:
        publisher.send(OutboxMessage(id=event.id, topic=topic, key=event.key, value=event.body, created_at=now))
    arrived = publisher.flush() if events else frozenset()
    spool.sent([event.id for event in events if event.id in arrived], now=now)
    PUBLISHED.inc(len(arrived))
    return len(arrived)


def confirm(*, spool: CaptureSpool, question: RecordedQuestion, now: datetime) -> int:
    """Every event whose fate is open; returns how many became due again. Raises the api's silence as a FlywheelError."""
    after, again = 0, 0
    while True:
        ids, after = spool.unconfirmed(after=after, limit=PAGE)
        if not ids:
            return again
        known = question.recorded(ids)
        spool.recorded([one for one in ids if one in known])
        RECORDED.inc(len(known))
        due = spool.not_recorded([one for one in ids if one not in known], now=now)
        RESENT.inc(due)
        again += due
        if after == 0:
            return again


def encoded_by(encode: Callable[..., bytes]) -> Encode:
    """The event around an attempt's data. Keyed by session, so that a session's events stay in order."""

    def encoded(attempt: Attempt, data: Mapping[str, Any]) -> bytes:
        return encode(id=attempt.event_id, workload=attempt.workload, time=attempt.arrived_at, data=data, partitionkey=data["session_id"])

    return encoded
