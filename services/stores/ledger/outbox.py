"""The outbox: an event is sent if and only if the state that it describes is committed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Engine, LargeBinary, String, Table, and_, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.clock import CLOCKS_DIFFER_BY
from services.ports.outbox import OutboxMessage
from services.stores.database import metadata, reading, to_moment, to_text, writing

NEVER_AGAIN = "9999-12-31T23:59:59.999999Z"  # the time of sending of a message that was set aside
outbox_table = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("topic", String, nullable=False),
    Column("key", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("sent_at", String),
)


def put_messages(connection: Connection, *messages: OutboxMessage) -> None:
    """For the other ledger stores: an event is sent if and only if the state that it describes is committed."""
    for message in messages:
        connection.execute(
            insert(outbox_table)
            .values(id=message.id, topic=message.topic, key=message.key, value=message.value, created_at=to_text(message.created_at))
            .on_conflict_do_nothing(index_elements=["id"])
        )


class LedgerOutbox:
    """The outbox on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, *messages: OutboxMessage) -> None:
        with writing(self._engine) as connection:
            put_messages(connection, *messages)

    def due(self, *, now: datetime, resend_after: timedelta, limit: int = 500) -> Sequence[OutboxMessage]:
        sent_at = outbox_table.c.sent_at
        in_the_future = and_(sent_at > to_text(now + CLOCKS_DIFFER_BY), sent_at != NEVER_AGAIN)  # by a clock that ran ahead
        query = (
            select(outbox_table)
            .where(or_(sent_at.is_(None), sent_at < to_text(now - resend_after), in_the_future))
            .order_by(outbox_table.c.created_at, outbox_table.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [
                OutboxMessage(id=row.id, topic=row.topic, key=row.key, value=row.value, created_at=to_moment(row.created_at))
                for row in connection.execute(query)
            ]

    def sent(self, ids: Sequence[str], *, now: datetime) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(outbox_table).where(outbox_table.c.id.in_(ids)).values(sent_at=to_text(now)))

    def set_aside(self, ids: Sequence[str]) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(outbox_table).where(outbox_table.c.id.in_(ids)).values(sent_at=NEVER_AGAIN))

    def confirmed(self, ids: Sequence[str]) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(outbox_table).where(outbox_table.c.id.in_(ids)))
