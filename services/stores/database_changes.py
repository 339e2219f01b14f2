"""Detects that a database has changed, in a few microseconds; a query would take a thousand times as long."""

import sqlite3

from services.stores.database import BUSY_TIMEOUT_MS


class Changes:
    """Returns whether other connections have committed to these SQLite databases since the last call. The first call returns True.

    ``PRAGMA data_version`` reads a counter in shared memory, and holds up no writer. Each loop needs a ``Changes`` of its own.
    """

    def __init__(self, *urls: str) -> None:
        self._paths = [url.removeprefix("sqlite:///") for url in urls]
        self._connections: list[sqlite3.Connection] = []
        self._seen: list[int] = []

    def __call__(self) -> bool:
        """By one thread at a time."""
        if not self._connections:
            self._connections = [_open(path) for path in self._paths]
        now = [int(connection.execute("PRAGMA data_version").fetchone()[0]) for connection in self._connections]
        changed, self._seen = now != self._seen, now
        return changed


def _open(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
