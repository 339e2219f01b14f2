"""A year of traffic on a clock that the test moves: nothing is older than its time, in any table, file or log."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from flywheel.ids import WorkloadId
from flywheel.retention import ClockReading, RecordKind, RetentionPolicy
from flywheel.traffic.features import columns_of
from services.drift_monitor.delete_old_records import OldRecordsSweep
from services.drift_monitor.wiring import retention_parts
from services.ports.traffic import RecordedInference, RecordingBatch
from services.settings import Settings
from services.settings.pane_shapes import pane_shapes
from services.stores.database import open_ledger, to_text, writing
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.outbox import NEVER_AGAIN, outbox_table
from services.stores.ledger.work_queue import work_table
from tests.contract.test_old_ledger_and_files import add_window, old_file
from tests.contract.test_traffic_store import letter
from tests.traffic_events import NOON, inference
from tests.traffic_stores import recording_store

DAY, STEP, STEPS = timedelta(days=1), timedelta(days=7.5), 50
SHORT = RetentionPolicy(rows=20, contents=19, panes=90, evidence=40, work=40, dead_letters=20, reports=15)
DEFAULT = RetentionPolicy(panes=100, contents=30)
TIMES = {  # table: (kind, column of its time)
    "inferences": (RecordKind.ROWS, "occurred_at"),
    "seen_ids": (RecordKind.IDS, "at"),
    "session_firsts": (RecordKind.IDS, "day"),
    "panes": (RecordKind.PANES, "pane_start"),
    "dead_letters": (RecordKind.DEAD_LETTERS, "at"),
    "subject_keys": (RecordKind.KEYS, "used_at"),
    "drift_window": (RecordKind.EVIDENCE, "end"),
    "drift_judgement": (RecordKind.EVIDENCE, "end"),
    "work": (RecordKind.WORK, "lease_until"),
    "outbox": (RecordKind.DEAD_LETTERS, "created_at"),
    "submissions_turned_away": (RecordKind.DEAD_LETTERS, "at"),
}
WITHOUT_TIME = {  # as operations.md says
    *("journal", "alert", "alert_notice", "drift_reference", "drift_profile", "submissions", "corrections", "cases", "general_examples"),
    *("golden_sets", "snapshots", "runs", "adapters", "gates", "gate_answers", "releases", "routes"),
    *("traffic_counts", "positions", "alembic_version", "flywheel_schema", "sqlite_sequence"),
}
SLACK = timedelta(hours=26) + STEP  # a pass is due; a key's time is written once a day
WORKLOADS = ("support", "other")


class YearWorld:
    """The daemon's data folder, and what is written into it on one day."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.running = folder, NOON, 0.0
        short = {
            f"{name}_days": getattr(SHORT, name) for name in ("rows", "contents", "panes", "evidence", "work", "dead_letters", "reports")
        }
        self.settings = Settings.model_validate(
            {
                "data_dir": folder,
                "retention": {"panes_days": DEFAULT.panes, "contents_days": DEFAULT.contents},
                "workloads": {"support": {"alias": "a"}, "other": {"alias": "b", "retention": short}},
            }
        )
        self.store = recording_store(folder, shapes=pane_shapes(self.settings))
        self.ledger = open_ledger(self.settings.ledger_url)
        self.sweep = OldRecordsSweep(retention_parts(self.settings, read_clock=self.reads))

    def reads(self) -> ClockReading:
        return ClockReading(wall=self.now, running=self.running, boot="one")

    def passes(self, time: timedelta) -> None:
        self.now, self.running = self.now + time, self.running + time.total_seconds()

    def write(self, number: int) -> None:
        rows = []
        for at, name in enumerate(WORKLOADS):
            one = inference(2 * number + at, workload=WorkloadId(name), session=f"s-{number // 3}", status=500)
            one = replace(one, occurred_at=self.now - timedelta(hours=number % 5))
            rows.append(RecordedInference(inference=one, features=columns_of(one, valid_format=False), topic="t"))
        letters = [letter(3 * number + at, workload=name, at=self.now) for at, name in enumerate((*WORKLOADS, ""))]
        self.store.record(RecordingBatch(advances=[], rows=rows, dead_letters=letters, recorded_at=self.now))
        LedgerCorrections(self.ledger).rejected_submission(reason="no", source="s", at=self.now, kind="rejected")
        for name in WORKLOADS:
            add_window(self.ledger, f"{name}-{number}", end=self.now, workload=name)
            old_file(self.folder / "reports" / f"{name}-{number}.html", "<p>", changed=self.now)
        work = {"kind": "train", "payload": "{}", "caused_by": "", "state": "done", "attempts": 1, "lease_until": to_text(self.now)}
        message = {"topic": "t", "key": "k", "value": b"", "sent_at": NEVER_AGAIN, "created_at": to_text(self.now)}
        with writing(self.ledger) as connection:
            for name in WORKLOADS:
                connection.execute(insert(work_table).values(id=f"{name}-{number}", workload=name, created_at=to_text(self.now), **work))
            connection.execute(insert(outbox_table).values(id=str(number), **message))
        log = self.folder / "logs" / "host.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("a") as file:
            file.write(f"{self.now.isoformat()} a line\n")

    def delete(self) -> None:
        self.sweep.tick(self.now)
        while self.sweep.tick(self.now) is not None:
            pass


def test_after_a_year_nothing_is_older_than_its_time(tmp_path: Path) -> None:
    world = YearWorld(tmp_path)
    sizes = []
    for number in range(STEPS):
        world.write(number)
        world.passes(STEP)
        world.delete()
        sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("-wal")))
    assert world.now - NOON > 370 * DAY
    assert older_than_their_time(world) == []
    assert max(sizes[STEPS // 2 :]) < 1.3 * max(sizes[STEPS // 3 : STEPS // 2])  # it does not grow any more
    counts = [world.store.counts(WorkloadId(name)) for name in WORKLOADS]
    assert [one.recorded for one in counts] == [STEPS, STEPS]


def older_than_their_time(world: YearWorld) -> list[str]:
    """Table, workload and time, or the file."""
    found = []
    for name in ("ledger.db", "traffic.db"):
        with closing(sqlite3.connect(world.folder / name)) as database:
            tables = {str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in sorted(tables - WITHOUT_TIME - {"exchange_contents"}):
                kind, column = TIMES[table]
                columns = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
                owner = "workload" if "workload" in columns and kind is not RecordKind.IDS else "''"
                number, oldest = database.execute(f"SELECT count(*), min({column}) FROM {table}").fetchone()
                assert number > 0, f"{table}: nothing was written, so nothing is shown"
                for workload, oldest in database.execute(f"SELECT {owner}, min({column}) FROM {table} GROUP BY {owner}"):
                    policy = SHORT if workload == "other" else DEFAULT
                    if datetime.fromisoformat(oldest).replace(tzinfo=UTC) < world.now - policy.kept(kind) - SLACK:
                        found.append(f"{table} of {workload or 'all'}: {oldest}")
    with closing(sqlite3.connect(world.folder / "traffic.db")) as database:
        query = "SELECT i.workload, min(i.occurred_at) FROM exchange_contents c LEFT JOIN inferences i USING (event_id) GROUP BY i.workload"
        for workload, oldest in database.execute(query):
            policy = SHORT if workload == "other" else DEFAULT
            if workload is None or datetime.fromisoformat(oldest) < world.now - policy.kept(RecordKind.CONTENTS) - SLACK:
                found.append(f"exchange_contents of {workload}: {oldest}")
    for file in (world.folder / "logs").iterdir():
        for line in file.read_text().splitlines():
            if datetime.fromisoformat(line.split()[0]) < world.now - DEFAULT.kept(RecordKind.LOGS) - SLACK:
                found.append(f"{file.name}: {line}")
    for file in (world.folder / "reports").iterdir():
        policy = SHORT if file.name.startswith("other") else DEFAULT
        if datetime.fromtimestamp(os.stat(file).st_mtime, tz=UTC) < world.now - policy.kept(RecordKind.REPORTS) - SLACK:
            found.append(file.name)
    return found
