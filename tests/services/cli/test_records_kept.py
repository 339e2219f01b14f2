"""What doctor says of old records: how long the disk lasts, what keeps them, and a database that cannot shrink."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flywheel.alerts.alert import AlertState
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.features import columns_of
from services.cli import records_kept as module
from services.cli.doctor import CheckLevel, examine
from services.cli.records_kept import records_kept
from services.ports.traffic import RecordedInference, RecordingBatch
from services.process.machine import read_machine
from services.settings import Settings
from services.settings.pane_shapes import pane_shapes
from services.stores.database import open_ledger
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.journal import LedgerJournal
from tests.contract.test_old_ledger_and_files import an_alert
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store
from tests.watching import ROUTER

DAY = timedelta(days=1)
ROW_DAYS = 30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "workloads": {"router": {"alias": "a"}}})


@pytest.fixture
def store(settings: Settings) -> Iterator[BothSides]:
    return recording_store(settings.data_dir, shapes=pane_shapes(settings))


def record(store: BothSides, number: int, *, at: datetime) -> None:
    rows = []
    for one in range(200):
        row = replace(inference(1_000 * number + one, workload=ROUTER), occurred_at=at + timedelta(seconds=one))
        rows.append(RecordedInference(inference=row, features=columns_of(row, valid_format=None), topic="t"))
    store.record(RecordingBatch(advances=[], rows=rows, recorded_at=at))


def sentences(settings: Settings) -> list[str]:
    return [one.sentence for one in records_kept(settings, now=NOON)]


def free(monkeypatch: pytest.MonkeyPatch, *, mib: float) -> None:
    monkeypatch.setattr(module, "free_gib", lambda _: mib / 1024)


def test_nothing_is_foretold_without_traffic(settings: Settings) -> None:
    assert sentences(settings) == []


def test_the_disk_is_full_in_so_many_days_at_todays_rate(settings: Settings, store: BothSides, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        record(store, number, at=NOON - (3 - number) * DAY - timedelta(hours=1))
    with closing(sqlite3.connect(settings.data_dir / "traffic.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    used = sum((settings.data_dir / name).stat().st_size for name in ("traffic.db", "ledger.db"))
    free(monkeypatch, mib=10 * used / 4 / 2**20)
    assert "(200 rows, " in sentences(settings)[0]
    assert sentences(settings)[0].endswith("the disk is full in 10 days")
    free(monkeypatch, mib=(ROW_DAYS - 2) * used / 4 / 2**20)  # three days of the thirty are there
    assert "the disk does not fill" in sentences(settings)[0]


def test_doctor_says_what_keeps_old_records_and_that_the_clock_was_set(settings: Settings, store: BothSides) -> None:
    ledger = open_ledger(settings.ledger_url)
    line = JournalEntry(at=NOON, workload=ROUTER, kind=JournalKind.ALERT, subject="a", state="firing", reason="r")
    alert = an_alert(AlertState.FIRING, at=NOON - 50 * DAY, first="none")
    LedgerAlerts(ledger, topic="t").save_alert(alert, line)
    jump = replace(
        line, kind=JournalKind.RETENTION, state="waits", workload=WorkloadId(""), reason="the clock was set forward by 365.0 days"
    )
    LedgerJournal(ledger).append(jump)
    said = sentences(settings)
    assert any(
        "router: rows, contents, keys, reports from 2025-11-15 on stay beyond their time: alert alert-firing is firing" in one
        for one in said
    )
    assert any(one.startswith("no old record is deleted until 2026-01-06 12:00 UTC: the clock was set") for one in said)


def test_doctor_names_a_database_that_cannot_shrink(settings: Settings, store: BothSides) -> None:
    assert not any("gives none back" in one for one in sentences(settings))
    store.engine.dispose()
    with closing(sqlite3.connect(settings.data_dir / "traffic.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("PRAGMA auto_vacuum=NONE")
        database.execute("VACUUM")
    found = [one for one in examine(settings, read_machine()) if one.part == "old records" and "gives none back" in one.sentence]
    assert [one.finding for one in found] == [CheckLevel.NOTE]
    assert "auto_vacuum=INCREMENTAL" in found[0].remedy
