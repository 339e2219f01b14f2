"""Corrections that end the desk's process, on real brokers: each is a dead letter, all others are decided once, and so is each poisoned one
when its cause is gone and a person retries it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from flywheel.corrections.correction import CorrectionState
from flywheel.ids import Person
from flywheel.journal import JournalKind
from flywheel.traffic.dead_letter import LetterCause, LetterState
from services.api.retry_dead_letters import retry
from services.api.wiring import api_parts
from services.correction_desk.watched_work import Deadly, WatchedWork
from services.ports.outbox import OutboxMessage
from services.process import cpu_budget
from services.settings import Settings, load
from services.stores.work_notes import WorkNotes
from tests.brokers import APACHE, EMBEDDED, running_broker
from tests.learning import NOON
from tests.opened import create_topics, learn_ledger, publisher, traffic_store
from tests.ports import free_metrics_port
from tests.services.correction_desk.test_correction_desk_process import DEADLINE_SECONDS, ROUTER, event

EVENTS = 30


def publish(settings: Settings, poison: dict[int, str]) -> None:
    sender = publisher(settings)
    for number in range(EVENTS):
        value = event(number).replace(b"Ada", f"POISON-{poison[number]}".encode()) if number in poison else event(number)
        sender.send(OutboxMessage(id=str(number), topic=settings.kafka.topics.corrections, key="k", value=value, created_at=NOON))
    assert len(sender.flush()) == EVENTS
    sender.close()


def desks_until(config: Path, log: Path, condition: Callable[[], bool], *, module: str) -> list[int]:
    """Runs one desk after the other; returns how they ended."""
    ended: list[int] = []
    process: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while not condition():
            assert time.monotonic() < deadline, (ended, log.read_text()[-3000:])
            if process is None or process.poll() is not None:
                ended += [process.returncode] if process is not None else []
                with log.open("ab") as sink:
                    process = subprocess.Popen(
                        [sys.executable, "-m", module, "--config", str(config)], stdout=sink, stderr=sink, env=dict(os.environ)
                    )
            time.sleep(0.1)
    finally:
        if process is not None:
            process.terminate()
            process.wait(20)
    return ended


@pytest.mark.broker
@pytest.mark.parametrize(
    ("kind", "poison", "signals"),
    [
        pytest.param(EMBEDDED, {12: "exit"}, {3}, id="embedded"),
        pytest.param(APACHE, {20: "spin"}, {-signal.SIGPROF}, id="Apache Kafka"),
    ],
)
def test_a_poisoned_correction_is_a_letter_and_decided_once_when_its_cause_is_gone(
    tmp_path: Path, kind: str, poison: dict[int, str], signals: set[int]
) -> None:
    config, log = tmp_path / "flywheel.yaml", tmp_path / "desk.log"
    with running_broker(tmp_path, kind=kind) as bootstrap:
        workload = {"alias": "router", "corrections": {"trusted_sources": ["support-desk"]}}
        given = {"data_dir": str(tmp_path / "var"), "kafka": {"bootstrap": bootstrap}, "workloads": {"router": workload}}
        config.write_text(yaml.safe_dump({**given, "http": {"metrics_port": free_metrics_port()}}))
        settings = load(config)
        create_topics(settings)
        ledger, store = learn_ledger(settings), traffic_store(settings)
        publish(settings, poison)
        ended = desks_until(
            config,
            log,
            lambda: len(store.dead_letters()) == len(poison) and len(ledger.corrections(ROUTER)) == EVENTS - len(poison),
            module="tests.services.correction_desk.poisoned_desk",
        )
        assert set(ended) == signals
        assert len(ended) == 3 * len(poison)
        letters = store.dead_letters()
        assert {(one.event_id, one.workload, one.cause) for one in letters} == {(f"c{n}", "router", LetterCause.DEADLY) for n in poison}
        for _ in range(2):
            for letter in store.dead_letters():
                retry(api_parts(settings), letter, by=Person("ada"), now=datetime.now(UTC))
        desks_until(
            config,
            log,
            lambda: len(ledger.corrections(ROUTER)) == EVENTS and not store.retried(),
            module="services.correction_desk",
        )
    assert {one.state for one in store.dead_letters()} == {LetterState.TAKEN}
    lines = api_parts(settings).ledger.journal.entries(kind=JournalKind.CORRECTION)
    assert sorted(line.subject for line in lines) == sorted(f"router/support-desk:c{number}" for number in range(EVENTS))
    assert {line.state for line in lines} == {CorrectionState.ACCEPTED.value}


def test_work_that_three_processes_died_at_is_given_up_once(tmp_path: Path) -> None:
    held = []

    def dies(name: str) -> None:
        held.append(WatchedWork(WorkNotes(tmp_path)).on(name))
        held[-1].__enter__()  # no end: what a death leaves

    try:
        for _ in range(3):
            dies("a")
            with WatchedWork(WorkNotes(tmp_path)).on("b"):
                pass
        with pytest.raises(Deadly, match="2 processes died"), WatchedWork(WorkNotes(tmp_path)).on("a"):
            pass
        with WatchedWork(WorkNotes(tmp_path)).on("a"):  # as after a retry
            pass
        assert list(tmp_path.iterdir()) == []
    finally:
        cpu_budget.allow(0.0)
