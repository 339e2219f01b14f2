"""Captures attempts off the request path: memory, disk, topic, record.

In: attempts, handed over by the request handler, which does not wait. Out: events in the spool, then on the topic; an event is
deleted once it is recorded. One thread redacts and writes to disk, another publishes and confirms: a broker that hangs must
not fill the memory. Each step may run again at any time, because an event keeps its id.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from prometheus_client import Counter, Gauge

from flywheel.errors import FlywheelError, InvalidInput
from services.gateway.traffic_event import UpstreamAttempt, event_data
from services.gateway.wiring import CaptureSpool, SpooledEvent
from services.ports.events import EventPublisher, NotPublished
from services.ports.outbox import OutboxMessage
from services.ports.redaction import Redactor

log = structlog.get_logger()
Encode = Callable[[UpstreamAttempt, Mapping[str, Any]], bytes]
MOST_ATTEMPTS, MOST_BYTES = 10_000, 256 * 1024**2
BATCH = 100
PAGE = 500
CONFIRM_SECONDS = 1.0
RETRY_SECONDS = 1.0
SENDER_STOP_SECONDS = 0.2  # the sender may hang on a dead broker; what it has not sent is on disk
WAITING = Gauge("flywheel_gateway_spool_events", "Events on disk and not known to be recorded")
KEPT = Counter("flywheel_gateway_captured_total", "Attempts on disk, to be recorded")
DROPPED = Counter("flywheel_gateway_dropped_total", "Attempts that will not be recorded", ["reason"])
PUBLISHED = Counter("flywheel_gateway_published_total", "Events that the broker acknowledged, each sending counted")
RESENT = Counter("flywheel_gateway_resent_total", "Events that were not recorded in time and are sent again")
STANDS = Gauge("flywheel_gateway_capture_waits", "1 while events wait on disk because the broker or the api does not answer")
RECORDED = Counter("flywheel_gateway_recorded_total", "Events known to be recorded")


class Waiting:
    """Attempts in memory, bounded by number and by size. A full memory drops the newest: serving is never held up."""

    def __init__(self, *, most: int = MOST_ATTEMPTS, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._items: deque[tuple[UpstreamAttempt, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, attempt: UpstreamAttempt, size: int) -> None:
        with self._changed:
            if len(self._items) < self._most and self._bytes + size <= self._most_bytes:
                self._items.append((attempt, size))
                self._bytes += size
                self._changed.notify()
                return
        DROPPED.labels("memory_full").inc()

    def take(self, most: int) -> Sequence[UpstreamAttempt]:
        """Up to ``most`` attempts; waits for the first one. Empty only once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
        return [attempt for attempt, _ in taken]

    def close(self) -> None:
        """From now on ``take`` does not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._items)


class RecordedQuestion(Protocol):
    """Asks the api which events are recorded."""

    def recorded(self, ids: Sequence[str]) -> frozenset[str]: ...


class Capture:
    """Started after the gateway listens, stopped after its last request."""

    def __init__(
        self,
        *,
        redactor: Redactor,
        encode: Encode,
        spool: CaptureSpool,
        publisher: EventPublisher,
        question: RecordedQuestion,
        topic: str,
    ) -> None:
        self._redactor, self._encode, self._spool = redactor, encode, spool
        self._publisher, self._question, self._topic = publisher, question, topic
        self._waiting = Waiting()
        self._stop = threading.Event()
        self._kept = threading.Event()
        self._writer = threading.Thread(target=self._keep_all, name="capture-writer", daemon=True)
        self._sender = threading.Thread(target=self._send_all, name="capture-sender", daemon=True)
        self.trouble: str | None = None
        """Why nothing is written to disk at the moment: no redactor, or no room."""
        self.waits: str | None = None
        """Why what is on disk does not reach the record at the moment: no broker, or no api."""

    def start(self) -> None:
        self._writer.start()
        self._sender.start()

    def offer(self, attempt: UpstreamAttempt, *, size: int) -> None:
        """Called from the event loop; never waits. ``size`` in bytes, about."""
        self._waiting.put(attempt, size)

    def stop(self, *, within_seconds: float) -> None:
        """Writes to disk what is in memory; what is on disk is sent after the next start."""
        self._stop.set()
        self._waiting.close()
        self._kept.set()
        self._writer.join(within_seconds)
        self._sender.join(SENDER_STOP_SECONDS)
        if len(self._waiting):
            DROPPED.labels("stopped").inc(len(self._waiting))
            log.error("The gateway ends with attempts in memory.", action="capture_lost", attempts=len(self._waiting))

    def _keep_all(self) -> None:
        while attempts := self._waiting.take(BATCH):
            while not self._keep(attempts):
                if self._stop.wait(RETRY_SECONDS):
                    DROPPED.labels("stopped").inc(len(attempts))
                    return

    def _keep(self, attempts: Sequence[UpstreamAttempt]) -> bool:
        """False: they must be tried again, because they are nowhere else."""
        try:
            keep(attempts, redactor=self._redactor, encode=self._encode, spool=self._spool, now=datetime.now(UTC))
        except FlywheelError as error:
            if self.trouble is None:
                log.error("Attempts cannot be kept.", action="capture_trouble", error=str(error))
            self.trouble = str(error)
            return False
        self.trouble = None
        self._kept.set()
        return True

    def _send_all(self) -> None:
        """Wakes when events were kept, and every second while an event is not known to be recorded."""
        asked = 0.0
        unsettled = True  # events of an earlier run may be on disk
        while not self._stop.is_set():
            self._kept.wait(CONFIRM_SECONDS if unsettled else None)
            self._kept.clear()
            try:
                while publish(spool=self._spool, publisher=self._publisher, topic=self._topic, now=datetime.now(UTC)):
                    unsettled = True
                    if self._stop.is_set():
                        return
                if unsettled and time.monotonic() - asked >= CONFIRM_SECONDS:
                    asked = time.monotonic()
                    confirm(spool=self._spool, question=self._question, now=datetime.now(UTC))
                    waiting = self._spool.waiting()
                    WAITING.set(waiting)
                    unsettled = waiting > 0
                self._tell_waits(None)
            except Exception as error:  # noqa: BLE001 (the broker's library may raise anything, and the thread must go on; nothing is lost: the spool has it)
                self._tell_waits(str(error) if isinstance(error, FlywheelError) else f"{type(error).__name__}: {error}"[:300])
                unsettled = True
                self._stop.wait(RETRY_SECONDS)

    def _tell_waits(self, reason: str | None) -> None:
        """Once per outage, and once when it is over."""
        if reason is not None and self.waits is None:
            log.warning("Captured events wait on disk.", action="capture_waits", error=reason)
        if reason is None and self.waits is not None:
            log.info("Captured events are sent again.", action="capture_goes_on")
        self.waits = reason
        STANDS.set(reason is not None)


def keep(attempts: Sequence[UpstreamAttempt], *, redactor: Redactor, encode: Encode, spool: CaptureSpool, now: datetime) -> None:
    """Redacts, encodes and writes to the spool. An attempt that cannot be read or redacted is dropped and counted: nothing unredacted is
    stored."""
    events = []
    for attempt in attempts:
        try:
            data = event_data(attempt, redactor=redactor)
            events.append(SpooledEvent(id=attempt.event_id, key=data["session_id"], body=encode(attempt, data)))
        except InvalidInput as error:
            DROPPED.labels("nested_too_deeply" if "nested" in error.reason else "unreadable_messages").inc()
        except FlywheelError:
            raise  # no redactor or no room: these attempts wait
        except Exception as error:  # noqa: BLE001 (a recogniser may raise anything, and one attempt must not stop the others)
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
    """Sends one page of events; returns how many the broker acknowledged. Raises NotPublished unless all are settled."""
    events = spool.due(limit=PAGE)
    if not events:
        return 0
    for event in events:
        publisher.send(OutboxMessage(id=event.id, topic=topic, key=event.key, value=event.body, created_at=now))
    arrived = publisher.flush()
    spool.sent([event.id for event in events if event.id in arrived], now=now)
    PUBLISHED.inc(len(arrived))
    if refused := publisher.refused:
        spool.set_aside(refused, now=now)
        DROPPED.labels("refused_by_broker").inc(len(refused))
        log.error("The broker refuses events for good.", action="capture_refused", events=len(refused), reason=next(iter(refused.values())))
    if open_ones := len(events) - len(arrived) - len(refused):
        raise NotPublished(
            f"the broker did not acknowledge {open_ones} of {len(events)} events",
            where="kafka.bootstrap",
            remedy="They are sent again; see that the broker runs and has room.",
        )
    return len(arrived)


def confirm(*, spool: CaptureSpool, question: RecordedQuestion, now: datetime) -> int:
    """Asks about every event that was sent; returns how many must be sent again. Raises FlywheelError when the api does not answer."""
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
    """Makes the event around an attempt's data. Keyed by session, so that a session's events stay in order."""

    def encoded(attempt: UpstreamAttempt, data: Mapping[str, Any]) -> bytes:
        return encode(id=attempt.event_id, workload=attempt.workload, time=attempt.arrived_at, data=data, partitionkey=data["session_id"])

    return encoded
