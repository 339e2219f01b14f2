"""Journal, outbox and leased work in the ledger."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Engine, Integer, LargeBinary, String, Table, and_, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import Person, WorkloadId
from flywheel.journal import JournalEntry
from services.ports.record import OutboxMessage, WorkItem
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing

journal_table = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("at", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("caused_by", String, nullable=False),
    Column("evidence", String, nullable=False),
)
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
work_table = Table(
    "work",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False, index=True),
    Column("workload", String, nullable=False),
    Column("payload", String, nullable=False),
    Column("caused_by", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("leased_by", String),
    Column("lease_until", String),
    Column("attempts", Integer, nullable=False),
    Column("result", String),
)


def append_entries(connection: Connection, *entries: JournalEntry) -> None:
    """For the other parts of the ledger, which write their state and its journal line in one transaction."""
    for entry in entries:
        connection.execute(
            insert(journal_table)
            .values(
                id=entry.id,
                at=to_text(entry.at),
                workload=entry.workload,
                kind=entry.kind,
                subject=entry.subject,
                state=entry.state,
                reason=entry.reason,
                actor=entry.actor,
                caused_by=entry.caused_by,
                evidence=to_json(dict(entry.evidence)),
            )
            .on_conflict_do_nothing(index_elements=["id"])
        )


def put_messages(connection: Connection, *messages: OutboxMessage) -> None:
    """For the other parts: an event leaves exactly when the state it speaks of is kept."""
    for message in messages:
        connection.execute(
            insert(outbox_table)
            .values(id=message.id, topic=message.topic, key=message.key, value=message.value, created_at=to_text(message.created_at))
            .on_conflict_do_nothing(index_elements=["id"])
        )


class LedgerJournal:
    """The journal on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, *entries: JournalEntry) -> None:
        with writing(self._engine) as connection:
            append_entries(connection, *entries)

    def entries(
        self, *, workload: WorkloadId | None = None, kind: str | None = None, subject: str | None = None, limit: int = 10_000
    ) -> Sequence[JournalEntry]:
        query = select(journal_table).order_by(journal_table.c.seq).limit(limit)
        for column, wanted in (("workload", workload), ("kind", kind), ("subject", subject)):
            if wanted is not None:
                query = query.where(journal_table.c[column] == wanted)
        with reading(self._engine) as connection:
            return [
                JournalEntry(
                    at=to_moment(row.at),
                    workload=WorkloadId(row.workload),
                    kind=row.kind,
                    subject=row.subject,
                    state=row.state,
                    reason=row.reason,
                    actor=Person(row.actor),
                    caused_by=row.caused_by,
                    evidence=json.loads(row.evidence),
                )
                for row in connection.execute(query)
            ]


class LedgerOutbox:
    """The outbox on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, *messages: OutboxMessage) -> None:
        with writing(self._engine) as connection:
            put_messages(connection, *messages)

    def due(self, *, now: datetime, resend_after: timedelta, limit: int = 500) -> Sequence[OutboxMessage]:
        query = (
            select(outbox_table)
            .where(or_(outbox_table.c.sent_at.is_(None), outbox_table.c.sent_at < to_text(now - resend_after)))
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

    def confirmed(self, ids: Sequence[str]) -> None:
        with writing(self._engine) as connection:
            connection.execute(delete(outbox_table).where(outbox_table.c.id.in_(ids)))


class LedgerWorkQueue:
    """Leased rows on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, item: WorkItem, *, now: datetime) -> bool:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(work_table)
                .values(
                    id=item.id,
                    kind=item.kind,
                    workload=item.workload,
                    payload=to_json(dict(item.payload)),
                    caused_by=item.caused_by,
                    state="open",
                    created_at=to_text(now),
                    attempts=0,
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            return done.rowcount == 1

    def lease(self, kind: str, *, worker: str, now: datetime, hold: timedelta) -> WorkItem | None:
        free = or_(work_table.c.state == "open", and_(work_table.c.state == "leased", work_table.c.lease_until < to_text(now)))
        with writing(self._engine) as connection:
            row = connection.execute(
                select(work_table).where(work_table.c.kind == kind, free).order_by(work_table.c.created_at, work_table.c.id).limit(1)
            ).first()
            if row is None:
                return None
            connection.execute(
                update(work_table)
                .where(work_table.c.id == row.id)
                .values(state="leased", leased_by=worker, lease_until=to_text(now + hold), attempts=row.attempts + 1)
            )
        return WorkItem(
            id=row.id,
            kind=row.kind,
            workload=WorkloadId(row.workload),
            payload=json.loads(row.payload),
            caused_by=row.caused_by,
            attempts=row.attempts + 1,
        )

    def extend(self, item_id: str, *, worker: str, now: datetime, hold: timedelta) -> bool:
        return self._if_held(item_id, worker, {"lease_until": to_text(now + hold)})

    def finish(self, item_id: str, *, worker: str, now: datetime, result: Mapping[str, object]) -> bool:
        return self._if_held(item_id, worker, {"state": "done", "lease_until": to_text(now), "result": to_json(dict(result))})

    def fail(self, item_id: str, *, worker: str, now: datetime, reason: str) -> bool:
        return self._if_held(item_id, worker, {"state": "failed", "lease_until": to_text(now), "result": to_json({"reason": reason})})

    def state(self, item_id: str) -> str | None:
        with reading(self._engine) as connection:
            return connection.execute(select(work_table.c.state).where(work_table.c.id == item_id)).scalar()

    def _if_held(self, item_id: str, worker: str, values: Mapping[str, object]) -> bool:
        held = and_(work_table.c.id == item_id, work_table.c.state == "leased", work_table.c.leased_by == worker)
        with writing(self._engine) as connection:
            return connection.execute(update(work_table).where(held).values(**values)).rowcount == 1
