"""The recorder as a real process on a real broker: killed, fed duplicates and rubbish, and its broker lost."""

import os
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest
from kafka import KafkaProducer
from recorder_process import SUPPORT, RecorderProcess, configured, until
from sqlalchemy import create_engine, text

from tests.brokers import KINDS, running_broker
from tests.opened import create_topics, traffic_store
from tests.ports import free_port
from tests.traffic_events import NOON, traffic_event

pytestmark = pytest.mark.broker


def said(content: str) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}


ANSWERED, REFUSED = said("On its way."), said("I cannot help.")


def session_of(number: int) -> str:
    """Far apart in time, so that its rows meet the recorder before and after it was killed."""
    return f"session-{number % 157}"


def refuses(number: int) -> bool:
    return number % 3 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again_it_counts_every_event_once(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("FLYWHEEL_TEST_SEED", "20260105"))
    print("seed", seed)
    chance = random.Random(seed)
    with running_broker(tmp_path, kind=kind) as bootstrap:
        config, settings = configured(tmp_path, bootstrap)
        create_topics(settings)
        store = traffic_store(settings)
        process = RecorderProcess(config, tmp_path / "recorder.log")
        events, kills = 1_200, 2
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)

        def send(number: int) -> None:
            # A resent event may land in another partition: only its id says that it is the same.
            producer.send(
                settings.kafka.topics.traffic,
                traffic_event(
                    number,
                    arm="shadow" if number % 10 == 0 else "champion",
                    session_id=session_of(number),
                    response=REFUSED if refuses(number) else ANSWERED,
                ),
                partition=chance.randrange(4),
            )

        sent = rubbish = 0
        process.start()
        try:
            for _ in range(kills):
                share = events // kills
                for number in range(sent, sent + share):
                    send(number)
                    if chance.random() < 0.1:
                        send(chance.randrange(number + 1))
                    if chance.random() < 0.01:
                        rubbish += 1
                        producer.send(settings.kafka.topics.traffic, f"rubbish {number}".encode(), partition=chance.randrange(4))
                sent += share
                producer.flush()
                # Not before it has done something since its start, then at any moment.
                before = store.counts(SUPPORT).recorded
                until(
                    lambda before=before: store.counts(SUPPORT).recorded > before,
                    what=lambda: (tmp_path / "recorder.log").read_text()[-3000:],
                )
                time.sleep(chance.random() * 0.1)
                process.kill()
                process.start()
            production = sum(number % 10 != 0 for number in range(events))
            until(
                lambda: store.counts(SUPPORT).recorded == production and store.counts(SUPPORT).dead_lettered == rubbish,
                what=lambda: (store.counts(SUPPORT), (tmp_path / "recorder.log").read_text()[-3000:]),
            )
        finally:
            status = process.terminate()
    assert status == 0
    window = store.window(workload=SUPPORT, start=NOON, end=NOON + timedelta(seconds=events))
    assert window.matrix.rows_by_slice == {"all": production, "tenant=acme": 480, "tenant=globex": 600}
    refused = [number for number in range(events) if number % 10 != 0 and refuses(number)]
    whole = window.matrix.slices.index("all")
    assert window.matrix.of("refusal")[whole, 1] == len(refused)
    assert window.matrix.of("first_refusal")[whole, 1] == len({session_of(number) for number in refused})
    assert all((window.matrix.of(column).sum(axis=1) == window.matrix.rows).all() for column, _ in window.matrix.bins)
    with create_engine(settings.traffic_url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM inferences")).scalar() == events
        assert connection.execute(text("SELECT count(*) FROM seen_ids")).scalar() == events


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_comes_back_empty_is_read_from_its_first_record(tmp_path: Path, kind: str) -> None:
    """The new topic is longer than the stored offset: a plain seek would skip its beginning unnoticed."""
    port = free_port()
    bootstrap = f"127.0.0.1:{port}"
    config, settings = configured(tmp_path, bootstrap)
    store = traffic_store(settings)
    process = RecorderProcess(config, tmp_path / "recorder.log")

    def publish(numbers: range) -> None:
        create_topics(settings)
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
        for number in numbers:
            producer.send(settings.kafka.topics.traffic, traffic_event(number), partition=0)
        producer.flush()
        producer.close()

    def log() -> str:
        return (tmp_path / "recorder.log").read_text()[-3000:]

    with running_broker(tmp_path, kind=kind, port=port):
        publish(range(50))
        process.start()
        try:
            until(lambda: store.counts(SUPPORT).recorded == 50, what=log)
        except BaseException:
            process.kill()
            raise
    try:
        with running_broker(tmp_path, kind=kind, port=port):
            publish(range(50, 170))
            until(lambda: process.ended() or store.counts(SUPPORT).recorded == 170, what=log)
            if process.ended():  # the supervisor's part: whoever ends on a lost broker is started again
                process.start()
                until(lambda: store.counts(SUPPORT).recorded == 170, what=log)
            assert process.terminate() == 0
    finally:
        process.kill()
    # Some may have been read twice, before the change was noticed and after; none counts twice.
    assert store.window(workload=SUPPORT, start=NOON, end=NOON + timedelta(seconds=170)).rows == 170
