"""Publishes events by kafka-python, synchronously.

In: outbox messages. Out: the ids that the broker has acknowledged (all in-sync replicas), and those that it refused for good. The caller
sends the others again. A producer that failed is replaced: after some errors (its id is unknown to a broker that came back empty, or has
expired; another producer fenced it) it would never send again.
"""

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
REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTopicError)
"""The broker's last word on a message, whichever producer sends it."""
REPLACED = Counter("flywheel_producers_replaced_total", "Kafka producers given up after an error; the next message gets a new one")


class KafkaEventPublisher:
    """One connection, opened at the first message, so that a process can start while the broker is down."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._producer: Any = None
        self._in_flight: list[tuple[str, Any]] = []
        self._too_large: dict[str, str] = {}
        self._refused: Mapping[str, str] = {}

    @property
    def refused(self) -> Mapping[str, str]:
        return self._refused

    def send(self, message: OutboxMessage) -> None:
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    acks="all",
                    linger_ms=5,
                    max_block_ms=5_000,
                    bootstrap_timeout_ms=5_000,
                    max_request_size=2_097_152,
                    **self._access.options(),
                )
            sent = self._producer.send(message.topic, value=message.value, key=message.key.encode())
        except REFUSED as error:
            self._too_large[message.id] = _told(error)
            return
        except (KafkaError, OSError) as error:
            self._give_up(_told(error))
            raise NotPublished(
                f"the broker does not take events: {error}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="It is tried again; see that the broker runs.",
            ) from error
        self._in_flight.append((message.id, sent))

    def flush(self) -> frozenset[str]:
        in_flight, self._in_flight = self._in_flight, []
        self._refused, self._too_large = self._too_large, {}
        if self._producer is None:
            return frozenset()
        with suppress(KafkaError):  # the futures below say which of them arrived
            self._producer.flush(timeout=FLUSH_SECONDS)
        arrived = frozenset(id for id, sent in in_flight if sent.succeeded())
        failed = [(id, sent.exception) for id, sent in in_flight if id not in arrived]
        self._refused = {**self._refused, **{id: _told(error) for id, error in failed if isinstance(error, REFUSED)}}
        if open_ones := [error for id, error in failed if id not in self._refused]:
            self._give_up(_told(next((error for error in open_ones if error is not None), None)))
        return arrived

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
