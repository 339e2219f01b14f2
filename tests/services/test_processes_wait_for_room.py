"""Recorder and correction desk on a real file system that is full: they wait, say so, and lose nothing when there is room."""

import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from flywheel.ids import WorkloadId
from services.cli import doctor
from services.cli.up.wiring import health_answer, readyz
from services.ports.cloud_events import encode
from services.ports.outbox import OutboxMessage
from services.process.process_names import metrics_port
from services.settings import Settings, load
from tests.brokers import running_broker
from tests.opened import create_topics, learn_ledger, publisher, traffic_store
from tests.ports import free_metrics_port
from tests.small_disk import fill, small_file_system
from tests.told_flows import until
from tests.traffic_events import NOON, traffic_event

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = WorkloadId("support")
PROCESSES = ("traffic_windower", "correction_desk")
MEBIBYTES = 80  # without a reserve, all but the ledger wants 64 of them free

pytestmark = pytest.mark.broker


def correction(number: int) -> bytes:
    data = {
        "correction_id": f"c{number}",
        "workload_id": "support",
        "source": "desk",
        "kind": "edit",
        "messages": [{"role": "user", "content": f"Where is parcel {number}?"}],
        "author": {"name": "Ada"},
        "created_at": "2026-01-05T12:00:00Z",
        "corrected": f"At depot {number}.",
    }
    return encode(type="flywheel.correction.v1", id=f"c{number}", workload="support", time=NOON, data=data)


def send(settings: Settings, numbers: range) -> None:
    """One event and one correction for each number."""
    sender = publisher(settings)
    for number in numbers:
        for topic, value in (
            (settings.kafka.topics.traffic, traffic_event(number)),
            (settings.kafka.topics.corrections, correction(number)),
        ):
            sender.send(OutboxMessage(id=f"{topic}-{number}", topic=topic, key="k", value=value, created_at=NOON))
    assert len(sender.flush()) == 2 * len(numbers)
    sender.close()


@contextmanager
def started(name: str, config: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", f"services.{name}", "--config", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_recorder_and_correction_desk_wait_for_room(tmp_path: Path) -> None:
    config = tmp_path / "flywheel.yaml"
    with running_broker(tmp_path) as bootstrap, small_file_system(tmp_path / "disk", mebibytes=MEBIBYTES) as disk, ExitStack() as stack:
        content = {
            "data_dir": str(disk / "var"),
            "http": {"metrics_port": free_metrics_port()},
            "kafka": {"bootstrap": bootstrap},
            "workloads": {"support": {"alias": "support", "corrections": {"trusted_sources": ["desk"]}}},
        }
        config.write_text(yaml.safe_dump(content))
        settings = load(config)
        create_topics(settings)
        store, ledger = traffic_store(settings), learn_ledger(settings)
        addresses = {name: f"http://127.0.0.1:{metrics_port(settings, name)}" for name in PROCESSES}
        logs = {name: tmp_path / f"{name}.log" for name in PROCESSES}
        running = {name: stack.enter_context(started(name, config, logs[name])) for name in PROCESSES}

        def said() -> str:
            return "\n".join(log.read_text()[-1500:] for log in logs.values())

        until(lambda: all(health_answer(address) is None for address in addresses.values()), what=said)
        send(settings, range(10))
        until(lambda: store.counts(SUPPORT).recorded == 10 and len(ledger.corrections(SUPPORT)) == 10, what=said)

        fill(disk / "filler")
        send(settings, range(10, 40))

        def waits(name: str) -> bool:
            answer = readyz(addresses[name]) or {}
            with urllib.request.urlopen(f"{addresses[name]}/metrics") as metrics:
                told = f'flywheel_disk_waits{{process="{name}"}} 1.0' in metrics.read().decode()
            found = [one.sentence for one in doctor.examine_flows(settings)]
            return bool(answer.get("disk")) and told and any(one.startswith(f"{name} waits for the disk") for one in found)

        until(lambda: waits("traffic_windower"), what=said)
        before = {name: log.stat().st_size for name, log in logs.items()}
        time.sleep(5)  # not a wait for anything: some attempts fail meanwhile
        assert all(process.poll() is None for process in running.values()), said()
        assert all(log.stat().st_size - before[name] < 2_000 for name, log in logs.items()), said()
        (disk / "filler").unlink()
        until(lambda: store.counts(SUPPORT).recorded == 40 and len(ledger.corrections(SUPPORT)) == 40, what=said)
        until(lambda: not any((readyz(address) or {}).get("disk") for address in addresses.values()), what=said)
        assert all(process.poll() is None for process in running.values())
        assert logs["traffic_windower"].read_text().count('"disk_waits"') == 1
        for database in (disk / "var").rglob("*.db"):
            with sqlite3.connect(database) as opened:
                assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
