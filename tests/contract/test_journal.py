"""The journal keeps lines as they are, the newest are found first, and words of other versions are read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind, OtherKind, ReleaseChange
from services.stores.database import writing
from services.stores.ledger.journal import LedgerJournal
from tests.databases import migrated_ledger

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROUTER = WorkloadId("router")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return migrated_ledger(tmp_path)


def line(minute: int, *, kind: JournalKind | OtherKind = JournalKind.RUN, subject: str = "run-1", **evidence: object) -> JournalEntry:
    at = NOON + timedelta(minutes=minute)
    return JournalEntry(at=at, workload=ROUTER, kind=kind, subject=subject, state="queued", reason="because", evidence=evidence)


def test_the_newest_lines_are_found_and_come_oldest_first(engine: Engine) -> None:
    journal = LedgerJournal(engine)
    journal.append(*(line(minute) for minute in range(10)))
    assert [entry.at for entry in journal.entries(kind=JournalKind.RUN, limit=2)] == [NOON + timedelta(minutes=m) for m in (8, 9)]


def test_the_same_line_is_kept_once(engine: Engine) -> None:
    journal = LedgerJournal(engine)
    journal.append(line(0), line(0))
    journal.append(line(0))
    assert journal.entries() == [line(0)]


def test_a_kind_of_another_version_is_read_with_its_id(engine: Engine) -> None:
    journal, unknown = LedgerJournal(engine), line(0, kind=OtherKind("postmortem"))
    journal.append(unknown)
    (found,) = journal.entries()
    assert (found, found.id) == (unknown, unknown.id)
    assert not isinstance(found.kind, JournalKind)
    assert journal.entries(kind=OtherKind("postmortem")) == [unknown]


def test_a_release_line_of_an_older_version_says_nothing_it_does_not_hold() -> None:
    assert ReleaseChange.of(line(0, adapter="router-1")) == ReleaseChange(adapter="router-1", by="")


@pytest.mark.parametrize("statement", ["UPDATE journal SET reason = 'another'", "DELETE FROM journal"])
def test_the_database_itself_refuses_to_change_a_line(engine: Engine, statement: str) -> None:
    LedgerJournal(engine).append(line(0))
    with pytest.raises(IntegrityError, match="append-only"), writing(engine) as connection:
        connection.exec_driver_sql(statement)
