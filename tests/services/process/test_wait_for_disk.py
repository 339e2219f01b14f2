"""A disk that cannot be written: told from other errors, waited for, and said once a minute."""

import errno
import logging
import sqlite3
import threading
from datetime import datetime
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY
from sqlalchemy.exc import OperationalError

from flywheel.errors import CannotRun
from services.observability import UnfailingStream
from services.process import loop
from services.process.child_process import open_log
from services.process.loop import run_loop
from services.process.progress import FlowWatch
from services.process.wait_for_disk import DiskWait, disk_trouble
from services.stores.ledger.journal import LedgerJournal
from tests.databases import migrated_ledger


def of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = code
    return error


def raised_from(cause: Exception) -> Exception:
    try:
        raise CannotRun("the spool cannot be written", where="spool", remedy="Make room.") from cause
    except CannotRun as error:
        return error


@pytest.mark.parametrize(
    ("error", "is_disk"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (of_sqlite(sqlite3.SQLITE_FULL), True),
        (of_sqlite(sqlite3.SQLITE_IOERR_WRITE), True),
        (OperationalError("INSERT", {}, of_sqlite(sqlite3.SQLITE_READONLY)), True),
        (raised_from(OSError(errno.ENOSPC, "No space left on device")), True),
        (OperationalError("INSERT", {}, of_sqlite(sqlite3.SQLITE_BUSY)), False),
        (OSError(errno.ECONNREFUSED, "Connection refused"), False),
        (ValueError("wrong"), False),
    ],
)
def test_what_says_that_the_disk_cannot_be_written(error: Exception, is_disk: bool) -> None:
    assert (disk_trouble(error) is not None) is is_disk


def test_a_loop_does_its_step_again_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.01)
    stop, steps = threading.Event(), []
    watch = FlowWatch("trainer", journal=lambda: LedgerJournal(migrated_ledger(tmp_path)))
    seen: list[object] = []

    def step(_: datetime) -> None:
        steps.append(1)
        if len(steps) < 50:
            seen.append((watch.health()["disk"], REGISTRY.get_sample_value("flywheel_disk_waits", {"process": "trainer"})))
            raise OperationalError("INSERT", {}, of_sqlite(sqlite3.SQLITE_FULL))
        stop.set()

    with structlog.testing.capture_logs() as lines:
        run_loop(process="trainer", step=step, every_seconds=600.0, stop=stop, watch=watch)
    assert len(steps) == 50
    assert seen[0] == ("", 0.0)
    assert set(seen[1:]) == {("the database: database or disk is full", 1.0)}
    assert [line["action"] for line in lines] == ["disk_waits", "disk_goes_on"]
    assert watch.health()["disk"] == ""


def test_any_other_error_ends_the_loop(tmp_path: Path) -> None:
    def step(_: datetime) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        run_loop(
            process="p",
            step=step,
            every_seconds=1.0,
            stop=threading.Event(),
            watch=FlowWatch("p", journal=lambda: LedgerJournal(migrated_ledger(tmp_path))),
        )


def test_a_loop_that_writes_nothing_ends_no_wait_of_another() -> None:
    disk = DiskWait("alert_desk")
    assert disk.waits_for(OSError(errno.ENOSPC, "full"), by="alert_desk")
    disk.is_over(by="alert_desk_notices")
    assert disk.reason == "full"
    disk.is_over(by="alert_desk")
    assert disk.reason is None


def test_a_log_on_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        out = UnfailingStream(full)
        structlog.PrintLogger(out).info("said to nobody")  # type: ignore[arg-type]
        handler = logging.StreamHandler(out)
        handler.handle(logging.LogRecord("x", logging.ERROR, "here", 1, "said to nobody", (), None))
        full.close = lambda: None  # type: ignore[method-assign]
    with pytest.raises(OSError):
        open_log(Path("/proc/no/such/folder"))
