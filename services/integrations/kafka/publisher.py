"""Publishes events by kafka-python, synchronously.

In: outbox messages. Out: the ids that the broker has acknowledged (all in-sync replicas). The caller sends the others again.
"""

from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.integrations.kafka.topics import KafkaAccess
from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage

FLUSH_SECONDS = 10.0


class KafkaEventPublisher:
    """One connection, opened at the first message, so that a process can start while the broker is down."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._producer: Any = None
        self._in_flight: list[tuple[str, Any]] = []

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
        except (KafkaError, OSError) as error:
            raise NotPublished(
                f"the broker does not take events: {error}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="It is tried again; see that the broker runs.",
            ) from error
        self._in_flight.append((message.id, sent))

    def flush(self) -> frozenset[str]:
        if self._producer is None:
            return frozenset()
        with suppress(KafkaError):  # the futures below say which of them arrived
            self._producer.flush(timeout=FLUSH_SECONDS)
        arrived = frozenset(id for id, sent in self._in_flight if sent.succeeded())
        self._in_flight = []
        return arrived

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close(timeout=2)
            self._producer = None
