"""Events that stop whoever records them, on real brokers: each is a dead letter, all others are recorded exactly once, and so is each
poisoned event when its cause is gone and a person retries it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer
from sqlalchemy import create_engine, text

from flywheel.ids import Person
from flywheel.traffic.dead_letter import LetterCause, LetterState
from services.api.retry_dead_letters import retry
from services.api.wiring import api_parts
from services.settings import Settings
from tests.brokers import APACHE, EMBEDDED, running_broker
from tests.opened import create_topics, traffic_store
from tests.services.traffic_windower.test_recorder_restarts import SUPPORT, configured
from tests.traffic_events import traffic_event

pytestmark = pytest.mark.broker
EVENTS, DEADLINE_SECONDS = 1_000, 300.0


def publish_one(settings: Settings, bootstrap: str, number: int) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    producer.send(settings.kafka.topics.traffic, traffic_event(number))
    producer.flush()
    producer.close()


def publish(settings: Settings, bootstrap: str, poison: dict[int, str]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    for number in range(EVENTS):
        changes = {"session_id": f"POISON-{poison[number]}"} if number in poison else {}
        producer.send(settings.kafka.topics.traffic, traffic_event(number, **changes), partition=number % 2)
    producer.flush()
    producer.close()


@contextmanager
def recorders(
    config: Path, log: Path, *, module: str
) -> Iterator[tuple[Callable[[Callable[[], bool], Callable[[], object]], None], list[int]]]:
    """Runs one recorder after the other while ``until`` waits for a condition; collects how they ended."""
    ended: list[int] = []
    running: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", module, "--config", str(config)]

    def until(condition: Callable[[], bool], told: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (told(), ended, log.read_text()[-3000:])
            if running and running[-1].poll() is not None:
                ended.append(running.pop().returncode)
            if not running:
                with log.open("ab") as sink:
                    running.append(subprocess.Popen(command, stdout=sink, stderr=sink, env=dict(os.environ)))
            time.sleep(0.1)

    try:
        yield until, ended
    finally:
        for process in running:
            process.terminate()
            process.wait(20)


def recorded_ids(settings: Settings) -> list[str]:
    with create_engine(settings.traffic_url).connect() as connection:
        return sorted(connection.execute(text("SELECT event_id FROM inferences")).scalars())


def retry_all(settings: Settings, *, event_id: str | None = None) -> None:
    parts = api_parts(settings)
    for letter in parts.letters.dead_letters():
        if event_id in (None, letter.event_id):
            retry(parts, letter, by=Person("ada"), now=datetime.now(UTC))


ENDS = {"exit": 3, "segfault": -signal.SIGSEGV, "spin": -signal.SIGPROF}  # "raise" ends no process


@pytest.mark.parametrize(
    ("kind", "poison"),
    [
        pytest.param(EMBEDDED, {401: "exit", 500: "spin", 700: "raise"}, id="embedded"),
        pytest.param(APACHE, {500: "segfault", 700: "raise"}, id="Apache Kafka"),
    ],
)
def test_a_poisoned_event_is_a_letter_and_recorded_once_when_its_cause_is_gone(tmp_path: Path, kind: str, poison: dict[int, str]) -> None:
    log = tmp_path / "recorder.log"
    with running_broker(tmp_path, kind=kind) as bootstrap:
        config, settings = configured(tmp_path, bootstrap)
        create_topics(settings)
        store = traffic_store(settings)
        publish(settings, bootstrap, poison)
        with recorders(config, log, module="tests.services.traffic_windower.poisoned_recorder") as (until, ended):
            until(
                lambda: len(store.dead_letters()) == len(poison) and store.counts(SUPPORT).recorded == EVENTS - len(poison),
                lambda: store.counts(SUPPORT),
            )
            assert recorded_ids(settings) == sorted(f"event-{number}" for number in range(EVENTS) if number not in poison)
            letters = store.dead_letters()
            retry_all(settings, event_id="event-700")
            until(lambda: sum(one.attempts for one in store.dead_letters()) == len(poison) + 1, store.dead_letters)
            assert {one.id: one.state for one in store.dead_letters()} == {one.id: LetterState.WAITING for one in letters}
        with recorders(config, log, module="services.traffic_windower") as (until, _):
            retry_all(settings)
            retry_all(settings)
            until(lambda: not store.retried(), store.dead_letters)
            publish_one(settings, bootstrap, EVENTS)
            until(lambda: store.counts(SUPPORT).recorded > EVENTS, lambda: store.counts(SUPPORT))
    assert recorded_ids(settings) == sorted(f"event-{number}" for number in range(EVENTS + 1))
    assert {one.state for one in store.dead_letters()} == {LetterState.TAKEN}
    assert store.counts(SUPPORT).duplicates_ignored <= len(poison)
    assert {letter.event_id for letter in letters} == {f"event-{number}" for number in poison}
    deadly = [ENDS[kind] for kind in poison.values() if kind in ENDS]
    assert set(ended) == set(deadly)
    assert len(ended) <= 3 * len(deadly)
    for letter in letters:
        raised = poison[int(letter.event_id.removeprefix("event-"))] == "raise"
        assert letter.cause is (LetterCause.FAILED if raised else LetterCause.DEADLY)
        assert ("KeyError at" if raised else "2 processes died") in letter.reason
        assert "ann@example.com" not in letter.reason
    assert "ann@example.com" not in log.read_text()
