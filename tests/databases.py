"""Migrated databases for tests: copies of one template each, since running all migrations anew takes a tenth of a second."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from services.stores.database import open_database
from services.stores.migrate import migrate
from services.stores.schema_version import LEDGER, TRAFFIC, Database


def migrated_ledger(folder: Path) -> Engine:
    """``folder/ledger.db``, with every table and no row unless it was there before."""
    return _migrated(folder / "ledger.db", LEDGER)


def migrated_traffic(folder: Path) -> Engine:
    """``folder/traffic.db``, likewise."""
    return _migrated(folder / "traffic.db", TRAFFIC)


def empty_databases(data_dir: Path) -> None:
    """What ``flywheel up`` or ``flywheel migrate`` makes before any process starts."""
    _copy(data_dir / "ledger.db", LEDGER)
    _copy(data_dir / "traffic.db", TRAFFIC)


def _migrated(path: Path, database: Database) -> Engine:
    _copy(path, database)
    return open_database(f"sqlite:///{path}")


def _copy(path: Path, database: Database) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_template(database))


@cache
def _template(database: Database) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        migrate(path, database)
        return path.read_bytes()
