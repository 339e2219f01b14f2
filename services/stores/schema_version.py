"""May this version of the code use this database?

In: the file of a database. Out: nothing, or CannotRun that says in one sentence what was found and what to do; nothing is changed.
Alembic keeps the revision in ``alembic_version``. Beside it ``flywheel_schema`` keeps the oldest version of the code that may use
the database, and whether a migration was begun and not finished. Migrating is done in ``migrate``.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import CannotRun

CODE_VERSION = "0.2.0"
FIRST_VERSION = "0.1.0"  # wrote databases without ``flywheel_schema``
SCHEMA_TABLE = "flywheel_schema"
_SCHEMA = f"SELECT minimum_version, migrating_to FROM {SCHEMA_TABLE}"  # noqa: S608 (a constant)
CANNOT_BE_OPENED = {3, 8, 10, 14}
"""SQLite's codes: PERM, READONLY, IOERR, CANTOPEN."""
DAMAGED = 11  # CORRUPT
MIGRATE = "Run `flywheel migrate` (or `flywheel up`, which does it first)."


@dataclass(frozen=True, kw_only=True)
class Database:
    """One of Flywheel's databases. ``revisions``: all known revisions, oldest first; the last is the one that this version writes."""

    name: str
    revisions: tuple[str, ...]
    tables: frozenset[str]  # since the first revision: by these it is known as ours


LEDGER = Database(
    name="ledger",
    revisions=("l0001", "l0002", "l0003", "l0004", "l0005", "l0006", "l0007", "l0008", "l0009", "l0010", "l0011", "l0012"),
    tables=frozenset({"journal", "outbox", "work"}),
)
TRAFFIC = Database(
    name="traffic",
    revisions=("t0001", "t0002", "t0003", "t0004", "t0005", "t0006", "t0007", "t0008"),
    tables=frozenset({"inferences", "panes", "positions"}),
)


@dataclass(frozen=True, kw_only=True)
class SchemaState:
    """The schema that a database declares."""

    revision: str
    minimum_version: str  # oldest version of the code that may use it
    migrating_to: str  # "" unless a migration was begun and not finished


def cannot_be_opened(error: Exception) -> bool:
    """Whether the error says nothing of the file's content."""
    return isinstance(error, OSError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in CANNOT_BE_OPENED


def read_state(path: Path, database: Database) -> SchemaState | None:
    """None where there is no file yet, or an empty one. Raises CannotRun for a file that is not this database."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            begun = connection.execute(_SCHEMA).fetchone() if SCHEMA_TABLE in tables else None
            held = connection.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
    except (OSError, sqlite3.Error) as error:
        if cannot_be_opened(error):
            raise CannotRun(
                f"the {database.name} database cannot be opened: {error}",
                where=str(path),
                remedy="This user must be able to write in its folder: SQLite keeps two files beside a database in use.",
            ) from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == DAMAGED:
            remedy = "Restore its backup; without one, move it away and what is in it is lost."
            raise CannotRun(f"the {database.name} database is damaged: {error}", where=str(path), remedy=remedy) from error
        raise _not_ours(path, database, str(error)) from error
    revision = str(held[0]) if held else ""
    if begun is None and (not revision or not database.tables <= tables):
        raise _not_ours(path, database, "an SQLite database of another program")
    if revision and revision[0] != database.name[0]:
        raise _not_ours(path, database, f"a Flywheel database of another kind, at {revision}")
    minimum, migrating_to = begun or (FIRST_VERSION, "")
    return SchemaState(revision=revision, minimum_version=minimum, migrating_to=migrating_to)


def check(path: Path, database: Database) -> None:
    """Before a process opens the database. Raises CannotRun where it must not."""
    state = read_state(path, database)
    newest = database.revisions[-1]
    if state is None:
        raise CannotRun(f"there is no {database.name} yet", where=str(path), remedy=MIGRATE)
    if state.migrating_to:
        raise CannotRun(
            f"a migration to {state.migrating_to} was begun and not finished", where=str(path), value=state.revision, remedy=MIGRATE
        )
    refuse_newer(path, state)
    if state.revision in database.revisions[:-1]:
        raise CannotRun(
            f"the {database.name} was written by an older version: this one needs {newest}",
            where=str(path),
            value=state.revision,
            remedy=MIGRATE,
        )


def refuse_newer(path: Path, state: SchemaState) -> None:
    """Raises CannotRun for a database that only a newer version of the code may use."""
    if _numbers(state.minimum_version) > _numbers(CODE_VERSION):
        raise CannotRun(
            f"only version {state.minimum_version} or newer may use this database, and this is {CODE_VERSION}",
            where=str(path),
            value=state.revision,
            remedy="Install that version, or restore the backup from before the upgrade.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _not_ours(path: Path, database: Database, found: str) -> CannotRun:
    return CannotRun(
        f"is not a Flywheel {database.name}", where=str(path), value=found, remedy="Name another data_dir, or move the file away."
    )
