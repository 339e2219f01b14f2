"""Captures attempts off the request path: memory, sealed on disk, redacted on disk, topic, record.

In: attempts, handed over by the request handler. Out: events in the spool, then on the topic; an event is deleted once it is recorded. One
thread seals and writes, two redact (small exchanges, and large ones), one publishes and confirms: neither a slow disk, nor a redactor that
is still being imported, nor a long text, nor a broker that hangs holds up another. Each step may run again at any time, because an event
keeps its id.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from prometheus_client import Counter, Gauge

from flywheel.errors import CannotRun, FlywheelError, InvalidInput
from flywheel.progress import Flow
from services.gateway.attempt_bytes import attempt_from_bytes, attempt_to_bytes
from services.gateway.attempts_in_memory import AttemptQueue, Held, Room
from services.gateway.capture_rule import CaptureRule, Fsync
from services.gateway.traffic_event import UpstreamAttempt, event_data
from services.gateway.trouble import Trouble
from services.gateway.wiring import SealedLog, SpooledEvent, SpoolUnwritable
from services.ports.events import EventPublisher, NotPublished
from services.ports.outbox import OutboxMessage
from services.ports.redaction import Redactor
from services.process.progress import FlowMark
from services.process.wait_for_disk import DiskWait

if TYPE_CHECKING:
    from services.gateway.wiring import CaptureSpool

log = structlog.get_logger()
Encode = Callable[[UpstreamAttempt, Mapping[str, Any]], bytes]
BATCH, BATCH_BYTES = 100, 32 * 1024**2
SMALL_BYTES = 32_000
"""Larger attempts are redacted by a thread of their own, one at a time: a hostile megabyte takes half a minute."""
PAGE = 500
BATCHED_SECONDS = 0.05
"""``batched``: what was answered within so long before the process was killed may be lost, and what one write takes."""
ANSWER_WAITS_SECONDS = 1.0
"""``answered``: on a disk slower than this the answer leaves before its exchange is written, and is counted."""
REDACTS_EVERY_SECONDS = 0.1
"""One transaction and one sending for what was answered meanwhile: for each answer of its own they would cost as much as the answer."""
IDLE_SECONDS = 1.0
CONFIRM_SECONDS = 1.0
RETRY_SECONDS = 1.0
FSYNC_SECONDS = 1.0
PACE_SECONDS = 60.0  # within it the broker acknowledges an event, when there is one
SENDER_STOP_SECONDS = 0.2  # the sender may hang on a dead broker; what it has not sent is on disk
WAITING = Gauge("flywheel_gateway_spool_events", "Events on disk and not known to be recorded")
SEALED = Gauge("flywheel_gateway_sealed_attempts", "Attempts sealed on disk and not redacted yet")
IN_MEMORY = Gauge("flywheel_gateway_memory_attempts", "Attempts that are in memory alone")
UNWRITTEN = Counter("flywheel_gateway_answered_unwritten_total", "Answers that left before their exchange was on disk, though it should")
KEPT = Counter("flywheel_gateway_captured_total", "Attempts redacted and on disk, to be recorded")
DROPPED = Counter("flywheel_gateway_dropped_total", "Attempts that will not be recorded", ["reason"])
PUBLISHED = Counter("flywheel_gateway_published_total", "Events that the broker acknowledged, each sending counted")
RESENT = Counter("flywheel_gateway_resent_total", "Events that were not recorded in time and are sent again")
RECORDED = Counter("flywheel_gateway_recorded_total", "Events known to be recorded")


class RecordedQuestion(Protocol):
    """Asks the api which events are recorded."""

    def recorded(self, ids: Sequence[str]) -> frozenset[str]: ...


@dataclass(frozen=True, kw_only=True)
class Onward:
    """What brings a sealed exchange to the record."""

    redactor: Redactor
    encode: Encode
    spool: "CaptureSpool"
    publisher: EventPublisher
    question: RecordedQuestion
    topic: str


class Capture:
    """Started after the gateway listens, stopped after its last request."""

    def __init__(self, *, sealed: SealedLog, open_record: Callable[[], Onward]) -> None:
        """``open_record`` is called after ``start``, and again while it raises FlywheelError: the spool's disk may be full."""
        self._sealed, self._open_record = sealed, open_record
        self._room = Room()
        self._arriving = AttemptQueue()
        self._small, self._large = AttemptQueue(), AttemptQueue()
        for place in sealed.left_over():
            self._to_redact(Held(place=place, size=place.length))
        remedy = "See that the broker runs and that the disk has room; users are answered meanwhile, and what waits is sent then."
        self.flow = FlowMark(
            Flow(name="gateway to topic", pace_seconds=PACE_SECONDS, remedy=remedy), waiting=self._unsent, cause=self.trouble
        )
        self._stop = threading.Event()
        self._kept = threading.Event()
        self._writer = threading.Thread(target=self._write_all, name="capture-writer", daemon=True)
        self._keeper = threading.Thread(target=self._keep_small, name="capture-redactor", daemon=True)
        self._keeper_of_large: threading.Thread | None = None
        self._sender: threading.Thread | None = None
        self._spool: CaptureSpool | None = None  # once it is open
        self._refused = 0  # by the broker, since the start, which sends again what it refused before
        IN_MEMORY.set_function(lambda: len(self._arriving) + self._in_memory_alone())
        self.disk_wait = DiskWait("gateway")
        self.disk = Trouble("disk", said="Exchanges wait in memory.", over="Exchanges are written again.")
        self.redacted = Trouble("spool", said="Sealed exchanges wait to be redacted.", over="Exchanges are redacted again.")
        self.waits = Trouble("broker", said="Captured events wait on disk.", over="Captured events are sent again.")

    def start(self) -> None:
        self._writer.start()
        self._keeper.start()

    def _unsent(self) -> int:
        """In memory, sealed, or on disk and not acknowledged by the broker."""
        return len(self._arriving) + self._waiting() + (self._spool.unsent() if self._spool is not None else 0)

    def trouble(self) -> str | None:
        """Why exchanges wait at the moment: no redactor, no room on disk, no broker, no api, or a broker that refuses them."""
        return self.disk.reason or self.redacted.reason or self.waits.reason or self._why_refused()

    def _why_refused(self) -> str | None:
        remedy = f"change its limits (the log says which), then `kill {os.getpid()}`: the gateway is started again and sends them"
        return f"the broker refuses {self._refused} exchanges for good; {remedy}" if self._refused else None

    async def keep(self, attempt: UpstreamAttempt, *, size: int, rule: CaptureRule) -> None:
        """Returns when the attempt is on disk; with ``batched``, and on a disk that is full or does not answer, at once or soon."""
        if not rule.waits:
            self.offer(attempt, size=size, fsync=rule.fsync)
            return
        written = asyncio.get_running_loop().create_future()
        if not self._put(Held(attempt=attempt, size=size, fsync=rule.fsync, written=written)):
            return
        try:
            async with asyncio.timeout(ANSWER_WAITS_SECONDS):
                await written
        except TimeoutError:
            UNWRITTEN.inc()  # beside those that ``_write`` could not write

    def offer(self, attempt: UpstreamAttempt, *, size: int, fsync: Fsync = Fsync.NEVER) -> None:
        """The same without waiting. ``size`` in bytes, about."""
        self._put(Held(attempt=attempt, size=size, fsync=fsync))

    def _put(self, held: Held) -> bool:
        """A full memory drops the newest: serving is never held up."""
        if not self._room.take(held.size):
            DROPPED.labels("memory_full").inc()
            return False
        self._arriving.put(held)
        return True

    def stop(self, *, within_seconds: float) -> None:
        """Writes what is in memory; what is on disk is redacted and sent after the next start."""
        deadline = time.monotonic() + within_seconds
        self._stop.set()
        self._arriving.close()
        self._writer.join(within_seconds)
        self._small.close()
        self._large.close()
        self._kept.set()
        self._keeper.join(max(0.1, deadline - time.monotonic()))
        if self._keeper_of_large is not None:
            self._keeper_of_large.join(max(0.1, deadline - time.monotonic()))
        if self._sender is not None:
            self._sender.join(SENDER_STOP_SECONDS)
        lost = len(self._arriving) + self._in_memory_alone()
        if lost:
            DROPPED.labels("stopped").inc(lost)
            log.error("The gateway ends with attempts in memory.", action="capture_lost", attempts=lost)
        self._sealed.close()

    def _write_all(self) -> None:
        """Seals and writes; many together while the disk is busy."""
        dirty_since: float | None = None
        while True:
            until_fsync = max(0.0, dirty_since + FSYNC_SECONDS - time.monotonic()) if dirty_since is not None else None
            held = self._arriving.take(BATCH, gather_seconds=BATCHED_SECONDS, timeout=until_fsync)
            ends = not held and self._arriving.closed
            if held:
                self._write(held)
                if dirty_since is None and any(one.fsync is Fsync.EVERY_SECOND for one in held):
                    dirty_since = time.monotonic()
            if dirty_since is not None and (ends or time.monotonic() - dirty_since >= FSYNC_SECONDS):
                dirty_since = None
                with suppress(OSError):  # the next write says what is wrong with the disk
                    self._sealed.fsync()
            if ends:
                return

    def _write(self, held: Sequence[Held]) -> None:
        """What cannot be written goes on in memory: the redactor may find room again."""
        contents = [(one, raw) for one in held if (raw := _as_bytes(one)) is not None]
        try:
            places = self._sealed.append([raw for _, raw in contents], fsync=any(one.fsync is Fsync.EVERY_ANSWER for one in held))
            for (one, _), place in zip(contents, places, strict=True):
                one.place = place
            self.disk.tell(None)
            self.disk_wait.is_over()
        except SpoolUnwritable as error:
            UNWRITTEN.inc(sum(one.written is not None for one in held))
            self.disk.tell(str(error), waiting=self._in_memory_alone() + len(held))
            self.disk_wait.waits_for(error)
        answer_all(held)
        for one in held:
            one.written = None
            if one.place is not None and self._room.is_half_full():
                one.attempt = None  # it is read again from the disk
                self._room.give_back(one.size)
            self._to_redact(one)
        SEALED.set(self._sealed.waiting())

    def _to_redact(self, held: Held) -> None:
        (self._large if held.size > SMALL_BYTES else self._small).put(held)

    def _waiting(self) -> int:
        return len(self._small) + len(self._large)

    def _in_memory_alone(self) -> int:
        return self._small.in_memory_alone() + self._large.in_memory_alone()

    def _opened(self) -> Onward | None:
        """Starts the other threads too. None: the gateway ends before the record could be opened."""
        while not self._stop.is_set():
            try:
                onward = self._open_record()
            except FlywheelError as error:
                self.redacted.tell(str(error), waiting=self._waiting())
                self._stop.wait(RETRY_SECONDS)
                continue
            self._spool = onward.spool
            self._sender = threading.Thread(target=self._send_all, args=(onward,), name="capture-sender", daemon=True)
            self._sender.start()
            self._keeper_of_large = threading.Thread(
                target=self._keep_all, args=(self._large, 1, onward), name="capture-redactor-large", daemon=True
            )
            self._keeper_of_large.start()
            return onward
        return None

    def _keep_small(self) -> None:
        if (onward := self._opened()) is not None:
            self._keep_all(self._small, BATCH, onward)

    def _keep_all(self, queue: AttemptQueue, batch: int, onward: Onward) -> None:
        while True:
            held = queue.take(batch, most_bytes=BATCH_BYTES, gather_seconds=REDACTS_EVERY_SECONDS, timeout=IDLE_SECONDS)
            if self._stop.is_set():
                held = [one for one in held if one.place is None]  # the others are on disk
            if not held:
                if queue.closed and not len(queue):
                    return
                self._sealed.tidy()
                continue
            queue.in_hand = sum(one.place is None for one in held)
            attempts = [attempt for one in held if (attempt := self._attempt(one)) is not None]
            while not self._keep(attempts, onward):
                if self._stop.wait(RETRY_SECONDS):
                    queue.in_hand = 0
                    for one in held:
                        queue.put(one)
                    return
            queue.in_hand = 0
            self._sealed.done([one.place for one in held if one.place is not None])
            SEALED.set(self._sealed.waiting())
            for one in held:
                if one.attempt is not None:
                    self._room.give_back(one.size)

    def _attempt(self, held: Held) -> UpstreamAttempt | None:
        if held.attempt is not None:
            return held.attempt
        assert held.place is not None
        try:
            return attempt_from_bytes(self._sealed.read(held.place))
        except (OSError, ValueError, KeyError, TypeError) as error:
            DROPPED.labels("sealed_unreadable").inc()
            log.error("A sealed exchange cannot be read.", action="capture_dropped", place=held.place, error=type(error).__name__)
            return None

    def _keep(self, attempts: Sequence[UpstreamAttempt], onward: Onward) -> bool:
        """False: they must be tried again."""
        try:
            keep(attempts, redactor=onward.redactor, encode=onward.encode, spool=onward.spool, now=datetime.now(UTC))
        except FlywheelError as error:
            self.redacted.tell(str(error), waiting=len(attempts) + self._waiting())
            return False
        self.redacted.tell(None)
        self._kept.set()
        return True

    def _send_all(self, onward: Onward) -> None:
        """Wakes when events were kept, and every second while an event is not known to be recorded."""
        spool = onward.spool
        asked, taken_back = 0.0, False
        unsettled = True  # events of an earlier run may be on disk
        while not self._stop.is_set():
            self._kept.wait(CONFIRM_SECONDS if unsettled else None)
            self._kept.clear()
            try:
                if not taken_back:
                    spool.take_back(now=datetime.now(UTC))  # the broker's limits may have changed
                    taken_back = True
                if time.monotonic() - asked >= CONFIRM_SECONDS:
                    WAITING.set(spool.waiting())  # here: below, the broker or the api may be away
                while self._publish_page(onward):
                    unsettled = True
                    if self._stop.is_set():
                        return
                if unsettled and time.monotonic() - asked >= CONFIRM_SECONDS:
                    asked = time.monotonic()
                    confirm(spool=spool, question=onward.question, now=datetime.now(UTC))
                    waiting = spool.waiting()
                    WAITING.set(waiting)
                    unsettled = waiting > 0
                self.waits.tell(None)
            except Exception as error:  # noqa: BLE001 (the broker's library may raise anything, and the thread must go on; nothing is lost: the spool has it)
                self.waits.tell(str(error) if isinstance(error, FlywheelError) else f"{type(error).__name__}: {error}"[:300])
                unsettled = True
                self._stop.wait(RETRY_SECONDS)

    def _publish_page(self, onward: Onward) -> int:
        def refused(events: int) -> None:
            self._refused += events

        now, moved = datetime.now(UTC), self.flow.moved
        return publish(spool=onward.spool, publisher=onward.publisher, topic=onward.topic, now=now, moved=moved, told_refused=refused)


def _as_bytes(held: Held) -> bytes | None:
    """None: it goes on in memory. One attempt that cannot be written must not end the thread, for which all answers wait."""
    assert held.attempt is not None
    try:
        return attempt_to_bytes(held.attempt)
    except Exception as error:  # noqa: BLE001 (bodies come from outside)
        log.error("An attempt cannot be sealed.", action="seal_failed", request=held.attempt.request_id, error=type(error).__name__)
        return None


def answer_all(held: Sequence[Held]) -> None:
    """Lets the answers leave that wait for these."""
    waiting = [one.written for one in held if one.written is not None]
    if waiting:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            waiting[0].get_loop().call_soon_threadsafe(_set_all, waiting)


def _set_all(waiting: Sequence["asyncio.Future[None]"]) -> None:
    for one in waiting:
        if not one.done():
            one.set_result(None)


def keep(attempts: Sequence[UpstreamAttempt], *, redactor: Redactor, encode: Encode, spool: "CaptureSpool", now: datetime) -> None:
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
        except (OSError, MemoryError) as error:  # of the machine, such as too many open files: they wait too
            why = f"an exchange cannot be redacted at present: {type(error).__name__}"
            raise CannotRun(why, where="capture", remedy="It is tried again; see the limits of this machine.") from error
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


def publish(
    *,
    spool: "CaptureSpool",
    publisher: EventPublisher,
    topic: str,
    now: datetime,
    moved: Callable[[], None] = lambda: None,
    told_refused: Callable[[int], None] = lambda _: None,
) -> int:
    """Sends one page of events; returns how many the broker acknowledged. Raises NotPublished unless all are settled. ``moved`` is called
    where it acknowledged any, ``told_refused`` with how many it refused for good."""
    events = spool.due(limit=PAGE)
    if not events:
        return 0
    for event in events:
        publisher.send(OutboxMessage(id=event.id, topic=topic, key=event.key, value=event.body, created_at=now))
    arrived = publisher.flush()
    spool.sent([event.id for event in events if event.id in arrived], now=now)
    PUBLISHED.inc(len(arrived))
    if arrived:
        moved()
    if refused := publisher.refused:
        spool.set_aside(refused, now=now)
        DROPPED.labels("refused_by_broker").inc(len(refused))
        told_refused(len(refused))
        log.error("The broker refuses events for good.", action="capture_refused", events=len(refused), reason=next(iter(refused.values())))
    if open_ones := len(events) - len(arrived) - len(refused):
        raise NotPublished(
            f"the broker did not acknowledge {open_ones} of {len(events)} events",
            where="kafka.bootstrap",
            remedy="They are sent again; see that the broker runs and has room.",
        )
    return len(arrived)


def confirm(*, spool: "CaptureSpool", question: RecordedQuestion, now: datetime) -> int:
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
