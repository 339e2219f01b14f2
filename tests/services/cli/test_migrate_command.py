"""``flywheel migrate``: once for all processes, and never beside a running daemon."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from flywheel.errors import CannotRun
from services.cli.run_command import run
from services.cli.up.wiring import prepare
from services.settings import load
from services.stores.database import open_ledger, open_traffic
from services.stores.schema_version import LEDGER, TRAFFIC
from tests.contract.test_upgrade_of_966c45d import restored


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "flywheel.yaml"
    path.write_text(f"data_dir: {tmp_path / 'var'}\nworkloads: {{router: {{alias: router}}}}\n")
    return path


def test_it_makes_both_databases_and_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "--config", str(config)]) == 0
    data = config.parent / "var"
    ledger, traffic = LEDGER.revisions[-1], TRAFFIC.revisions[-1]
    assert capsys.readouterr().out == f"{data}/ledger.db: migrated to {ledger}\n{data}/traffic.db: migrated to {traffic}\n"
    open_ledger(f"sqlite:///{data}/ledger.db")
    open_traffic(f"sqlite:///{data}/traffic.db")
    assert run(["migrate", "--config", str(config)]) == 0
    assert "ledger.db: is up to date" in capsys.readouterr().out


def test_a_record_whose_ledger_is_gone_gets_no_new_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its contents are sealed under keys of that ledger."""
    assert run(["migrate", "--config", str(config)]) == 0
    data = config.parent / "var"
    (data / "ledger.db").unlink()
    assert run(["migrate", "--config", str(config)]) == 0, "it holds nothing"
    with sqlite3.connect(data / "traffic.db") as database:
        database.execute("INSERT INTO exchange_contents VALUES ('e', 1, 0, x'00')")
    (data / "ledger.db").unlink()
    capsys.readouterr()
    assert run(["migrate", "--config", str(config)]) == 1
    assert "the ledger is gone, and the contents in" in capsys.readouterr().err
    assert not (data / "ledger.db").exists()
    with pytest.raises(CannotRun, match="the ledger is gone"):
        prepare(load(config))


def test_it_upgrades_a_copy_of_an_older_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = restored(tmp_path, "ledger")
    assert run(["migrate", "--ledger", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: migrated to {LEDGER.revisions[-1]}\n"


def test_it_makes_no_ledger_where_none_was_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "--ledger", str(tmp_path / "ledger.db")]) == 2
    assert "there is no ledger" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_it_is_refused_while_the_daemon_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "var").mkdir()
    (config.parent / "var" / "up.json").write_text(json.dumps({"pid": os.getpid()}))
    assert run(["migrate", "--config", str(config)]) == 3
    assert "`flywheel up` runs on this data" in capsys.readouterr().err
