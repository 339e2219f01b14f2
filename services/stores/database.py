"""The databases: one place that opens them and gives out transactions. Migrating is done in ``migrate``.

SQLite for one host: WAL, BEGIN IMMEDIATE (a write transaction takes the lock at once, so it never fails half-way), and a
busy time-out instead of an error. Keep network and model calls out of a transaction.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Integer,
    MetaData,
    QueuePool,
    Row,
    Table,
    UnaryExpression,
    create_engine,
    event,
    literal_column,
)
from sqlalchemy.exc import InternalError, OperationalError, TimeoutError

from flywheel.errors import CannotRun
from services.stores.disk_reserve import SQLITE_FULL, DiskReserve
from services.stores.schema_version import LEDGER, TRAFFIC, check

DATABASE_FAILURES = (OperationalError, InternalError, TimeoutError)
"""What SQLAlchemy raises where the database itself fails: locked, full, no connection. Its other errors are about the values."""
BUSY_TIMEOUT_MS = 30_000
IDS_A_QUERY = 500  # SQLite takes 32,766 variables; short statements keep its plan cache useful
metadata = MetaData()
"""Every table of ``ledger.db``; each ``ledger_<part>`` adds its own."""


def open_database(url: str, *, survives_power_cuts: bool = False) -> Engine:
    """An engine that keeps its connections, so that a query costs neither a connection nor its settings. Checks nothing.

    A transaction survives the process; with ``survives_power_cuts`` it waits until the disk has it, and survives the machine too.
    """
    path_of(url).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _prepare(dbapi: Any, _record: object) -> None:
        dbapi.isolation_level = None  # SQLAlchemy's begin event below issues BEGIN itself
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if survives_power_cuts else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@cache
def open_ledger(url: str, *, survives_power_cuts: bool = False) -> Engine:
    """ledger.db: everything but traffic. One engine a process. Raises CannotRun for a database that this code must not use."""
    check(path_of(url), LEDGER)
    engine = open_database(url, survives_power_cuts=survives_power_cuts)
    reserve = DiskReserve(path_of(url).parent)

    @event.listens_for(engine, "handle_error")
    def _make_room(context: ExceptionContext) -> None:
        """The transaction fails; the next one has room."""
        if getattr(context.original_exception, "sqlite_errorcode", None) == SQLITE_FULL:
            reserve.give_up()

    return engine


def open_ledger_read_only(path: Path) -> Engine:
    """A ledger that is only read, e.g. a copy under any name: SQLite refuses each write. Raises CannotRun as ``open_ledger`` does."""
    check(path, LEDGER)
    where = f"{path.absolute().as_uri()}?mode=ro"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(where, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


@cache
def open_traffic(url: str, *, survives_power_cuts: bool = False) -> Engine:
    """traffic.db: rows, panes, offsets, dead letters. One engine a process. Raises CannotRun as ``open_ledger`` does."""
    check(path_of(url), TRAFFIC)
    return open_database(url, survives_power_cuts=survives_power_cuts)


def path_of(url: str) -> Path:
    """The database's file. Raises CannotRun for a URL that is none of SQLite's."""
    if not url.startswith("sqlite:///"):
        raise CannotRun("only SQLite ledgers are supported in this version", where="ledger.url", value=url, remedy="Use sqlite:///<path>")
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: reads one consistent snapshot and blocks no other."""
    with engine.connect().execution_options(read_only=True) as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: all of it or nothing."""
    with engine.begin() as connection:
        yield connection


def rows_with(
    connection: Connection, table: Table, *, column: str, values: Sequence[object], wanted: Sequence[str]
) -> list[Row[tuple[Any, ...]]]:
    """The ``wanted`` columns of all rows whose ``column`` has one of the values.

    In the driver's own form: of a statement with hundreds of values, SQLAlchemy's takes several times as long as SQLite's search.
    """
    found: list[Row[tuple[Any, ...]]] = []
    for at in range(0, len(values), IDS_A_QUERY):
        part = tuple(values[at : at + IDS_A_QUERY])
        places = ", ".join("?" * len(part))
        statement = f"SELECT {', '.join(wanted)} FROM {table.name} WHERE {column} IN ({places})"  # noqa: S608 (names of ours)
        found += connection.exec_driver_sql(statement, part)
    return found


def row_number(table: Table) -> ColumnElement[int]:
    """SQLite's own number of a row, in the order of insertion."""
    return literal_column(f"{table.name}.rowid", Integer)


def newest_row(table: Table) -> UnaryExpression[int]:
    """The order of insertion, newest first. The order of stored times is another one where a clock ran ahead."""
    return row_number(table).desc()


def to_text(moment: datetime) -> str:
    """UTC, microseconds, fixed width: sorts as text the way it sorts in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # in a sixth of strftime's time


def to_moment(text: str) -> datetime:
    """The inverse of ``to_text``."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def to_json(value: object) -> str:
    """Compact, sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def in_parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """So many that one statement can name them."""
    return (ids[at : at + IDS_A_QUERY] for at in range(0, len(ids), IDS_A_QUERY))
