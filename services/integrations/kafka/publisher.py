"""Publishes events by kafka-python, synchronously.

In: outbox messages. Out: the ids that the broker has acknowledged (all in-sync replicas), and those that it refused for good. The caller
sends the others again. A producer that failed is replaced: after some errors (its id is unknown to a broker that came back empty, or has
expired; another producer fenced it) it would never send again.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from prometheus_client import Counter

from services.integrations.kafka.topics import KafkaAccess
from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage

log = structlog.get_logger()
FLUSH_SECONDS = 10.0
CLOSE_SECONDS = 1.0
BATCH_BYTES = 16_384
REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTopicError)
"""The broker's last word on a message that was sent alone."""
REPLACED = Counter("flywheel_producers_replaced_total", "Kafka producers given up after an error; the next message gets a new one")


class KafkaEventPublisher:
    """One connection, opened at the first message, so that a process can start while the broker is down."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._producer: Any = None
        self._in_flight: list[tuple[OutboxMessage, Any]] = []
        self._batch_bytes = BATCH_BYTES  # 0 once a batch failed whose messages arrived alone: the client may wait for ever for a split one
        self._too_large: dict[str, str] = {}
        self._refused: Mapping[str, str] = {}

    @property
    def refused(self) -> Mapping[str, str]:
        return self._refused

    def send(self, message: OutboxMessage) -> None:
        try:
            self._in_flight.append((message, self._begin(message)))
        except REFUSED as error:
            self._too_large[message.id] = _told(error)

    def _begin(self, message: OutboxMessage) -> Any:
        """The future of its arrival. Raises REFUSED as the client does, and NotPublished for every other failure."""
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    acks="all",
                    linger_ms=5,
                    batch_size=self._batch_bytes,
                    max_block_ms=5_000,
                    bootstrap_timeout_ms=5_000,
                    max_request_size=2_097_152,
                    **self._access.options(),
                )
            return self._producer.send(message.topic, value=message.value, key=message.key.encode())
        except REFUSED:
            raise
        except (KafkaError, OSError) as error:
            self._give_up(_told(error))
            raise NotPublished(
                f"the broker does not take events: {error}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="It is tried again; see that the broker runs.",
            ) from error

    def flush(self) -> frozenset[str]:
        """A refusal is believed of a message that was sent alone: a producer that met one fails whatever it sends later, and a batch may
        be too large for the broker though its messages are not."""
        in_flight, self._in_flight = self._in_flight, []
        self._refused, self._too_large = self._too_large, {}
        if self._producer is None:
            return frozenset()
        self._flush()
        arrived = {message.id for message, sent in in_flight if sent.succeeded()}
        failed = [(message, sent.exception) for message, sent in in_flight if message.id not in arrived]
        if failed:
            self._give_up(_told(next((error for _, error in failed if error is not None), None)))
        deadline = time.monotonic() + FLUSH_SECONDS  # the caller sends again what is neither refused nor arrived by then
        for message, _ in failed:
            if time.monotonic() > deadline:
                break
            if (error := self._send_alone(message)) is None:
                arrived.add(message.id)
                self._batch_bytes = 0
            elif isinstance(error, REFUSED):
                self._refused = {**self._refused, message.id: _told(error)}
            else:
                break  # the broker is away
        return frozenset(arrived)

    def _send_alone(self, message: OutboxMessage) -> BaseException | None:
        """Why it did not arrive."""
        try:
            sent = self._begin(message)
        except (*REFUSED, NotPublished) as error:
            return error
        self._flush()
        if sent.succeeded():
            return None
        self._give_up(_told(sent.exception))
        return sent.exception or NotPublished("no acknowledgement in time", where="kafka.bootstrap", remedy="It is sent again.")

    def _flush(self) -> None:
        with suppress(KafkaError):  # the futures say which messages arrived
            self._producer.flush(timeout=FLUSH_SECONDS)

    def close(self) -> None:
        if self._producer is not None:
            self._end(seconds=2.0)

    def _give_up(self, reason: str) -> None:
        """What the producer still holds is dropped, not sent later: the caller has it and sends it by the next producer."""
        if self._producer is None:
            return
        REPLACED.inc()
        log.info("The producer is replaced.", action="producer_replaced", reason=reason)
        self._in_flight = []
        self._producer._sender.force_close()  # ``close`` alone raises while it holds messages, and goes on sending
        self._end(seconds=CLOSE_SECONDS)

    def _end(self, *, seconds: float) -> None:
        producer, self._producer = self._producer, None
        with suppress(KafkaError):
            producer.close(timeout=seconds)


def _told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"[:300] if error is not None else "no acknowledgement in time"
