"""Events that stop whoever records them, on a real broker: each becomes a dead letter, all others are recorded exactly once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer
from sqlalchemy import create_engine, text

from services.settings import Settings
from tests.brokers import running_broker
from tests.opened import create_topics, traffic_store
from tests.services.traffic_windower.test_recorder_restarts import SUPPORT, configured
from tests.traffic_events import traffic_event

pytestmark = pytest.mark.broker
EVENTS, DEADLINE_SECONDS = 1_000, 300.0


def publish(settings: Settings, bootstrap: str, poison: dict[int, str]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    for number in range(EVENTS):
        changes = {"session_id": f"POISON-{poison[number]}"} if number in poison else {}
        producer.send(settings.kafka.topics.traffic, traffic_event(number, **changes), partition=number % 2)
    producer.flush()
    producer.close()


@pytest.mark.parametrize(
    ("poison", "signals"),
    [({700: "raise"}, set()), ({401: "exit", 850: "segfault"}, {3, -signal.SIGSEGV}), ({500: "spin"}, {-signal.SIGPROF})],
    ids=["an exception", "deaths", "no end"],
)
def test_a_poisoned_event_is_a_dead_letter_and_all_others_are_recorded(tmp_path: Path, poison: dict[int, str], signals: set[int]) -> None:
    ended: list[int] = []
    with running_broker(tmp_path) as bootstrap, (tmp_path / "recorder.log").open("ab") as log:
        config, settings = configured(tmp_path, bootstrap)
        create_topics(settings)
        store = traffic_store(settings)
        publish(settings, bootstrap, poison)
        command = [sys.executable, "-m", "tests.services.traffic_windower.poisoned_recorder", "--config", str(config)]
        deadline, process = time.monotonic() + DEADLINE_SECONDS, None
        try:
            while len(store.dead_letters()) < len(poison) or store.counts(SUPPORT).recorded < EVENTS - len(poison):
                assert time.monotonic() < deadline, (store.counts(SUPPORT), ended, (tmp_path / "recorder.log").read_text()[-3000:])
                if process is None or process.poll() is not None:
                    ended += [process.returncode] if process is not None else []
                    process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
                time.sleep(0.1)
        finally:
            if process is not None:
                process.terminate()
                process.wait(20)
    with create_engine(settings.traffic_url).connect() as connection:
        ids = list(connection.execute(text("SELECT event_id FROM inferences")).scalars())
    assert sorted(ids) == sorted(f"event-{number}" for number in range(EVENTS) if number not in poison)
    letters = store.dead_letters()
    assert {letter.event_id for letter in letters} == {f"event-{number}" for number in poison}
    assert set(ended) == signals
    assert len(ended) <= 3 * len([kind for kind in poison.values() if kind != "raise"])
    for letter in letters:
        assert "KeyError at" in letter.reason or "2 processes died" in letter.reason
        assert "ann@example.com" not in letter.reason
    assert "ann@example.com" not in (tmp_path / "recorder.log").read_text()
