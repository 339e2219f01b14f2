"""The ledger's database: one place that opens it, brings it to the newest schema, and gives out transactions.

SQLite for one host: WAL, BEGIN IMMEDIATE (a write transaction takes the lock at once, so it never fails half-way), and a
busy time-out instead of an error. Keep network and model calls out of a transaction.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.pool import NullPool

from deploy import deploy_dir
from flywheel.errors import CannotRun

BUSY_TIMEOUT_MS = 30_000
IDS_A_QUERY = 500  # SQLite takes 32,766 variables; short statements keep its plan cache useful
metadata = MetaData()
"""Every table of ``ledger.db``; each ``ledger_<part>`` adds its own."""


def open_database(url: str, *, migrations: Path | None = None) -> Engine:
    """Opens ``url`` and, when ``migrations`` is given, upgrades it to the newest revision."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    else:
        raise CannotRun("only SQLite ledgers are supported in this version", where="ledger.url", value=url, remedy="Use sqlite:///<path>")
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _prepare(dbapi: Any, _record: object) -> None:
        dbapi.isolation_level = None  # SQLAlchemy's begin event below issues BEGIN itself
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    if migrations is not None:
        upgrade(engine, migrations)
    return engine


def open_ledger(url: str) -> Engine:
    """ledger.db: everything but traffic."""
    return open_database(url, migrations=deploy_dir() / "migrations" / "ledger")


def open_traffic(url: str) -> Engine:
    """traffic.db: rows, panes, offsets, dead letters."""
    return open_database(url, migrations=deploy_dir() / "migrations" / "traffic")


def upgrade(engine: Engine, migrations: Path) -> None:
    """Runs the migrations in ``migrations`` up to the newest; safe when several processes start at once."""
    from alembic import command  # here, not above: half a second that readers of a table definition need not wait
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations))
    with engine.begin() as connection:  # BEGIN IMMEDIATE: the second starter waits, then finds nothing to do
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: sees one state, blocks nobody."""
    with engine.connect().execution_options(read_only=True) as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: all of it or nothing."""
    with engine.begin() as connection:
        yield connection


def to_text(moment: datetime) -> str:
    """UTC, microseconds, fixed width: sorts as text the way it sorts in time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_moment(text: str) -> datetime:
    """The inverse of ``to_text``."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def to_json(value: object) -> str:
    """Compact, sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def in_parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """So many that one statement can name them."""
    return (ids[at : at + IDS_A_QUERY] for at in range(0, len(ids), IDS_A_QUERY))
