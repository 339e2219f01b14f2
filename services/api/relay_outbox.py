"""Relays the outbox: sends events from the ledger to the broker, and repeats until they have arrived.

In: due messages. Out: messages sent and deleted. A correction is deleted only when the correction desk has saved it: a broker's
acknowledgement is not yet a record. While the broker is down, messages wait; one that it refuses for good is set aside and delays no other.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import orjson
import structlog
from prometheus_client import Counter

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.progress import Flow
from flywheel.traffic.dead_letter import letter_id
from services.api.accept_submissions import MESSAGE_PREFIX
from services.ports.corrections import CorrectionLedger
from services.ports.events import EventPublisher, NotPublished
from services.ports.journal import Journal
from services.ports.outbox import Outbox, OutboxMessage
from services.process.progress import FlowMark

RESEND_AFTER = timedelta(seconds=15)
PACE_SECONDS = 60.0  # within it a message is sent, when there is one
BROKER_DOWN_SECONDS = 1.0
RELAYED = Counter("flywheel_outbox_total", "Messages of the outbox", ["outcome"])
log = structlog.get_logger()


class Relay:
    """One thread of the api process."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        corrections: CorrectionLedger,
        journal: Journal,
        open_publisher: Callable[[], EventPublisher],
        corrections_topic: str,
        resend_after: timedelta = RESEND_AFTER,
    ) -> None:
        self._outbox, self._corrections, self._journal = outbox, corrections, journal
        self._open_publisher = open_publisher
        self._publisher: EventPublisher | None = None
        self._corrections_topic, self._resend_after = corrections_topic, resend_after
        self.trouble: str | None = None
        """Why no events are sent at the moment; /readyz shows it."""
        self._waiting = 0  # messages due, as they were read last
        flow = Flow(name="outbox", pace_seconds=PACE_SECONDS, remedy="See that the broker runs; the events wait in the ledger.")
        self.flow = FlowMark(flow, waiting=lambda: self._waiting, cause=lambda: self.trouble)

    def tick(self, now: datetime) -> float | None:
        """One step. Returns the seconds until the next one, or None to wait for a change of the ledger."""
        moved = self.step(now)
        if moved:
            self.flow.moved()
        return BROKER_DOWN_SECONDS if self.trouble else 0.0 if moved else None

    def step(self, now: datetime) -> int:
        """Sends what is due; returns how many messages were sent or deleted."""
        due = self._outbox.due(now=now, resend_after=self._resend_after)
        self._waiting = len(due)
        kept = [message for message in due if self._is_kept(message)]
        if kept:
            self._outbox.confirmed([message.id for message in kept])
            RELAYED.labels("confirmed").inc(len(kept))
        left = [message for message in due if message not in kept]
        moved = len(kept) + (self._send(left, now) if left else 0)
        self._waiting = max(0, self._waiting - moved)
        return moved

    def _send(self, messages: list[OutboxMessage], now: datetime) -> int:
        try:
            if self._publisher is None:
                self._publisher = self._open_publisher()
            for message in messages:
                self._publisher.send(message)
            arrived = self._publisher.flush()
        except NotPublished as error:
            self._report_trouble(str(error))
            return 0
        waiting = [message.id for message in messages if message.id in arrived and message.topic == self._corrections_topic]
        done = [message.id for message in messages if message.id in arrived and message.topic != self._corrections_topic]
        if waiting:
            self._outbox.sent(waiting, now=now)
        if done:
            self._outbox.confirmed(done)
        RELAYED.labels("sent").inc(len(arrived))
        refused = self._publisher.refused
        if refused:
            self._set_aside([message for message in messages if message.id in refused], refused, now)
        if open_ones := len(messages) - len(waiting) - len(done) - len(refused):
            self._report_trouble(f"the broker did not acknowledge {open_ones} of {len(messages)} events")
        elif self.trouble:
            log.info("Events are sent again", action="outbox_recovered")
            self.trouble = None
        return len(waiting) + len(done) + len(refused)

    def _set_aside(self, messages: list[OutboxMessage], why: Mapping[str, str], now: datetime) -> None:
        """Messages that the broker refuses for good stay in the ledger and delay no other."""
        self._outbox.set_aside([message.id for message in messages])
        RELAYED.labels("refused").inc(len(messages))
        for message in messages:
            log.error("The broker refuses an event for good", action="outbox_refused", message=message.id, reason=why[message.id])
            line = JournalEntry(
                at=now,
                workload=WorkloadId(""),
                kind=JournalKind.DEAD_LETTER,
                subject=message.id,
                state="refused",
                reason=f"the broker refuses it for good: {why[message.id]}",
                evidence={"topic": message.topic, "bytes": len(message.value)},
            )
            self._journal.append(line)

    def _is_kept(self, message: OutboxMessage) -> bool:
        """Whether the correction desk has decided on it, or has journalled why it cannot be read."""
        if message.topic != self._corrections_topic or not message.id.startswith(MESSAGE_PREFIX):
            return False
        with suppress(orjson.JSONDecodeError, KeyError, TypeError):  # a damaged one is sent: the correction desk says what is wrong with it
            submitted = orjson.loads(message.value)["data"]
            workload = WorkloadId(submitted["workload_id"])
            if self._corrections.by_given_id(submitted["correction_id"], source=submitted["source"], workload=workload):
                return True
        return bool(self._journal.entries(kind=JournalKind.DEAD_LETTER, subject=letter_id(message.topic, message.value), limit=1))

    def _report_trouble(self, reason: str) -> None:
        if self.trouble is None:
            log.warning("Events wait in the outbox", action="outbox_waits", reason=reason)
        self.trouble = reason
        RELAYED.labels("failed").inc()
        self.close()

    def close(self) -> None:
        """The next step opens a new connection: an old one may still buffer what it could not send."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
