"""The work queue: leased rows, so that the step of a process that died is taken again."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Column, Engine, Index, Integer, String, Table, and_, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.clock import CLOCKS_DIFFER_BY
from flywheel.ids import DAEMON, AdapterName, Person, RunId, WorkloadId
from services.ports.work_queue import AnyCommand, Command, GateCommand, RetrainCommand, SnapshotCommand, TrainCommand, WorkItem
from services.stores.database import metadata, reading, to_json, to_text, writing

TO_DO = text("state IN ('open', 'leased')")  # the same text in index and query, so that SQLite uses the partial index
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
    Index("work_to_do", "kind", "created_at", sqlite_where=TO_DO),
)


class LedgerWorkQueue:
    """Leased rows on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, item: WorkItem[AnyCommand], *, now: datetime) -> bool:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(work_table)
                .values(
                    id=item.id,
                    kind=item.command.kind,
                    workload=item.workload,
                    payload=to_json(_payload(item.command)),
                    caused_by=item.caused_by,
                    state="open",
                    created_at=to_text(now),
                    attempts=0,
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            return done.rowcount == 1

    def lease(self, command: type[AnyCommand], *, worker: str, now: datetime, hold: timedelta) -> WorkItem[AnyCommand] | None:
        """Asked again and again, mostly for nothing: only where there is something the write lock is taken.

        A lease that ends later than any lease taken now was taken by a clock that ran ahead, and holds nothing.
        """
        until = work_table.c.lease_until
        over = or_(until < to_text(now), until > to_text(now + hold + CLOCKS_DIFFER_BY))
        free = or_(work_table.c.state == "open", and_(work_table.c.state == "leased", over))
        oldest = (
            select(work_table)
            .where(work_table.c.kind == command.kind, TO_DO, free)
            .order_by(work_table.c.created_at, work_table.c.id)
            .limit(1)
        )
        with reading(self._engine) as connection:
            if connection.execute(oldest).first() is None:
                return None
        with writing(self._engine) as connection:
            row = connection.execute(oldest).first()
            if row is None:
                return None  # another worker was first
            connection.execute(
                update(work_table)
                .where(work_table.c.id == row.id)
                .values(state="leased", leased_by=worker, lease_until=to_text(now + hold), attempts=row.attempts + 1)
            )
        return WorkItem(
            id=row.id,
            workload=WorkloadId(row.workload),
            command=_command(command, json.loads(row.payload)),
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

    def workload_of(self, item_id: str) -> WorkloadId | None:
        with reading(self._engine) as connection:
            found = connection.execute(select(work_table.c.workload).where(work_table.c.id == item_id)).scalar()
            return WorkloadId(found) if found is not None else None

    def _if_held(self, item_id: str, worker: str, values: Mapping[str, object]) -> bool:
        held = and_(work_table.c.id == item_id, work_table.c.state == "leased", work_table.c.leased_by == worker)
        with writing(self._engine) as connection:
            return connection.execute(update(work_table).where(held).values(**values)).rowcount == 1


def _payload(command: Command) -> dict[str, object]:
    """The payload as JSON. Its keys are those of the first version, which stored ledgers contain."""
    match command:
        case TrainCommand(run=run):
            return {"run_id": run}
        case GateCommand(adapter=adapter, asked_by=person):
            return {"adapter": adapter, "actor": person}
        case SnapshotCommand(asked_by=person, reason=reason) | RetrainCommand(asked_by=person, reason=reason):
            return {"reason": reason, "actor": person}


def _command(kind: type[AnyCommand], payload: Mapping[str, str]) -> AnyCommand:
    """The inverse. Keys that older versions did not write get a default: requested by the daemon, without a reason."""
    by = Person(payload.get("actor") or DAEMON)
    made: dict[str, Callable[[], Command]] = {
        TrainCommand.kind: lambda: TrainCommand(run=RunId(payload["run_id"])),
        GateCommand.kind: lambda: GateCommand(adapter=AdapterName(payload["adapter"]), asked_by=by),
        SnapshotCommand.kind: lambda: SnapshotCommand(asked_by=by, reason=payload.get("reason", "")),
        RetrainCommand.kind: lambda: RetrainCommand(asked_by=by, reason=payload.get("reason", "")),
    }
    command = made[kind.kind]()
    assert isinstance(command, kind)
    return command
