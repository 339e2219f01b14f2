"""``flywheel report`` on what is no ledger: one sentence, and the file is left as it was."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry
from services.cli.__main__ import run
from services.settings import Settings
from services.stores.ledger.journal import LedgerJournal
from tests.opened import open_ledger, open_traffic


def told(capsys: pytest.CaptureFixture[str], ledger: Path, *more: str, code: int = 2) -> str:
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
    [(b"hello\n" * 500, "file is not a database"), (b"", "there is nothing in it"), (b"\0" * 5000, "file is not a database")],
)
def test_a_file_that_is_no_database_is_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, why: str) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(content)
    assert f"{ledger}: is not a ledger: {why}" in told(capsys, ledger)
    assert ledger.read_bytes() == content
    assert json.loads(told(capsys, ledger, "--json"))["error"]["where"] == str(ledger)


def test_somebody_elses_database_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = tmp_path / "ledger.db"
    with sqlite3.connect(ledger) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = ledger.read_bytes()
    assert "an SQLite file without the ledger's tables" in told(capsys, ledger)
    assert ledger.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]


def test_the_traffic_is_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_traffic(Settings(data_dir=tmp_path)).dispose()
    assert "without the ledger's tables" in told(capsys, tmp_path / "traffic.db")


def test_a_missing_file_a_folder_and_another_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    assert "there is no ledger" in told(capsys, tmp_path / "ledger.db")
    assert "there is no ledger" in told(capsys, tmp_path)
    (tmp_path / "copy.db").write_bytes(kept)
    assert "is a ledger under another name" in told(capsys, tmp_path / "copy.db")


def test_a_ledger_cut_short_or_from_a_newer_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept[:8192])
    assert "is not a ledger" in told(capsys, ledger)
    ledger.write_bytes(kept)
    with sqlite3.connect(ledger) as newer:
        newer.execute("UPDATE alembic_version SET version_num = 'l9999'")
    newer.close()
    assert "this ledger cannot be read" in told(capsys, ledger, code=1)


def test_a_ledger_becomes_two_files_and_the_environment_has_no_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL__HTTP__API_PORT", "many")
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept)
    assert run(["report", "--ledger", str(ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == "w"
    assert (tmp_path / "report.html").exists()


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(kept)
    assert "cannot be written there" in told(capsys, ledger, "--out", str(ledger), code=1)
    (tmp_path / "out" / "report.json.new").mkdir(parents=True)
    assert "cannot be written there" in told(capsys, ledger, "--out", str(tmp_path / "out"), code=1)
