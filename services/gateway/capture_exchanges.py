"""From the answered request to the disk, off the request path: a bounded memory and two threads.

In: attempts, offered and forgotten by the request. Out: events in the spool, on the topic, and at last in the record. One
thread redacts and keeps, one publishes and confirms: a broker that hangs must not fill the memory.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from flywheel.errors import FlywheelError
from services.gateway.attempt import Attempt
from services.gateway.publish_captures import DROPPED, Encode, RecordedQuestion, confirm, keep, publish
from services.gateway.wiring import CaptureSpool
from services.ports.events import EventPublisher
from services.ports.redaction import Redactor

log = structlog.get_logger()
MOST_ATTEMPTS, MOST_BYTES = 10_000, 256 * 1024**2
BATCH = 100
CONFIRM_SECONDS = 1.0
RETRY_SECONDS = 1.0
IDLE_SECONDS = 0.2
SENDER_LEAVES_SECONDS = 0.2  # it may hang on a dead broker; what it has not sent is on disk
WAITING = Gauge("flywheel_gateway_spool_events", "Events on disk and not known to be recorded")


class Waiting:
    """Attempts in memory, bounded by number and by size. A full memory drops the newest: serving is never held up."""

    def __init__(self, *, most: int = MOST_ATTEMPTS, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._items: deque[tuple[Attempt, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, attempt: Attempt, size: int) -> None:
        with self._changed:
            if len(self._items) < self._most and self._bytes + size <= self._most_bytes:
                self._items.append((attempt, size))
                self._bytes += size
                self._changed.notify()
                return
        DROPPED.labels("memory_full").inc()

    def take(self, most: int, *, wait: float) -> Sequence[Attempt]:
        """Up to ``most``; after ``wait`` seconds without any, none."""
        with self._changed:
            if not self._items:
                self._changed.wait(wait)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
        return [attempt for attempt, _ in taken]

    def __len__(self) -> int:
        return len(self._items)


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
        self._keeper = threading.Thread(target=self._keep_all, name="capture-keeper", daemon=True)
        self._sender = threading.Thread(target=self._send_all, name="capture-sender", daemon=True)
        self.trouble: str | None = None
        """Why nothing is kept at the moment: no redactor, or no room."""

    def start(self) -> None:
        self._keeper.start()
        self._sender.start()

    def offer(self, attempt: Attempt, *, size: int) -> None:
        """From the event loop; never waits. ``size`` in bytes, about."""
        self._waiting.put(attempt, size)

    def stop(self, *, within_seconds: float) -> None:
        """What is in memory goes to disk; what is on disk is sent after the next start."""
        self._stop.set()
        self._kept.set()
        self._keeper.join(within_seconds)
        self._sender.join(SENDER_LEAVES_SECONDS)
        if len(self._waiting):
            DROPPED.labels("stopped").inc(len(self._waiting))
            log.error("The gateway ends with attempts in memory.", action="capture_lost", attempts=len(self._waiting))

    def _keep_all(self) -> None:
        attempts: Sequence[Attempt] = ()
        while True:
            attempts = attempts or self._waiting.take(BATCH, wait=0 if self._stop.is_set() else IDLE_SECONDS)
            if not attempts:
                if self._stop.is_set():
                    return
                continue
            try:
                keep(attempts, redactor=self._redactor, encode=self._encode, spool=self._spool, now=datetime.now(UTC))
            except FlywheelError as error:  # the same attempts again: they are nowhere else
                if self.trouble is None:
                    log.error("Attempts cannot be kept.", action="capture_trouble", error=str(error))
                self.trouble = str(error)
                if self._stop.wait(RETRY_SECONDS):
                    DROPPED.labels("stopped").inc(len(attempts))
                    return
                continue
            self.trouble, attempts = None, ()
            self._kept.set()

    def _send_all(self) -> None:
        asked, silent = 0.0, False
        while not self._stop.is_set():
            self._kept.wait(IDLE_SECONDS)
            self._kept.clear()
            try:
                while publish(spool=self._spool, publisher=self._publisher, topic=self._topic, now=datetime.now(UTC)):
                    if self._stop.is_set():
                        return
                if time.monotonic() - asked >= CONFIRM_SECONDS:
                    asked = time.monotonic()
                    confirm(spool=self._spool, question=self._question, now=datetime.now(UTC))
                    WAITING.set(self._spool.waiting())
                silent = False
            except FlywheelError as error:
                if not silent:  # once per silence
                    log.warning("Captured events wait on disk.", action="capture_waits", error=str(error))
                silent = True
                self._stop.wait(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 (the thread must outlive what the broker's library may raise; nothing is lost: the spool has it)
                log.error("Sending captured events failed.", action="capture_send_failed", error=f"{type(error).__name__}: {error}"[:300])
                self._stop.wait(RETRY_SECONDS)
