"""Publishing events: the same promises by the real publisher on a real broker and by the fake."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import InvalidProducerEpochError, OutOfOrderSequenceNumberError, ProducerFencedError, UnknownProducerIdError

from flywheel.errors import CannotRun
from services.integrations.kafka.embedded_broker import EmbeddedBroker
from services.integrations.kafka.publisher import KafkaEventPublisher
from services.integrations.kafka.topics import KafkaAccess, create_topics, topic_id
from services.ports.events import EventPublisher, NotPublished
from services.ports.outbox import OutboxMessage
from tests.brokers import KINDS, ApacheKafka, running_broker
from tests.fakes.event_publisher import FakeEventPublisher
from tests.ports import free_port
from tests.traffic_events import NOON

SPEC = {
    "topics": {"alerts": {"partitions": 1, "retention_days": 1, "cleanup": "compact"}},
    "dead_letters": {"suffix": ".dlq", "partitions": 1, "retention_days": 1},
}
Arrived = Callable[[], list[bytes]]


def message(number: int) -> OutboxMessage:
    return OutboxMessage(id=f"m-{number}", topic="alerts.v1", key="k", value=f"value {number}".encode(), created_at=NOON)


@pytest.fixture(params=["fake", *KINDS])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EventPublisher, Arrived]]:
    if request.param == "fake":
        fake = FakeEventPublisher()
        yield fake, lambda: [sent.value for sent in fake.arrived]
        return
    with running_broker(tmp_path, kind=request.param) as bootstrap:
        access = KafkaAccess(bootstrap=bootstrap)
        assert set(create_topics(access, names={"alerts": "alerts.v1"}, spec=SPEC, replication=1)) == {"alerts.v1", "alerts.v1.dlq"}
        assert create_topics(access, names={"alerts": "alerts.v1"}, spec=SPEC, replication=1) == ()
        assert topic_id(access, "alerts.v1") == topic_id(access, "alerts.v1") != topic_id(access, "alerts.v1.dlq")

        def arrived() -> list[bytes]:
            consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=3_000)
            consumer.assign([TopicPartition("alerts.v1", 0)])
            consumer.seek(TopicPartition("alerts.v1", 0), 0)
            values = []
            for record in consumer:
                values.append(record.value)
                if len(values) == 3:
                    break
            consumer.close()
            return values

        publisher = KafkaEventPublisher(access)
        yield publisher, arrived
        publisher.close()


def test_what_is_acknowledged_has_arrived_in_order(published: tuple[EventPublisher, Arrived]) -> None:
    publisher, arrived = published
    for number in range(3):
        publisher.send(message(number))
    assert publisher.flush() == {"m-0", "m-1", "m-2"}
    assert publisher.flush() == frozenset()
    assert arrived() == [b"value 0", b"value 1", b"value 2"]


def test_a_message_that_is_too_large_is_refused_alone(published: tuple[EventPublisher, Arrived]) -> None:
    publisher, arrived = published
    publisher.send(message(0))
    publisher.send(replace(message(1), value=b"x" * 3_000_000))
    publisher.send(message(2))
    assert publisher.flush() == {"m-0", "m-2"}
    assert list(publisher.refused) == ["m-1"]
    assert "TooLarge" in publisher.refused["m-1"]
    publisher.send(message(3))
    assert (publisher.flush(), publisher.refused) == ({"m-3"}, {})
    assert arrived() == [b"value 0", b"value 2", b"value 3"]


@pytest.mark.broker
def test_a_message_over_the_brokers_own_limit_is_refused_alone_and_costs_no_other(tmp_path: Path) -> None:
    """The client does not know this limit. The producer that met it fails all that it sends later."""
    kafka = ApacheKafka(tmp_path, port=free_port(), more=("message.max.bytes=6000",))
    kafka.start()
    try:
        create_topics(kafka.access, names={"alerts": "alerts.v1"}, spec=SPEC, replication=1)
        publisher = KafkaEventPublisher(kafka.access)
        sizes = [500] * 20 + [9_000] + [2_000] * 20 + [9_000, 500]
        for number, size in enumerate(sizes):
            publisher.send(replace(message(number), value=os.urandom(size)))
        small = {f"m-{number}" for number, size in enumerate(sizes) if size < 6_000}
        assert publisher.flush() == small
        assert {id: "TooLarge" in why for id, why in publisher.refused.items()} == {"m-20": True, "m-41": True}
        publisher.send(message(50))
        assert (publisher.flush(), publisher.refused) == ({"m-50"}, {})
        publisher.close()
    finally:
        kafka.kill()


@pytest.mark.broker
@pytest.mark.parametrize("error", [UnknownProducerIdError, ProducerFencedError, OutOfOrderSequenceNumberError, InvalidProducerEpochError])
def test_a_producer_that_met_a_fatal_error_is_replaced(tmp_path: Path, error: type[Exception]) -> None:
    """Such a producer fails every later message, whatever the broker says."""
    with running_broker(tmp_path) as bootstrap:
        publisher = KafkaEventPublisher(KafkaAccess(bootstrap=bootstrap))
        publisher.send(message(0))
        assert publisher.flush() == {"m-0"}
        threads = threading.active_count()
        publisher._producer._transaction_manager.transition_to_fatal_error(error())
        arrived, refusals = frozenset[str](), 0
        while not arrived:
            try:
                publisher.send(message(1))
            except NotPublished:
                refusals += 1
            arrived = publisher.flush()
            assert refusals < 3
        assert arrived == {"m-1"}
        assert threading.active_count() == threads  # the old one does not go on in the background
        publisher.close()


def test_without_a_broker_the_message_stays_ours() -> None:
    publisher = KafkaEventPublisher(KafkaAccess(bootstrap=f"127.0.0.1:{free_port()}"))
    with pytest.raises(NotPublished):
        publisher.send(message(1))
    assert publisher.flush() == frozenset()
    publisher.close()


@pytest.mark.broker
def test_a_second_broker_on_the_port_is_refused_and_stopping_twice_is_fine(tmp_path: Path) -> None:
    with running_broker(tmp_path) as bootstrap:
        second = EmbeddedBroker(port=int(bootstrap.rpartition(":")[2]), log_path=tmp_path / "second.log")
        with pytest.raises(CannotRun, match="port is taken"):
            second.start()
        second.stop()
        second.stop()
        assert not second.alive()
