"""The real process on a real broker: killed at a random moment, restarted, and ended in order."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from kafka import KafkaConsumer

from flywheel.corrections.correction import CorrectionState
from flywheel.ids import WorkloadId
from flywheel.traffic.dead_letter import LetterCause
from services.ports.cloud_events import encode
from services.ports.outbox import OutboxMessage
from services.process.process_names import PROCESSES
from services.settings import load
from services.stores.ledger.journal import LedgerJournal
from tests.databases import empty_databases
from tests.learning import NOON
from tests.opened import create_topics, learn_ledger, open_ledger, publisher, traffic_store
from tests.ports import free_metrics_port

ROUTER = WorkloadId("router")
DEADLINE_SECONDS = 240.0  # only a failing test waits that long: importing takes a minute on a machine with much else to do


def event(number: int) -> bytes:
    data = {
        "correction_id": f"c{number}",
        "workload_id": "router",
        "source": "support-desk",
        "kind": "edit",
        "messages": [{"role": "user", "content": f"request {random.Random(number).getrandbits(200):x} of ann{number}@example.com"}],
        "author": {"name": "Ada"},
        "created_at": "2026-03-01T12:00:00Z",
        "corrected": f"answer {number}",
    }
    return encode(type="flywheel.correction.v1", id=f"c{number}", workload="router", time=NOON, data=data)


def inline(number: int, **texts: str) -> bytes:
    """An event whose request came with it; ``texts``: original and corrected."""
    raw = json.loads(event(number))
    raw["data"] |= {"messages": [{"role": "user", "content": f"Where am I, {random.Random(number).getrandbits(99):x}?"}], **texts}
    return json.dumps(raw).encode()


def until(condition: Callable[[], bool], what: str, *, of: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert of.poll() is None, f"the desk ended before: {what}"
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


@contextmanager
def desk(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    empty_databases(config.parent / "var")
    with log.open("ab") as sink:
        process = subprocess.Popen([sys.executable, "-m", "services.correction_desk", "--config", str(config)], stderr=sink, stdout=sink)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or it answers 503
        return False


@pytest.mark.broker
def test_a_killed_process_loses_nothing_and_counts_nothing_twice(broker: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("FLYWHEEL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    metrics = free_metrics_port()
    config = tmp_path / "flywheel.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "data_dir": str(tmp_path / "var"),
                "http": {"metrics_port": metrics},
                "kafka": {"bootstrap": broker},
                "workloads": {"router": {"alias": "router", "corrections": {"trusted_sources": ["support-desk"]}}},
            }
        )
    )
    settings = load(config)
    create_topics(settings)
    ledger, journal = learn_ledger(settings), LedgerJournal(open_ledger(settings))
    rubbish, stranger = b"\xff not an event", event(999).replace(b"router", b"nobody")
    stopped_it_before = [
        inline(40, original="You are caller # in the queue.", corrected="You are caller 3 in the queue."),
        inline(41, original="none", corrected='{"tool":"send","arguments":{"text":"ok \\ud83d"}}'),
    ]
    first_half = [*(event(number) for number in range(20)), rubbish, *stopped_it_before]
    sent = [*first_half, *(event(number) for number in range(20, 40)), event(3), stranger, event(25)]
    sender = publisher(settings)
    for place, value in enumerate(sent):
        sender.send(OutboxMessage(id=str(place), topic=settings.kafka.topics.corrections, key="k", value=value, created_at=NOON))
    assert len(sender.flush()) == len(sent)
    sender.close()

    log = tmp_path / "desk.log"
    with desk(config, log) as first:
        until(lambda: len(ledger.corrections(ROUTER)) > 0, "the first correction", of=first)
        time.sleep(random.Random(seed).uniform(0.0, 0.3))  # the moment of death, not a wait for anything
        first.kill()
    with desk(config, log) as second:
        until(lambda: len(ledger.corrections(ROUTER)) == 42, "all corrections", of=second)
        until(lambda: len({one.evidence["offset"] for one in journal.entries(kind="dead_letter")}) == 2, "both dead letters", of=second)
        port = metrics + PROCESSES.index("correction_desk")
        until(lambda: is_ready(port), "readiness", of=second)  # the first may have done all the work before it was killed
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=DEADLINE_SECONDS) == 0

    lines = journal.entries(kind="correction")
    assert sorted(line.subject for line in lines) == sorted(f"router/support-desk:c{number}" for number in range(42))
    assert {line.state for line in lines} == {CorrectionState.ACCEPTED.value}
    assert len(ledger.cases(ROUTER)) == 42
    assert len(journal.entries(kind="dead_letter")) == 2
    redactions = {kept.joined.correction.given_id: kept.joined.correction.redactions for kept in ledger.corrections(ROUTER)}
    assert all(redactions[f"c{number}"] == 1 for number in range(40))
    assert "Traceback" not in log.read_text()

    store = traffic_store(settings)
    letters = {letter.id: letter for letter in store.dead_letters()}
    assert {store.content(id) for id in letters} == {rubbish, stranger}
    assert {letter.cause for letter in letters.values()} == {LetterCause.UNREADABLE, LetterCause.REFUSED}
    assert {letter.attempts for letter in letters.values()} == {1}
    consumer = KafkaConsumer(
        settings.kafka.topics.corrections + ".dlq",
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        consumer_timeout_ms=2_000,
    )
    assert {json.loads(notice.value)["letter"] for notice in consumer} == set(letters)
    consumer.close()


def test_an_unknown_setting_is_one_sentence_and_no_stack_trace(tmp_path: Path) -> None:
    config = tmp_path / "flywheel.yaml"
    config.write_text("colour: red\n")
    done = subprocess.run(
        [sys.executable, "-m", "services.correction_desk", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "colour" in done.stderr
    assert "Traceback" not in done.stderr
