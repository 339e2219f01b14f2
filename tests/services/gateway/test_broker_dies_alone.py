"""The broker dies and comes back empty, and nothing else does: every exchange reaches the topic, whatever happens to the producer."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_parts import MailRedactor, RecordedSet, attempt, sealed_log, until
from topic_reader import SPEC, TOPIC, TopicReader

from flywheel.ids import RequestId
from services.gateway.capture_attempts import Capture, Onward, encoded_by
from services.integrations.kafka.event_codec import TRAFFIC_TYPE
from services.integrations.kafka.publisher import KafkaEventPublisher
from services.integrations.kafka.topics import KafkaAccess, create_topics
from services.ports.cloud_events import encode
from services.stores.capture_spool import CaptureSpool
from tests.brokers import running_broker
from tests.ports import free_port


@pytest.fixture
def recorded() -> RecordedSet:
    return RecordedSet()


@pytest.fixture
def capture(tmp_path: Path, recorded: RecordedSet) -> Iterator[tuple[Capture, str]]:
    bootstrap = f"127.0.0.1:{free_port()}"
    onward = Onward(
        redactor=MailRedactor(),
        encode=encoded_by(lambda **fields: encode(type=TRAFFIC_TYPE, **fields)),
        spool=CaptureSpool(tmp_path / "spool.db"),
        publisher=KafkaEventPublisher(KafkaAccess(bootstrap=bootstrap)),
        question=recorded,
        topic=TOPIC,
    )
    running = Capture(sealed=sealed_log(tmp_path / "sealed"), open_record=lambda: onward)
    running.start()
    yield running, bootstrap
    running.stop(within_seconds=5)


def one_life_of_the_broker(tmp_path: Path, bootstrap: str, recorded: RecordedSet, during: Callable[[], None]) -> TopicReader:
    """Killed with signal 9 when ``during`` returns."""
    with running_broker(tmp_path, port=int(bootstrap.rpartition(":")[2]), killed=True):
        create_topics(KafkaAccess(bootstrap=bootstrap), names={"traffic": TOPIC}, spec=SPEC, replication=1)
        recorder = TopicReader(bootstrap, recorded.ids)
        recorder.start()
        during()
        recorder.stop()
    return recorder


@pytest.mark.broker
def test_killed_while_idle_the_next_hundred_arrive(tmp_path: Path, capture: tuple[Capture, str], recorded: RecordedSet) -> None:
    running, bootstrap = capture

    def hundred(first: int) -> Callable[[], None]:
        def answered() -> None:
            for number in range(first, first + 100):
                running.offer(attempt(request_id=RequestId(f"r{number}"), session=f"s{number % 7}"), size=100)
            until(lambda: len(recorded.ids) == first + 100, told=lambda: (len(recorded.ids), running.waits.reason))

        return answered

    for life in range(3):
        recorder = one_life_of_the_broker(tmp_path, bootstrap, recorded, hundred(100 * life))
        assert len(recorder.read) >= 100
    until(lambda: running.waits.reason is None)


@pytest.mark.broker
def test_killed_under_traffic_every_exchange_arrives(tmp_path: Path, capture: tuple[Capture, str], recorded: RecordedSet) -> None:
    running, bootstrap = capture
    over, answered = threading.Event(), []

    def traffic() -> None:
        while not over.wait(0.01):
            answered.append(f"r{len(answered)}")
            running.offer(attempt(request_id=RequestId(answered[-1]), session=f"s{len(answered) % 7}"), size=100)

    users = threading.Thread(target=traffic, daemon=True)
    users.start()
    for _ in range(2):
        before = len(recorded.ids)
        one_life_of_the_broker(tmp_path, bootstrap, recorded, lambda before=before: until(lambda: len(recorded.ids) >= before + 100))
        until(lambda: running.waits.reason is not None)  # the gateway says that it waits, while there is no broker

    def rest() -> None:
        until(lambda: len(recorded.ids) >= before + 200)
        over.set()
        users.join()
        wanted = {f"{one}-1" for one in answered}
        until(lambda: recorded.ids == wanted, told=lambda: (sorted(wanted - recorded.ids)[:5], running.waits.reason))

    one_life_of_the_broker(tmp_path, bootstrap, recorded, rest)
    assert running.waits.reason is None
