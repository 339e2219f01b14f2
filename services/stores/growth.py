"""How much the databases hold, and how much is added in a day: for a forecast of the disk. Reads little, however much there is."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.stores.database import to_moment, to_text

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class RecordedVolume:
    """``used``: bytes of both databases without free pages. ``rows``: of the time for which rows are kept, ``oldest`` the first of them."""

    used: int
    rows: int
    rows_of_last_day: int
    oldest: datetime | None
    pane_bytes_of_last_day: int
    oldest_pane: datetime | None


def read_volume(traffic: Path, ledger: Path, *, workloads: Collection[tuple[str, timedelta]], now: datetime) -> RecordedVolume:
    """``workloads``: each with the time for which its rows are kept. Rows are counted by their numbers, which rise by one; those that were
    kept beyond their time are not counted."""
    used = sum(_used(path) for path in (traffic, ledger) if path.exists())
    numbers: list[int] = []
    times: list[datetime] = []
    rows_of_day = bytes_of_day = 0
    oldest_pane: list[datetime] = []
    with closing(_opened(traffic)) as database:
        for name, kept in workloads:
            since = to_text(now - DAY)
            first = _one(database, _FIRST_ROW, name, to_text(now - kept))
            if first is not None:
                numbers.append(first[0])
                times.append(to_moment(first[1]))
            rows_of_day += _one(database, "SELECT count(*) FROM inferences WHERE workload = ? AND occurred_at >= ?", name, since)[0]
            bytes_of_day += _one(database, _PANE_BYTES, name, since)[0]
            pane = _one(database, "SELECT min(pane_start) FROM panes WHERE workload = ?", name)[0]
            if pane is not None:
                oldest_pane.append(to_moment(pane))
        last = _one(database, "SELECT max(rowid) FROM inferences")[0]
    return RecordedVolume(
        used=used,
        rows=last - min(numbers) + 1 if numbers else 0,
        rows_of_last_day=rows_of_day,
        oldest=min(times, default=None),
        pane_bytes_of_last_day=bytes_of_day,
        oldest_pane=min(oldest_pane, default=None),
    )


_FIRST_ROW = "SELECT rowid, occurred_at FROM inferences WHERE workload = ? AND occurred_at >= ? ORDER BY occurred_at LIMIT 1"
_PANE_BYTES = "SELECT coalesce(sum(length(counts)), 0) FROM panes WHERE workload = ? AND pane_start >= ?"


def _used(path: Path) -> int:
    with closing(_opened(path)) as database:
        pages, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _one(database: sqlite3.Connection, statement: str, *values: str) -> Any:
    return database.execute(statement, values).fetchone()
