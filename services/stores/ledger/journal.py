"""The journal: lines are appended and never changed; the database itself refuses it."""

import json
from collections.abc import Sequence

from sqlalchemy import Column, Connection, Engine, Index, Integer, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import Person, WorkloadId
from flywheel.journal import JournalEntry, JournalKind, OtherKind, kind_of
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
    Index("journal_by_subject", "subject", "kind", "seq"),
    Index("journal_by_kind", "workload", "kind", "seq"),
)


def append_entries(connection: Connection, *entries: JournalEntry) -> None:
    """For the other ledger stores, which write their state and its journal entry in one transaction."""
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


class LedgerJournal:
    """The journal on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, *entries: JournalEntry) -> None:
        with writing(self._engine) as connection:
            append_entries(connection, *entries)

    def entries(
        self,
        *,
        workload: WorkloadId | None = None,
        kind: JournalKind | OtherKind | None = None,
        subject: str | None = None,
        limit: int = 10_000,
    ) -> Sequence[JournalEntry]:
        query = select(journal_table).order_by(journal_table.c.seq.desc()).limit(limit)
        for column, wanted in (("workload", workload), ("kind", kind), ("subject", subject)):
            if wanted is not None:
                query = query.where(journal_table.c[column] == wanted)
        with reading(self._engine) as connection:
            return [
                JournalEntry(
                    at=to_moment(row.at),
                    workload=WorkloadId(row.workload),
                    kind=kind_of(row.kind),
                    subject=row.subject,
                    state=row.state,
                    reason=row.reason,
                    actor=Person(row.actor),
                    caused_by=row.caused_by,
                    evidence=json.loads(row.evidence),
                )
                for row in reversed(connection.execute(query).all())
            ]
