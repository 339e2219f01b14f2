"""The gateway's spool: captured events on disk until they are known to be recorded.

In: encoded, redacted events. Out: those to send (again), and those to ask about. Does not send or ask. A database of
its own, because the gateway serves and captures while every other process is down.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from flywheel.clock import CLOCKS_DIFFER_BY
from services.stores.database import open_database, reading, to_text, writing
from services.stores.spooled_event import LIMIT_BYTES, SpooledEvent, SpoolUnwritable

metadata = MetaData()
spool_table = Table(
    "spool",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("key", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("kept_at", String, nullable=False),
    Column("sent_at", String, index=True),  # null: must be sent
    Column("sends", Integer, nullable=False, default=0),
)
refused_table = Table(
    "refused",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", String, nullable=False),
    Column("refused_at", String, nullable=False),
)
PAGE = 100  # rows, of up to 1 MiB each
RESEND_AFTER = timedelta(seconds=10)
RESEND_AT_MOST = timedelta(seconds=60)
"""The wait doubles from ``RESEND_AFTER`` with each sending: a recorder that is only slow must not be flooded with copies."""


class CaptureSpool:
    """Used by one process; its threads may call at the same time."""

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = LIMIT_BYTES,
        survives_power_cuts: bool = False,
        require_room: Callable[[], None] = lambda: None,
    ) -> None:
        """``survives_power_cuts``: as in ``open_database``. ``require_room`` raises OSError where there is none for events. Raises
        SpoolUnwritable."""
        self._require_room = require_room
        self._engine = open_database(f"sqlite:///{path}", survives_power_cuts=survives_power_cuts)
        with self._writing() as connection:
            metadata.create_all(connection)
        self._limit = limit_bytes
        self._lock = threading.Lock()
        with reading(self._engine) as connection:
            self._bytes = sum(
                int(connection.execute(select(func.coalesce(func.sum(func.length(table.c.body)), 0))).scalar_one())
                for table in (spool_table, refused_table)
            )

    def take_over(self, other: Path) -> None:
        """Brings all events of a spool that nobody uses any more into this one, and deletes it. Raises SpoolUnwritable."""
        left = CaptureSpool(other)
        with reading(left._engine) as source, self._lock, self._writing() as connection:
            for table in (spool_table, refused_table):
                for rows in source.execute(select(table)).mappings().partitions(PAGE):
                    values = [{name: value for name, value in row.items() if name != "seq"} for row in rows]
                    connection.execute(insert(table).on_conflict_do_nothing(index_elements=["id"]), values)
                    self._bytes += sum(len(row["body"]) for row in rows)
        left._engine.dispose()
        for file in (other, other.with_name(f"{other.name}-wal"), other.with_name(f"{other.name}-shm")):
            file.unlink(missing_ok=True)

    def keep(self, events: Sequence[SpooledEvent], *, now: datetime) -> int:
        """Writes all that fit, in one transaction; returns how many did not fit."""
        kept: list[SpooledEvent] = []
        with self._lock:
            room = self._limit - self._bytes
            for event in events:
                if len(event.body) <= room:
                    room -= len(event.body)
                    kept.append(event)
            if kept:
                self._check_room()
                rows = [{"id": event.id, "key": event.key, "body": event.body, "kept_at": to_text(now), "sends": 0} for event in kept]
                with self._writing() as connection:
                    connection.execute(insert(spool_table).on_conflict_do_nothing(index_elements=["id"]), rows)
                self._bytes = self._limit - room
        return len(events) - len(kept)

    def due(self, *, limit: int = 500) -> Sequence[SpooledEvent]:
        """Events to send, oldest first."""
        query = select(spool_table).where(spool_table.c.sent_at.is_(None)).order_by(spool_table.c.seq).limit(limit)
        with reading(self._engine) as connection:
            return [SpooledEvent(id=row.id, key=row.key, body=row.body) for row in connection.execute(query)]

    def sent(self, ids: Sequence[str], *, now: datetime) -> None:
        """Marks events that the broker has acknowledged; whether they are recorded is asked later."""
        if not ids:
            return
        with self._writing() as connection:
            connection.execute(
                update(spool_table)
                .where(spool_table.c.id == bindparam("event"))
                .values(sent_at=to_text(now), sends=spool_table.c.sends + 1),
                [{"event": one} for one in ids],
            )

    def set_aside(self, refused: Mapping[str, str], *, now: datetime) -> None:
        """Keeps events apart that the broker will not take, with its reasons; they are sent again by ``take_back`` only."""
        if not refused:
            return
        with self._writing() as connection:
            rows = connection.execute(select(spool_table).where(spool_table.c.id.in_(refused))).all()
            values = [
                {"id": row.id, "key": row.key, "body": row.body, "reason": refused[row.id], "refused_at": to_text(now)} for row in rows
            ]
            if values:
                connection.execute(insert(refused_table).on_conflict_do_nothing(index_elements=["id"]), values)
            connection.execute(delete(spool_table).where(spool_table.c.id.in_(refused)))

    def take_back(self, *, now: datetime) -> None:
        """Makes what was set aside due again: the broker's limits may have changed."""
        kept = select(refused_table.c.id, refused_table.c.key, refused_table.c.body, literal(to_text(now)), literal(0))
        with self._lock, self._writing() as connection:
            columns = ["id", "key", "body", "kept_at", "sends"]
            connection.execute(insert(spool_table).from_select(columns, kept.where(true())).on_conflict_do_nothing())
            connection.execute(delete(refused_table))

    def unconfirmed(self, *, after: int = 0, limit: int = 500) -> tuple[Sequence[str], int]:
        """Ids of events sent and not known to be recorded, oldest first; and where the next page begins (0: this was the last)."""
        query = (
            select(spool_table.c.id, spool_table.c.seq)
            .where(spool_table.c.sent_at.is_not(None), spool_table.c.seq > after)
            .order_by(spool_table.c.seq)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [row.id for row in rows], rows[-1].seq if len(rows) == limit else 0

    def recorded(self, ids: Sequence[str]) -> None:
        """Deletes events that are recorded."""
        if not ids:
            return
        with self._lock, self._writing() as connection:
            gone = connection.execute(select(func.sum(func.length(spool_table.c.body))).where(spool_table.c.id.in_(ids))).scalar_one() or 0
            connection.execute(delete(spool_table).where(spool_table.c.id.in_(ids)))
            self._bytes -= int(gone)

    def not_recorded(self, ids: Sequence[str], *, now: datetime) -> int:
        """Makes those of these events due again that were sent long enough ago, or in the future, by a clock that ran ahead. Returns how
        many."""
        if not ids:
            return 0
        waits = [(spool_table.c.sends == sends, to_text(now - _resend_after(sends))) for sends in (1, 2, 3)]
        long_ago = case(*waits, else_=to_text(now - RESEND_AT_MOST))
        again = or_(spool_table.c.sent_at < long_ago, spool_table.c.sent_at > to_text(now + CLOCKS_DIFFER_BY))
        with self._writing() as connection:
            return connection.execute(update(spool_table).where(spool_table.c.id.in_(ids), again).values(sent_at=None)).rowcount

    def unsent(self) -> int:
        """How many events no broker has acknowledged since they became due."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(func.count()).where(spool_table.c.sent_at.is_(None))).scalar_one())

    def waiting(self) -> int:
        """How many events are not known to be recorded."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(func.count()).select_from(spool_table)).scalar_one())

    def _check_room(self) -> None:
        try:
            self._require_room()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: BaseException) -> SpoolUnwritable:
        return SpoolUnwritable(
            f"the spool cannot be written: {error.__cause__ or error}"[:300],
            where=str(self._engine.url.database),
            remedy="See that the disk has room and that this user may write there.",
        )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with writing(self._engine) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._unwritable(error) from error


def _resend_after(sends: int) -> timedelta:
    return min(RESEND_AFTER * (1 << (sends - 1)), RESEND_AT_MOST)
