"""A real file system that is full: the reserve keeps the ledger able to write, and every database is whole afterwards."""

import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.cli.report.wiring import open_report_ledgers
from services.process.wait_for_disk import disk_trouble
from services.stores.capture_spool import CaptureSpool
from services.stores.database import open_ledger
from services.stores.disk_reserve import NAME, DiskReserve
from services.stores.ledger.journal import LedgerJournal
from services.stores.sealed_log import SealedLog
from services.stores.sealing import SealingKey
from services.stores.spooled_event import SpooledEvent, SpoolUnwritable
from tests.databases import empty_databases
from tests.small_disk import fill, small_file_system
from tests.watching import NOON

MIB = 1024**2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "disk", mebibytes=16) as folder:
        yield folder


def line(number: int) -> JournalEntry:
    at = NOON + timedelta(seconds=number)
    return JournalEntry(at=at, workload=WorkloadId("w"), kind=JournalKind.DAEMON, subject=f"s{number}", state="x", reason="y" * 2_000)


def test_the_ledger_is_written_on_a_full_disk(disk: Path) -> None:
    empty_databases(disk)
    reserve, filler = DiskReserve(disk, size=2 * MIB), disk / "filler"
    assert reserve.make()
    assert (disk / NAME).stat().st_blocks * 512 >= 2 * MIB  # its room is taken, not only promised
    journal = LedgerJournal(open_ledger(f"sqlite:///{disk / 'ledger.db'}"))
    spool = CaptureSpool(disk / "spool.db", require_room=reserve.require_room)
    journal.append(line(0))
    fill(filler)
    written = 1
    failures: list[str | None] = []
    for number in range(1, 60):
        try:
            journal.append(line(number))
            written += 1
        except OperationalError as error:
            failures.append(disk_trouble(error))
    assert failures == ["the database: database or disk is full"]  # at which the reserve was given up; its process tries again
    assert not (disk / NAME).exists()
    sealed = SealedLog(disk / "sealed", key=SealingKey(b"of a test" * 4, file=disk / "key"), require_room=reserve.require_room)
    with pytest.raises(SpoolUnwritable, match="but for the ledger"):
        sealed.append([b"x"])
    with pytest.raises(SpoolUnwritable, match="but for the ledger"):
        spool.keep([SpooledEvent(id="e1", key="k", body=b"x")], now=NOON)
    assert not reserve.make()
    filler.unlink()
    assert reserve.make()
    spool.keep([SpooledEvent(id="e1", key="k", body=b"x")], now=NOON)
    assert [event.id for event in spool.due()] == ["e1"]
    assert len(sealed.append([b"x"])) == 1
    assert len(journal.entries()) == written
    for name in ("ledger.db", "spool.db"):
        with sqlite3.connect(disk / name) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_gateway_seals_exchanges_in_half_of_the_reserve(disk: Path) -> None:
    """Nobody else holds them; the other half is the ledger's."""
    reserve = DiskReserve(disk, size=4 * MIB)
    assert reserve.make()
    fill(disk / "filler")
    reserve.give_up()
    sealed = SealedLog(disk / "sealed", key=SealingKey(b"of a test" * 4, file=disk / "key"), require_room=reserve.require_half)
    content = b"x" * MIB
    assert len(sealed.append([content])) == len(sealed.append([content])) == 1
    with pytest.raises(SpoolUnwritable, match="but for the ledger"):
        sealed.append([content])


def test_a_spool_that_cannot_be_made_says_so(disk: Path) -> None:
    fill(disk / "filler")
    with pytest.raises(SpoolUnwritable):
        CaptureSpool(disk / "spool.db")


def test_a_reserve_that_cannot_be_made_leaves_nothing_behind(disk: Path) -> None:
    assert not DiskReserve(disk, size=100 * MIB).make()
    assert list(disk.iterdir()) == []


def test_a_sound_database_in_a_folder_that_cannot_be_written_is_no_foreign_one(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "disk", mebibytes=4) as folder:
        empty_databases(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(CannotRun, match="cannot be opened") as refused:
            open_ledger(f"sqlite:///{folder / 'ledger.db'}")
        assert "write in its folder" in refused.value.remedy
        with pytest.raises(CannotRun, match="cannot be opened") as refused:
            open_report_ledgers(folder / "ledger.db")
        assert "report on the copy" in refused.value.remedy
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
