"""The work queue: leased rows, so that the step of a process that died is taken again."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Column, Engine, Index, Integer, String, Table, and_, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import WorkloadId
from services.ports.work import WorkItem
from services.stores.database import metadata, reading, to_json, to_text, writing

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
    Index("work_to_do", "kind", "created_at", sqlite_where=text("state IN ('open', 'leased')")),
)


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
