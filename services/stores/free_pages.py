"""The space of deleted records: SQLite keeps it as free pages in the file, and gives it back when asked.

In: an engine. Out: whether pages were given back. What is deleted every day and written every day needs the same room: a tenth of the
file stays free in it, so that pages do not move to and fro.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine

from services.stores.database import reading, writing

INCREMENTAL = 2  # of PRAGMA auto_vacuum
FREE_SHARE, FREE_PAGES = 0.1, 256  # 256 pages of 4 KiB are 1 MiB
PAGES_A_STEP = 256


def give_pages_back(engine: Engine) -> bool:
    """At most ``PAGES_A_STEP`` pages from the file's end. False for a database that cannot, or that has few free pages."""
    with reading(engine) as connection:
        if _pragma(connection, "auto_vacuum") != INCREMENTAL or not _has_many_free_pages(connection):
            return False
    with writing(engine) as connection:
        cursor = connection.connection.cursor()  # SQLAlchemy takes a statement without columns for one without rows
        cursor.execute(f"PRAGMA incremental_vacuum({PAGES_A_STEP})")
        cursor.fetchall()  # each row that is read frees a page
        cursor.close()
    return True


def gives_pages_back(path: Path) -> bool:
    """Whether the database can: one that an older version made cannot, until it was written anew as a whole."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("PRAGMA auto_vacuum").fetchone()[0]) == INCREMENTAL


def write_anew(path: Path) -> None:
    """The whole file, so that it can give pages back from then on. Takes as much free disk as the file has, and blocks all others."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
        database.execute("VACUUM")


def _has_many_free_pages(connection: Connection) -> bool:
    return _pragma(connection, "freelist_count") > max(FREE_PAGES, FREE_SHARE * _pragma(connection, "page_count"))


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
