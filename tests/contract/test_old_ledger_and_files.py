"""Old records of ledger.db and old files: what is deleted, and what stays."""

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from flywheel.alerts.alert import Alert, AlertMessage, AlertState, Severity, WindowsSeen
from flywheel.ids import AlertId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.retention import OldPeriod, RecordKind
from services.ports.old_records import OldRecords
from services.stores.database import reading, to_text, writing
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.drift import window_table
from services.stores.ledger.judgements import judgement_table
from services.stores.ledger.old_ledger import OldLedger
from services.stores.ledger.outbox import NEVER_AGAIN, outbox_table
from services.stores.ledger.records_held import RecordsHeld
from services.stores.ledger.work_queue import work_table
from services.stores.old_files import OldFiles
from tests.databases import migrated_ledger
from tests.ledgers import DriftAndAlertLedger
from tests.traffic_events import NOON
from tests.watching import ROUTER, reference_of, some_rows, window_counts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVER = OldPeriod(start=None, end=NOON)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return migrated_ledger(tmp_path)


def emptied(old: OldRecords, kind: RecordKind, workload: str | None = "router", period: OldPeriod = EVER) -> int:
    total = 0
    while deleted := old.delete_some(kind, None if workload is None else WorkloadId(workload), period, at_most=3):
        assert deleted <= 3
        total += deleted
    return total


def column(engine: Engine, held: object) -> list[object]:
    with reading(engine) as connection:
        return sorted(connection.execute(select(held)).scalars())  # type: ignore[call-overload, no-any-return]


def add_window(engine: Engine, name: str, *, end: datetime, workload: str = "router") -> None:
    window = {"id": name, "workload": workload, "start": to_text(end - HOUR), "end": to_text(end), "reference": "", "traffic": "{}"}
    judged = {"window": name, "times": 0, "workload": workload, "start": to_text(end - HOUR), "end": to_text(end), "since": to_text(end)}
    judged |= {"rows": 1, "position": 1, "at": to_text(end), "champion": "", "line": "", "found": "[]", "withdrawn": "[]"}  # type: ignore[dict-item]
    with writing(engine) as connection:
        connection.execute(insert(window_table).values(**window, verdicts="[]", second_opinions="[]"))
        connection.execute(insert(judgement_table).values(**judged))


def test_old_windows_go_and_the_newest_of_each_workload_stays(engine: Engine) -> None:
    for number in range(5):
        add_window(engine, f"w{number}", end=NOON - (9 - number) * DAY)
    add_window(engine, "alone", end=NOON - 400 * DAY, workload="quiet")
    add_window(engine, "young", end=NOON + DAY)
    old = OldLedger(engine)
    emptied(old, RecordKind.EVIDENCE)
    emptied(old, RecordKind.EVIDENCE, "quiet")
    assert column(engine, window_table.c.id) == ["alone", "young"]
    assert column(engine, judgement_table.c.window) == ["young"]
    assert old.workloads() == {"router", "quiet", ""}


def test_work_goes_when_it_is_done_and_open_work_never(engine: Engine) -> None:
    for state in ("open", "leased", "done", "failed"):
        values = {"id": state, "kind": "train", "workload": "router", "payload": "{}", "caused_by": "", "state": state, "attempts": 1}
        with writing(engine) as connection:
            connection.execute(insert(work_table).values(**values, created_at=to_text(NOON - 99 * DAY), lease_until=to_text(NOON - DAY)))
    assert emptied(OldLedger(engine), RecordKind.WORK) == 2
    assert column(engine, work_table.c.id) == ["leased", "open"]


def test_refused_messages_and_submissions_go_and_waiting_ones_stay(engine: Engine) -> None:
    for name, sent_at in (("refused", NEVER_AGAIN), ("waiting", None), ("sent", to_text(NOON - DAY))):
        values = {"id": name, "topic": "t", "key": "k", "value": b"{}", "created_at": to_text(NOON - 40 * DAY), "sent_at": sent_at}
        with writing(engine) as connection:
            connection.execute(insert(outbox_table).values(**values))
    corrections = LedgerCorrections(engine)
    for at in (NOON - DAY, NOON + DAY):
        corrections.rejected_submission(reason="no", source="s", at=at, kind="rejected")
    assert emptied(OldLedger(engine), RecordKind.DEAD_LETTERS, "") == 2
    assert column(engine, outbox_table.c.id) == ["sent", "waiting"]
    assert corrections.submission_counts(ROUTER)["rejected"] == 1


def an_alert(state: AlertState, *, at: datetime, first: str) -> Alert:
    seen = WindowsSeen(first=first, newest=first, until=at)
    message = AlertMessage(summary="s", first_action="a")
    return Alert(
        id=AlertId(f"alert-{state}"),
        workload=ROUTER,
        severity=Severity.INFO,
        state=state,
        message=message,
        started_at=at,
        last_seen_at=at,
        seen=seen,
        resolved_at=at if state is AlertState.RESOLVED else None,
    )


def test_open_alerts_and_references_in_force_hold_records_with_a_reason(engine: Engine) -> None:
    ledger = DriftAndAlertLedger(engine)

    def line(kind: JournalKind, subject: str) -> JournalEntry:
        return JournalEntry(at=NOON, workload=ROUTER, kind=kind, subject=subject, state="s", reason="r")

    for state in (AlertState.RESOLVED, AlertState.FIRING):
        ledger.save_alert(an_alert(state, at=NOON, first="none"), line(JournalKind.ALERT, state))
    for number, name in enumerate(("first", "second")):
        pinned = replace(reference_of(window_counts(some_rows(20), start=NOON + number * DAY), name=name), pinned_at=NOON + number * DAY)
        ledger.pin(pinned, line(JournalKind.REFERENCE, name))
    held = RecordsHeld(engine).holds(ROUTER, sample_rows=500)
    assert [(one.reason, one.start, one.end, one.sample) for one in held] == [
        ("alert alert-firing is firing", NOON - DAY, None, 0),
        ("reference second is in force", NOON + DAY, NOON + DAY + HOUR, 500),
    ]
    assert RecordKind.EVIDENCE in held[0].kinds
    assert held[1].kinds == {RecordKind.ROWS}
    assert len(RecordsHeld(engine).holds(ROUTER, sample_rows=0)) == 1


def old_file(path: Path, text: str, *, changed: datetime) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (changed.timestamp(), changed.timestamp()))
    return path


def test_a_log_is_turned_over_so_that_no_line_is_older_than_its_time(tmp_path: Path) -> None:
    now = [NOON]
    old = OldFiles(tmp_path, now=lambda: now[0], workload_of=lambda _: None)
    log = tmp_path / "logs" / "host.log"
    log.parent.mkdir()
    with log.open("ab", buffering=0) as writer:  # as the process holds it open
        for hour in range(0, 24 * 90, 6):
            now[0] = NOON + hour * HOUR
            writer.write(f"{now[0].isoformat()}\n".encode())
            emptied(old, RecordKind.LOGS, None, OldPeriod(start=None, end=now[0] - 30 * DAY))
            lines = [line for file in log.parent.iterdir() for line in file.read_text().splitlines()]
            assert min(datetime.fromisoformat(line) for line in lines) >= now[0] - 30 * DAY
            assert now[0].isoformat() in lines
            assert len(lines) >= min(hour // 6, 4 * 14)  # at least half of the time is there


def test_logs_of_parts_that_are_gone_and_a_turn_in_the_future(tmp_path: Path) -> None:
    gone = old_file(tmp_path / "logs" / "broker.log.1", "old\n", changed=NOON - 20 * DAY)
    old_file(tmp_path / "logs" / "api.log", "line\n", changed=NOON)
    ahead = old_file(tmp_path / "logs" / "api.log.1", "", changed=NOON + 400 * DAY)
    old = OldFiles(tmp_path, now=lambda: NOON, workload_of=lambda _: None)
    emptied(old, RecordKind.LOGS, None, OldPeriod(start=None, end=NOON - 30 * DAY))
    assert not gone.exists()
    assert ahead.stat().st_mtime == NOON.timestamp()


def test_reports_go_by_the_workload_of_their_window(tmp_path: Path) -> None:
    owners = {"a": WorkloadId("router"), "b": WorkloadId("other")}
    for name, at in (("a", NOON - DAY), ("b", NOON - DAY), ("unknown", NOON - DAY), ("young", NOON + DAY)):
        old_file(tmp_path / "reports" / f"{name}.html", "<p>", changed=at)
    old = OldFiles(tmp_path, now=lambda: NOON, workload_of=owners.get)
    assert emptied(old, RecordKind.REPORTS) == 1
    assert sorted(page.stem for page in (tmp_path / "reports").iterdir()) == ["b", "unknown", "young"]
    assert emptied(old, RecordKind.REPORTS, "") == 1
