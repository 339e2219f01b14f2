"""``flywheel report``: what it writes from a ledger, and one sentence for a file that is no ledger."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry
from services.cli.demo.stage_clock import FACT, STAGE
from services.cli.demo.write_report import write_demo_report
from services.cli.run_command import run
from services.settings import Settings
from services.stores.database import open_ledger_read_only
from services.stores.ledger.journal import LedgerJournal
from tests.opened import open_ledger, open_traffic


def refused(capsys: pytest.CaptureFixture[str], ledger: Path, *more: str, code: int = 2) -> str:
    assert run(["report", "--ledger", str(ledger), *more]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "Traceback" not in err
    return err


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small ledger's bytes."""
    folder = tmp_path_factory.mktemp("kept")
    engine = open_ledger(Settings(data_dir=folder))
    at = datetime(2026, 5, 1, tzinfo=UTC)
    LedgerJournal(engine).append(JournalEntry(at=at, workload=WorkloadId("w"), kind="run", subject="s", state="done", reason="r"))
    with engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return (folder / "ledger.db").read_bytes()


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"hello\n" * 500, "file is not a database"), (b"", "the file has no tables"), (b"\0" * 5000, "file is not a database")],
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, why: str) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(content)
    assert f"{ledger}: is not a ledger: {why}" in refused(capsys, ledger)
    assert ledger.read_bytes() == content
    assert json.loads(refused(capsys, ledger, "--json"))["error"]["where"] == str(ledger)


def test_a_foreign_database_is_refused_and_left_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = tmp_path / "ledger.db"
    with sqlite3.connect(ledger) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = ledger.read_bytes()
    assert "an SQLite file without the ledger's tables" in refused(capsys, ledger)
    assert ledger.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]


def test_traffic_db_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_traffic(Settings(data_dir=tmp_path)).dispose()
    assert "without the ledger's tables" in refused(capsys, tmp_path / "traffic.db")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no ledger" in refused(capsys, tmp_path / "ledger.db")
    assert "there is no ledger" in refused(capsys, tmp_path)


def test_a_copy_under_another_name_is_read_and_left_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    copy = tmp_path / "from-production.db"
    copy.write_bytes(kept)
    assert run(["report", "--ledger", str(copy), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == "w"
    assert copy.read_bytes() == kept
    engine = open_ledger_read_only(copy)
    with pytest.raises(OperationalError, match="readonly"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM journal")
    engine.dispose()


def test_a_truncated_or_newer_ledger_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept[:8192])
    assert "is not a ledger" in refused(capsys, ledger)
    ledger.write_bytes(kept)
    with sqlite3.connect(ledger) as newer:
        newer.execute("UPDATE flywheel_schema SET minimum_version = '9.0.0'")
    newer.close()
    assert "only version 9.0.0 or newer may use this database" in refused(capsys, ledger, code=1)


def test_a_report_ignores_the_environment_and_writes_two_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL__HTTP__API_PORT", "many")
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept)
    assert run(["report", "--ledger", str(ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == "w"
    assert (tmp_path / "report.html").exists()


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept)
    assert "cannot be written there" in refused(capsys, ledger, "--out", str(ledger), code=1)
    (tmp_path / "out" / "report.json.new").mkdir(parents=True)
    assert "cannot be written there" in refused(capsys, ledger, "--out", str(tmp_path / "out"), code=1)


def test_only_the_demos_own_report_tells_what_the_demo_journalled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, workload = datetime(2026, 5, 1, tzinfo=UTC), WorkloadId("w")

    def line(kind: str, subject: str, **evidence: object) -> JournalEntry:
        return JournalEntry(at=at, workload=workload, kind=kind, subject=subject, state="told", reason="r", evidence=evidence)

    engine = open_ledger(Settings(data_dir=tmp_path))
    LedgerJournal(engine).append(
        line(FACT, "traffic", sent=7, recorded=6), line(FACT, "total", seconds=120.0), line(STAGE, "00 start", name="start", seconds=2.5)
    )
    engine.dispose()
    ledger = tmp_path / "ledger.db"
    written = write_demo_report(ledger=ledger, workload=workload, out=tmp_path / "demo")
    content = json.loads(written.json.read_text())
    assert (content["traffic"]["sent"], content["traffic"]["recorded"], content["seconds"]) == (7, 6, 120.0)
    assert content["stages"] == [{"name": "start", "seconds": 2.5}]
    page = written.html.read_text()
    assert "2.0 minutes in all" in page
    assert "of 7 sent" in page
    assert "Where the time went" in page
    assert run(["report", "--ledger", str(ledger), "--json"]) == 0
    general = json.loads(capsys.readouterr().out)
    assert general["traffic"] == {"recorded": 0, "duplicates_ignored": 0, "dead_lettered": 0}
    assert content.keys() - general.keys() == {"stages", "seconds"}
    assert "Where the time went" not in (tmp_path / "report.html").read_text()
