"""Brings a database to the newest revision; ``flywheel migrate`` and ``flywheel up`` do it, processes only check.

In: a database's file. Out: the revisions that were run. One migration runs at a time (a file lock beside
the database). Each revision is one transaction; before the first, ``flywheel_schema`` says that a migration was begun, so that a
process that starts after a kill half-way refuses. Running it again goes on where it stopped.

Changes come as "expand, then contract": a revision that only adds leaves ``minimum_version`` as it is, so that older code goes on; a
revision that old code cannot live with raises it (a constant ``minimum_version`` in the revision's file).

Databases are made so that they can give the space of deleted records back; a small older one is written anew for that.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine

from deploy import deploy_dir
from flywheel.errors import CannotRun
from services.stores.database import open_database, writing
from services.stores.free_pages import gives_pages_back, write_anew
from services.stores.schema_version import FIRST_VERSION, SCHEMA_TABLE, TRAFFIC, Database, read_state, refuse_newer

WRITTEN_ANEW_BYTES = 1024**3


def migrate(path: Path, database: Database) -> tuple[str, ...]:
    """The revisions that were run, oldest first; none when it was up to date. Raises CannotRun for a database that is not ours or newer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        state = read_state(path, database)
        if state is not None:
            refuse_newer(path, state)
            if state.revision and state.revision not in database.revisions:
                return ()  # newer than this code, and this code may use it
        done = database.revisions.index(state.revision) + 1 if state is not None and state.revision else 0
        pending = database.revisions[done:]
        if not pending and not (state is not None and state.migrating_to):
            return ()
        with suppress(sqlite3.OperationalError):  # others use it, or there is no room: it keeps its size, and migrating says what is wrong
            if state is None or (pending and not gives_pages_back(path) and _may_be_written_anew(path)):
                write_anew(path)
        engine = open_database(f"sqlite:///{path}")
        try:
            _run(engine, pending, newest=database.revisions[-1], scripts=deploy_dir() / "migrations" / database.name)
        finally:
            engine.dispose()
        return pending


def _may_be_written_anew(path: Path) -> bool:
    """Some seconds for each 100 MB, and as much free disk again. A larger file keeps its free space for what comes: `doctor` says so."""
    size = path.stat().st_size
    return size <= WRITTEN_ANEW_BYTES and shutil.disk_usage(path.parent).free >= 3 * size


def require_ledger_of(traffic: Path, ledger: Path) -> None:
    """Raises CannotRun where a record of traffic holds contents and its ledger, which has their keys, is gone. Asked before migrating."""
    if ledger.exists() or not traffic.exists() or read_state(traffic, TRAFFIC) is None:
        return
    with closing(sqlite3.connect(f"{traffic.absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "exchange_contents" not in tables or database.execute("SELECT 1 FROM exchange_contents LIMIT 1").fetchone() is None:
            return
    raise CannotRun(
        f"the ledger is gone, and the contents in {traffic} can be opened with its keys only",
        where=str(ledger),
        remedy="Restore its backup; without one, move the record of traffic away too, and start anew.",
    )


def _run(engine: Engine, pending: tuple[str, ...], *, newest: str, scripts: Path) -> None:
    from alembic import command  # here, not above: half a second that processes, which only check, need not wait
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(scripts))
    revisions = ScriptDirectory.from_config(config)
    with writing(engine) as connection:
        _begin(connection, newest)
    for revision in pending:
        minimum = getattr(revisions.get_revision(revision).module, "minimum_version", None)
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if minimum is not None:
                connection.exec_driver_sql(f"UPDATE {SCHEMA_TABLE} SET minimum_version = ?", (minimum,))  # noqa: S608 (a constant)
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE {SCHEMA_TABLE} SET migrating_to = ''")  # noqa: S608


def _begin(connection: Connection, newest: str) -> None:
    columns = "id INTEGER PRIMARY KEY CHECK (id = 1), minimum_version TEXT NOT NULL, migrating_to TEXT NOT NULL"
    connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} ({columns})")
    connection.exec_driver_sql(
        f"INSERT INTO {SCHEMA_TABLE} VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET migrating_to = excluded.migrating_to",  # noqa: S608
        (FIRST_VERSION, newest),
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for a migration that runs. The lock goes with the process, however it ends."""
    lock = path.with_name(f"{path.name}.migrating")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotRun(
            f"cannot be written: {error.strerror}", where=str(lock), remedy="Name a data_dir that this user may write."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
