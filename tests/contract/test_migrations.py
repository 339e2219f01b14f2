"""Migrations run once, under a lock; what a process must not use is refused in one sentence, and nothing is changed."""

import importlib
import os
import pkgutil
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, create_engine, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

import services.stores.ledger
from deploy import deploy_dir
from flywheel.errors import CannotRun
from services.cli.doctor import examine
from services.process.machine import read_machine
from services.settings import Settings
from services.stores import database, schema_version
from services.stores import migrate as migrate_module
from services.stores.free_pages import gives_pages_back
from services.stores.migrate import migrate
from services.stores.schema_version import LEDGER, SCHEMA_TABLE, TRAFFIC, Database, check
from services.stores.traffic import tables as traffic_tables
from tests.contract.test_upgrade_of_966c45d import restored
from tests.databases import migrated_ledger, migrated_traffic

for module in pkgutil.iter_modules(services.stores.ledger.__path__):
    importlib.import_module(f"services.stores.ledger.{module.name}")


def described(engine: Engine) -> dict[str, set[str]]:
    """Each table as SQL without the order of its lines."""
    found = MetaData()
    found.reflect(engine)
    lines = {}
    for table in found.tables.values():
        statements = [str(CreateTable(table)), *(str(CreateIndex(index)) for index in table.indexes)]
        lines[table.name] = {line.strip().strip(",") for statement in statements for line in statement.splitlines() if line.strip()}
    return lines


@pytest.mark.parametrize(
    ("migrated", "declared"), [(migrated_ledger, database.metadata), (migrated_traffic, traffic_tables.metadata)], ids=["ledger", "traffic"]
)
def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path, migrated: Callable[[Path], Engine], declared: MetaData) -> None:
    wanted = create_engine(f"sqlite:///{tmp_path}/declared.db")
    declared.create_all(wanted)
    found = described(migrated(tmp_path))
    for table in ("alembic_version", SCHEMA_TABLE):
        found.pop(table)
    assert found == described(wanted)


def test_the_database_itself_accepts_one_correction_per_prompt(tmp_path: Path) -> None:
    indexes = {str(index["name"]): index for index in inspect(migrated_ledger(tmp_path)).get_indexes("corrections") if index["unique"]}
    assert "accepted" in str(indexes["corrections_one_per_prompt"]["dialect_options"]["sqlite_where"])
    assert indexes["corrections_by_given_id"]["column_names"] == ["given_id", "source", "workload"]


@pytest.mark.parametrize("ours", [LEDGER, TRAFFIC], ids=lambda one: one.name)
def test_the_code_knows_the_revisions_of_the_migrations_folder(ours: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(deploy_dir() / "migrations" / ours.name))
    in_folder = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(in_folder)) == ours.revisions


def test_the_versions_of_the_code_and_of_the_package_are_one() -> None:
    declared = re.search(r'^version = "([^"]+)"', (deploy_dir().parent / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert declared.group(1) == schema_version.CODE_VERSION


def test_a_second_migration_finds_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    assert migrate(path, LEDGER) == LEDGER.revisions
    assert migrate(path, LEDGER) == ()
    check(path, LEDGER)


def test_two_migrations_at_once_run_each_revision_once(tmp_path: Path) -> None:
    path, done = tmp_path / "ledger.db", []
    threads = [threading.Thread(target=lambda: done.append(migrate(path, LEDGER))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [(), (), LEDGER.revisions]


def refused(path: Path, ours: Database = LEDGER) -> str:
    """The sentence with which a process refuses; the file is as it was afterwards."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(CannotRun) as refusal:
        database.open_ledger(f"sqlite:///{path}") if ours is LEDGER else database.open_traffic(f"sqlite:///{path}")
    assert (path.read_bytes() if path.exists() else None) == before
    said = str(refusal.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


def test_a_process_makes_no_database(tmp_path: Path) -> None:
    assert "there is no ledger yet" in refused(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_a_process_does_not_migrate_an_older_database(tmp_path: Path) -> None:
    said = refused(restored(tmp_path, "ledger"))
    assert f"written by an older version: this one needs {LEDGER.revisions[-1]} (got 'l0007'). Run `flywheel migrate`" in said


def edited(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def test_a_database_that_needs_newer_code_is_refused_by_process_and_migration(tmp_path: Path) -> None:
    migrate(tmp_path / "ledger.db", LEDGER)
    path = edited(
        tmp_path / "ledger.db", f"UPDATE {SCHEMA_TABLE} SET minimum_version = '9.0.0'", "UPDATE alembic_version SET version_num = 'l0900'"
    )
    assert "only version 9.0.0 or newer may use this database, and this is " in refused(path)
    with pytest.raises(CannotRun, match=r"only version 9\.0\.0"):
        migrate(path, LEDGER)


def test_older_code_goes_on_with_a_database_that_was_only_expanded(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    migrate(path, LEDGER)
    older = replace(LEDGER, revisions=LEDGER.revisions[:-1])
    check(path, older)
    assert migrate(path, older) == ()


def test_a_half_finished_migration_is_refused_and_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = restored(tmp_path, "ledger")
    broken = tmp_path / "migrations"
    (broken / "migrations" / "ledger").parent.mkdir(parents=True)
    shutil.copytree(deploy_dir() / "migrations" / "ledger", broken / "migrations" / "ledger")
    first = next((broken / "migrations" / "ledger" / "versions").glob("l0008*"))
    first.write_text(first.read_text().replace('op.create_index("work_to_do"', 'raise OSError("killed")\n    op.create_index("work_to_do"'))
    monkeypatch.setattr("services.stores.migrate.deploy_dir", lambda: broken)
    with pytest.raises(OSError, match="killed"):
        migrate(path, LEDGER)
    monkeypatch.undo()
    newest = LEDGER.revisions[-1]
    assert f"a migration to {newest} was begun and not finished (got 'l0007'). Run `flywheel migrate`" in refused(path)
    assert migrate(path, LEDGER) == LEDGER.revisions[LEDGER.revisions.index("l0008") :]
    check(path, LEDGER)


@pytest.mark.parametrize("content", [b"not a database at all, but longer than a header of SQLite's is, which is a hundred bytes" * 3])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    assert "is not a Flywheel ledger" in refused(path)
    with pytest.raises(CannotRun, match="is not a Flywheel ledger"):
        migrate(path, LEDGER)
    assert path.read_bytes() == content


def test_a_damaged_database_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    migrate(path, LEDGER)
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)  # the first page, behind the header
    path.write_bytes(content)
    assert "is damaged" in refused(path)
    assert any("is damaged" in one.sentence for one in examine(Settings(data_dir=tmp_path), read_machine()) if one.part == "data")


@pytest.mark.parametrize("statements", [["CREATE TABLE songs (name TEXT)"], ["CREATE TABLE alembic_version (version_num TEXT)"]])
def test_somebody_elses_database_is_refused(tmp_path: Path, statements: list[str]) -> None:
    path = edited(tmp_path / "ledger.db", *statements)
    assert "is not a Flywheel ledger" in refused(path)
    with pytest.raises(CannotRun, match="is not a Flywheel ledger"):
        migrate(path, LEDGER)


def test_the_record_of_traffic_is_not_taken_for_a_ledger(tmp_path: Path) -> None:
    migrate(tmp_path / "ledger.db", TRAFFIC)
    assert "is not a Flywheel ledger" in refused(tmp_path / "ledger.db")


def test_databases_are_made_so_that_they_can_give_space_back_and_small_old_ones_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "traffic.db"
    migrate(path, TRAFFIC)
    assert gives_pages_back(path)
    for limit, expected in ((0, False), (2**30, True)):
        old = tmp_path / f"{limit}.db"
        with closing(sqlite3.connect(old)) as made:
            made.execute("PRAGMA journal_mode=WAL")  # as older versions made it
        monkeypatch.setattr(migrate_module, "write_anew", lambda _: None)
        migrate(old, replace(TRAFFIC, revisions=TRAFFIC.revisions[:-1]))
        assert not gives_pages_back(old)
        monkeypatch.undo()
        monkeypatch.setattr(migrate_module, "WRITTEN_ANEW_BYTES", limit)
        assert migrate(old, TRAFFIC) == TRAFFIC.revisions[-1:]
        assert gives_pages_back(old) is expected
        check(old, TRAFFIC)
