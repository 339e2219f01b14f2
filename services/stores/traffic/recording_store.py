"""The recorder's side of the traffic database: one transaction per batch.

In: batches with the positions they were read from. Out: the workloads' counts. Exactness rests on three things, all inside one write
transaction: positions move by compare-and-set, an event id is inserted once, only inserted rows are counted. The first failures per
session and day and the sealed contents are stored in that transaction too.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter

import orjson
import structlog
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, case, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.dead_letter import LetterState
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.recording import LostPartition
from flywheel.windows.counts import CountMatrix, count_rows
from flywheel.windows.pane import pane_start
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import Pane, SlicePolicy, slices_of, summed
from services.ports.dead_letters import DeadLetter
from services.ports.traffic import (
    FeatureRow,
    PartitionPosition,
    RecordedInference,
    RecordingBatch,
    TrafficCounts,
)
from services.stores.database import to_text, writing
from services.stores.traffic.contents import ContentSealer
from services.stores.traffic.dead_letters import insert_dead_letters, move_letters, retried_ids
from services.stores.traffic.first_failures import with_first_failures_marked
from services.stores.traffic.rows import to_row
from services.stores.traffic.tables import (
    exchange_contents,
    inferences,
    pane_from_blob,
    pane_to_blob,
    panes,
    positions,
    seen_ids,
    traffic_counts,
)
from services.stores.traffic.traffic_store import counts_of, seen_among

log = structlog.get_logger()


class RecordingStore:
    """The TrafficRecorder on the traffic database. By one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        *,
        shapes: Mapping[WorkloadId, PaneShape],
        sealer: ContentSealer,
        require_room: Callable[[], None] = lambda: None,
    ) -> None:
        """``require_room`` raises OSError where the disk has none for traffic."""
        self._require_room = require_room
        self._engine, self._shapes, self._sealer = engine, shapes, sealer

    def assign(self, *, topic_id: str, topic: str, partition: int) -> PartitionPosition:
        start = {"epoch": positions.c.epoch + 1, "next_offset": case((_is_offset(), positions.c.next_offset), else_=0)}
        with writing(self._engine) as connection:
            row = connection.execute(
                insert(positions)
                .values(log=topic_id, topic=topic, partition=partition, epoch=1, next_offset=0)
                .on_conflict_do_update(index_elements=["log", "topic", "partition"], set_=start)
                .returning(positions.c.epoch, positions.c.next_offset)
            ).one()
        return PartitionPosition(topic_id=topic_id, topic=topic, partition=partition, epoch=row.epoch, offset=row.next_offset)

    def retried_letters(self) -> frozenset[str]:
        return retried_ids(self._engine)

    def record(self, batch: RecordingBatch) -> Mapping[WorkloadId, TrafficCounts]:
        self._require_room()
        at = batch.recorded_at or datetime.now(UTC)
        contents = self._sealed(batch.rows, at=at)
        with writing(self._engine) as connection:
            self._advance(connection, batch)
            fresh = self._insert_new(connection, batch.rows, contents, at=at)
            new_letters = insert_dead_letters(connection, batch.dead_letters, key=self._sealer.sealing_key)
            move_letters(connection, batch.taken_letters, LetterState.TAKEN)
            gained = _gained(batch, fresh=fresh, letters=new_letters)
            for workload, (counts, newest) in gained.items():
                self._add_counts(connection, workload, counts, newest)
            totals = {workload: counts_of(connection, workload) for workload in gained}
            self._count_panes(connection, fresh, totals)
            return totals

    def _advance(self, connection: Connection, batch: RecordingBatch) -> None:
        """First of all, so that a worker that lost its partition rolls back before it has written anything."""
        for advance in batch.advances:
            held = advance.position
            done = connection.execute(
                update(positions)
                .where(
                    and_(
                        positions.c.log == held.topic_id,
                        positions.c.topic == held.topic,
                        positions.c.partition == held.partition,
                        positions.c.epoch == held.epoch,
                        positions.c.next_offset == held.offset,
                    )
                )
                .values(next_offset=advance.to_offset)
            )
            if done.rowcount != 1:
                raise LostPartition(
                    "another worker has taken the partition",
                    where=f"{held.topic}[{held.partition}]",
                    value=held.offset,
                    remedy="Nothing is lost: the new owner reads from where this one stood.",
                )

    def _sealed(self, rows: Sequence[RecordedInference], *, at: datetime) -> dict[EventId, dict[str, object]]:
        """Outside the transaction: keys stand in the ledger before anything that they sealed, and the write lock is held for less time."""
        once: dict[EventId, Inference] = {}
        for row in rows:
            once.setdefault(row.inference.event_id, row.inference)
        return dict(zip(once, self._sealer.sealed(list(once.values()), at=at), strict=True))

    def _insert_new(
        self,
        connection: Connection,
        rows: Sequence[RecordedInference],
        contents: Mapping[EventId, dict[str, object]],
        *,
        at: datetime,
    ) -> list[RecordedInference]:
        known = seen_among(connection, [row.inference.event_id for row in rows])
        fresh: dict[EventId, RecordedInference] = {}
        for row in rows:
            if row.inference.event_id not in known:
                fresh.setdefault(row.inference.event_id, row)
        if fresh:
            fresh = with_first_failures_marked(connection, fresh)
            ordered = [fresh[event_id] for event_id in sorted(fresh)]  # neighbours in the index are written together
            now = to_text(at)
            _insert_all(connection, seen_ids, [{"event_id": row.inference.event_id, "at": now} for row in ordered])
            _insert_all(connection, inferences, [to_row(row, recorded_at=now) for row in ordered])
            _insert_all(connection, exchange_contents, [contents[row.inference.event_id] for row in ordered])
        return list(fresh.values())

    def _count_panes(self, connection: Connection, fresh: Sequence[RecordedInference], totals: Mapping[WorkloadId, TrafficCounts]) -> None:
        grouped: dict[tuple[WorkloadId, datetime, str, int], list[RecordedInference]] = {}
        for row in fresh:
            if row.inference.arm is Arm.SHADOW:
                continue  # reaches no statistic
            shape = self._shapes[row.inference.workload]
            start = pane_start(row.inference.occurred_at, shape.pane)
            grouped.setdefault((row.inference.workload, start, row.topic, row.partition), []).append(row)
        recounted: set[tuple[WorkloadId, datetime]] = set()
        for (workload, start, topic, partition), members in grouped.items():
            if (workload, start) in recounted:
                continue  # the rows of every partition are counted already, those of this batch too
            slices = self._shapes[workload].slices
            key = {"workload": workload, "pane_start": to_text(start), "topic": topic, "partition": partition}
            blob = connection.execute(select(panes.c.counts).where(*(panes.c[name] == value for name, value in key.items()))).scalar()
            try:
                held = pane_from_blob(blob) if blob is not None else Pane()
                pane = summed(held, _counted([(row.features, row.inference.dimensions) for row in members], slices), policy=slices)
            except Exception as error:  # noqa: BLE001 (a changed blob can break anything that reads it)
                log.error(
                    "A pane was changed and is counted again from its rows", action="pane_recounted", error=type(error).__name__, **key
                )
                pane = recounted_pane(connection, workload, start, shape=self._shapes[workload])
                recounted.add((workload, start))
            total = {"counts": pane_to_blob(pane), "changed": totals[workload].recorded}
            connection.execute(
                insert(panes)
                .values(**total, **key)
                .on_conflict_do_update(index_elements=["workload", "pane_start", "topic", "partition"], set_=total)
            )

    def _add_counts(self, connection: Connection, workload: WorkloadId, gained: TrafficCounts, newest: datetime | None) -> None:
        row = {
            "recorded": gained.recorded,
            "duplicates_ignored": gained.duplicates_ignored,
            "dead_lettered": gained.dead_lettered,
        }
        text = to_text(newest) if newest is not None else None
        later = func.nullif(func.max(func.coalesce(traffic_counts.c.newest, ""), text or ""), "")
        connection.execute(
            insert(traffic_counts)
            .values(workload=workload, newest=text, **row)
            .on_conflict_do_update(
                index_elements=["workload"], set_={name: traffic_counts.c[name] + value for name, value in row.items()} | {"newest": later}
            )
        )


def recounted_pane(connection: Connection, workload: WorkloadId, start: datetime, *, shape: PaneShape) -> Pane:
    """The pane from its recorded rows, of all partitions: rows do not say where they were read. Deletes the counts of all partitions.

    A row whose values were changed too is left out.
    """
    one, began, ended = inferences.c, to_text(start), to_text(start + shape.pane)
    connection.execute(delete(panes).where(panes.c.workload == workload, panes.c.pane_start == began))
    wanted = select(one.features, one.dimensions).where(
        one.workload == workload, one.occurred_at >= began, one.occurred_at < ended, one.arm != Arm.SHADOW.value
    )
    rows: list[tuple[FeatureRow, Mapping[str, str]]] = []
    for row in connection.execute(wanted):
        try:
            rows.append((orjson.loads(row.features), orjson.loads(row.dimensions)))
        except (orjson.JSONDecodeError, TypeError):
            continue
    return summed(Pane(), _counted(rows, shape.slices), policy=shape.slices)


def _counted(rows: Sequence[tuple[FeatureRow, Mapping[str, str]]], slices: SlicePolicy) -> CountMatrix:
    return count_rows(
        values={column.name: [features.get(column.name) for features, _ in rows] for column in COLUMNS},
        slices=[slices_of(dimensions, slices) for _, dimensions in rows],
        columns=COLUMNS,
    )


def _is_offset() -> ColumnElement[bool]:
    """False for a position that was changed to something else: that partition is read from its beginning, and event ids ignore the rest."""
    return and_(func.typeof(positions.c.next_offset) == "integer", positions.c.next_offset >= 0)


def _insert_all(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """In the driver's bulk form: SQLAlchemy's own takes several times as long. Each row has a value for every column."""
    names = [column.name for column in table.columns]
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 (names of ours)
    connection.exec_driver_sql(statement, list(map(itemgetter(*names), rows)))


def _gained(
    batch: RecordingBatch, *, fresh: Sequence[RecordedInference], letters: Sequence[DeadLetter]
) -> dict[WorkloadId, tuple[TrafficCounts, datetime | None]]:
    """What this batch adds to each workload's cumulative counts."""
    recorded, duplicates, dead = Counter[WorkloadId](), Counter[WorkloadId](batch.in_batch_duplicates), Counter[WorkloadId]()
    newest: dict[WorkloadId, datetime] = {}
    new = {row.inference.event_id for row in fresh}
    for row in batch.rows:
        inference = row.inference
        if inference.arm is Arm.SHADOW:
            continue
        (recorded if inference.event_id in new else duplicates)[inference.workload] += 1
        new.discard(inference.event_id)  # the same id once more in this batch is a duplicate
        newest[inference.workload] = max(newest.get(inference.workload, inference.occurred_at), inference.occurred_at)
    dead.update(WorkloadId(letter.workload) for letter in letters)
    return {
        workload: (
            TrafficCounts(recorded=recorded[workload], duplicates_ignored=duplicates[workload], dead_lettered=dead[workload]),
            newest.get(workload),
        )
        for workload in dict.fromkeys((*recorded, *duplicates, *dead))
    }
