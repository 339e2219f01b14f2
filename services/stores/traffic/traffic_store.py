"""The traffic store on SQL: written by the recorder in one transaction per batch, read by all other processes.

In: batches with the positions they were read from. Out: rows, windows, counts. Exactness rests on three things, all inside
one write transaction: positions move by compare-and-set, an event id is inserted once, only inserted rows are counted. The first
failures per session and day are stored in that transaction too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, func, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import EVERYTHING, AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm
from flywheel.traffic.recording import LostPartition
from flywheel.traffic.sessions import SessionOutcome, SessionRequest, session_outcome
from flywheel.windows.counts import CountMatrix, WindowCounts, added, count_rows
from flywheel.windows.pane import pane_start
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import Pane, capped, slices_of, summed
from services.ports.traffic import (
    DeadLetter,
    PartitionPosition,
    RecordedInference,
    RecordingBatch,
    TrafficCounts,
)
from services.stores.database import in_parts, reading, to_json, to_moment, to_text, writing
from services.stores.traffic.first_failures import with_first_failures_marked
from services.stores.traffic.rows import from_row, outcome_in, to_row
from services.stores.traffic.tables import (
    dead_letters,
    inferences,
    pane_from_blob,
    pane_to_blob,
    panes,
    positions,
    seen_ids,
    traffic_counts,
)

UNATTRIBUTED = WorkloadId("")


class TrafficStore:
    """TrafficRecorder and TrafficReader on one database."""

    def __init__(self, engine: Engine, *, shapes: Mapping[WorkloadId, PaneShape]) -> None:
        self._engine, self._shapes = engine, shapes

    # The recorder's side.

    def assign(self, *, topic_id: str, topic: str, partition: int) -> PartitionPosition:
        with writing(self._engine) as connection:
            row = connection.execute(
                insert(positions)
                .values(log=topic_id, topic=topic, partition=partition, epoch=1, next_offset=0)
                .on_conflict_do_update(index_elements=["log", "topic", "partition"], set_={"epoch": positions.c.epoch + 1})
                .returning(positions.c.epoch, positions.c.next_offset)
            ).one()
        return PartitionPosition(topic_id=topic_id, topic=topic, partition=partition, epoch=row.epoch, offset=row.next_offset)

    def record(self, batch: RecordingBatch) -> Mapping[WorkloadId, TrafficCounts]:
        at = batch.recorded_at or datetime.now(UTC)
        with writing(self._engine) as connection:
            self._advance(connection, batch)
            fresh = self._insert_new(connection, batch.rows, at=at)
            gained = _gained(batch, fresh=fresh, letters=self._insert_dead_letters(connection, batch.dead_letters))
            for workload, (counts, newest) in gained.items():
                self._add_counts(connection, workload, counts, newest)
            totals = {workload: self._counts(connection, workload) for workload in gained}
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

    def _insert_new(self, connection: Connection, rows: Sequence[RecordedInference], *, at: datetime) -> list[RecordedInference]:
        known = _present(connection, [row.inference.event_id for row in rows])
        fresh: dict[EventId, RecordedInference] = {}
        for row in rows:
            if row.inference.event_id not in known:
                fresh.setdefault(row.inference.event_id, row)
        if fresh:
            fresh = with_first_failures_marked(connection, fresh)
            ordered = [fresh[event_id] for event_id in sorted(fresh)]  # neighbours in the index are written together
            connection.execute(insert(seen_ids), [{"event_id": row.inference.event_id, "at": to_text(at)} for row in ordered])
            connection.execute(insert(inferences), [to_row(row, recorded_at=at) for row in ordered])
        return list(fresh.values())

    def _count_panes(self, connection: Connection, fresh: Sequence[RecordedInference], totals: Mapping[WorkloadId, TrafficCounts]) -> None:
        grouped: dict[tuple[WorkloadId, datetime, str, int], list[RecordedInference]] = {}
        for row in fresh:
            if row.inference.arm is Arm.SHADOW:
                continue  # reaches no statistic
            shape = self._shapes[row.inference.workload]
            start = pane_start(row.inference.occurred_at, shape.pane)
            grouped.setdefault((row.inference.workload, start, row.topic, row.partition), []).append(row)
        for (workload, start, topic, partition), members in grouped.items():
            slices = self._shapes[workload].slices
            key = {"workload": workload, "pane_start": to_text(start), "topic": topic, "partition": partition}
            blob = connection.execute(select(panes.c.counts).where(*(panes.c[name] == value for name, value in key.items()))).scalar()
            held = pane_from_blob(blob) if blob is not None else Pane()
            new = count_rows(
                values={column.name: [row.features.get(column.name) for row in members] for column in COLUMNS},
                slices=[slices_of(row.inference.dimensions, slices) for row in members],
                columns=COLUMNS,
            )
            total = {"counts": pane_to_blob(summed(held, new, policy=slices)), "changed": totals[workload].recorded}
            connection.execute(
                insert(panes)
                .values(**total, **key)
                .on_conflict_do_update(index_elements=["workload", "pane_start", "topic", "partition"], set_=total)
            )

    def _insert_dead_letters(self, connection: Connection, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        dead_lettered = []
        for letter in letters:
            done = connection.execute(
                insert(dead_letters)
                .values(
                    id=letter.id,
                    event_id=letter.event_id,
                    workload=letter.workload,
                    topic=letter.topic,
                    partition=letter.partition,
                    offset=letter.offset,
                    reason=letter.reason,
                    path=letter.path,
                    at=to_text(letter.at),
                    raw=letter.raw,
                    attempts=letter.attempts,
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            if done.rowcount == 1:
                dead_lettered.append(letter)
        return dead_lettered

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

    # The readers' side.

    def window(self, *, workload: WorkloadId, start: datetime, end: datetime) -> WindowCounts:
        with reading(self._engine) as connection:
            found = [pane_from_blob(row.counts).matrix for row in connection.execute(_panes_of(workload, start, end))]
        return WindowCounts(workload=workload, start=start, end=end, matrix=self._capped(workload, found))

    def hourly(self, *, workload: WorkloadId, start: datetime, hours: int) -> Iterator[CountMatrix]:
        """One query, read as the hours are asked for: all of them at once may be hundreds of megabytes."""
        ends = [start + timedelta(hours=1) * (hour + 1) for hour in range(hours)]
        with reading(self._engine) as connection:
            rows = iter(connection.execute(_panes_of(workload, start, start + timedelta(hours=hours))))
            row = next(rows, None)
            for end in ends:
                found = []
                while row is not None and row.pane_start < to_text(end):
                    found.append(pane_from_blob(row.counts).matrix)
                    row = next(rows, None)
                yield self._capped(workload, found)

    def _capped(self, workload: WorkloadId, parts: Sequence[CountMatrix]) -> CountMatrix:
        total = added(*parts)
        return capped(total, policy=self._shapes[workload].slices) if workload in self._shapes else total

    def rows(
        self,
        *,
        workload: WorkloadId,
        start: datetime,
        end: datetime,
        slice_name: str = EVERYTHING,
        adapter: AdapterName | None = None,
        limit: int = 5_000,
    ) -> Sequence[RecordedInference]:
        query = select(inferences).where(
            inferences.c.workload == workload,
            inferences.c.occurred_at >= to_text(start),
            inferences.c.occurred_at < to_text(end),
            inferences.c.arm != Arm.SHADOW,
        )
        if slice_name != EVERYTHING:
            dimension, _, value = slice_name.partition("=")
            query = query.where(func.json_extract(inferences.c.dimensions, f"$.{to_json(dimension)}") == value)
        if adapter is not None:
            query = query.where(inferences.c.adapter == adapter)
        with reading(self._engine) as connection:
            found = list(connection.execute(query.order_by(inferences.c.sample_rank, inferences.c.event_id).limit(limit)))
        return [from_row(row) for row in sorted(found, key=lambda row: (row.occurred_at, row.event_id))]

    def by_request(self, request_id: RequestId, *, workload: WorkloadId) -> RecordedInference | None:
        """The last attempt that has an answer; when all failed, the last one."""
        query = (
            select(inferences)
            .where(inferences.c.request_id == request_id, inferences.c.workload == workload, inferences.c.arm != Arm.SHADOW)
            .order_by(inferences.c.answer.is_(None), inferences.c.attempt.desc(), inferences.c.event_id)
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return from_row(row) if row is not None else None

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        with reading(self._engine) as connection:
            dead_lettered: set[EventId] = set()
            for part in in_parts(ids):
                dead_lettered.update(connection.execute(select(dead_letters.c.event_id).where(dead_letters.c.event_id.in_(part))).scalars())
            return frozenset(_present(connection, ids) | dead_lettered)

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        with reading(self._engine) as connection:
            return self._counts(connection, workload)

    def changes(self, *, workload: WorkloadId, start: datetime, end: datetime, after: int) -> Mapping[datetime, int]:
        query = (
            select(panes.c.pane_start, func.max(panes.c.changed).label("changed"))
            .where(
                panes.c.workload == workload,
                panes.c.pane_start >= to_text(start),
                panes.c.pane_start < to_text(end),
                panes.c.changed > after,
            )
            .group_by(panes.c.pane_start)
        )
        with reading(self._engine) as connection:
            found = list(connection.execute(query))
        return {datetime.fromisoformat(row.pane_start): row.changed for row in found}  # every second: to_moment is forty times as slow

    def newest(self, workload: WorkloadId) -> datetime | None:
        with reading(self._engine) as connection:
            text = connection.execute(select(traffic_counts.c.newest).where(traffic_counts.c.workload == workload)).scalar()
        return to_moment(text) if text else None

    def outcomes(self, *, workload: WorkloadId, since: datetime, route_version: int = 0) -> Sequence[SessionOutcome]:
        """Excludes retries on the champion: they come from the canary's sessions and are no fair control."""
        one = inferences.c
        query = (  # not the messages: they are most of a row's bytes, and this is asked every second
            select(one.session, one.adapter, one.occurred_at, one.status, one.outcome, one.latency_ms, one.dimensions, one.features)
            .where(
                inferences.c.workload == workload,
                inferences.c.occurred_at >= to_text(since),
                inferences.c.route_version >= route_version,
                inferences.c.arm.in_([Arm.CHAMPION, Arm.CANARY, Arm.HOLDOUT]),
                inferences.c.attempt == 1,
            )
            .order_by(inferences.c.occurred_at, inferences.c.event_id)
        )
        sessions: dict[tuple[str, str], list[SessionRequest]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                sessions.setdefault((row.session, row.adapter), []).append(_request(row))
        outcomes = (session_outcome(session, AdapterName(adapter), requests) for (session, adapter), requests in sessions.items())
        return [outcome for outcome in outcomes if outcome is not None]

    def oldest(self, workload: WorkloadId, *, start: datetime, end: datetime) -> datetime | None:
        query = select(func.min(panes.c.pane_start)).where(
            panes.c.workload == workload, panes.c.pane_start >= to_text(start), panes.c.pane_start < to_text(end)
        )
        with reading(self._engine) as connection:
            text = connection.execute(query).scalar()
        return to_moment(text) if text else None

    def dead_letters(self, *, limit: int = 100) -> Sequence[DeadLetter]:
        query = select(dead_letters).order_by(dead_letters.c.at.desc(), dead_letters.c.id).limit(limit)
        with reading(self._engine) as connection:
            return [_dead_letter(row) for row in connection.execute(query)]

    def dead_letter(self, letter_id: str) -> DeadLetter | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id)).first()
        return _dead_letter(row) if row is not None else None

    def _counts(self, connection: Connection, workload: WorkloadId) -> TrafficCounts:
        rows = {
            row.workload: row
            for row in connection.execute(select(traffic_counts).where(traffic_counts.c.workload.in_({workload, UNATTRIBUTED})))
        }
        own = rows.get(workload)
        return TrafficCounts(
            recorded=own.recorded if own else 0,
            duplicates_ignored=own.duplicates_ignored if own else 0,
            dead_lettered=sum(row.dead_lettered for row in rows.values()),
        )


def _gained(
    batch: RecordingBatch, *, fresh: Sequence[RecordedInference], letters: Sequence[DeadLetter]
) -> dict[WorkloadId, tuple[TrafficCounts, datetime | None]]:
    """What this batch adds to each workload's cumulative counts."""
    gained: dict[WorkloadId, TrafficCounts] = {}
    newest: dict[WorkloadId, datetime] = {}

    def more(workload: WorkloadId, *, recorded: int = 0, duplicates: int = 0, dead: int = 0) -> None:
        held = gained.get(workload, TrafficCounts())
        gained[workload] = replace(
            held,
            recorded=held.recorded + recorded,
            duplicates_ignored=held.duplicates_ignored + duplicates,
            dead_lettered=held.dead_lettered + dead,
        )

    new = {row.inference.event_id for row in fresh}
    for row in batch.rows:
        inference = row.inference
        if inference.arm is Arm.SHADOW:
            continue
        is_new = inference.event_id in new
        new.discard(inference.event_id)  # the same id once more in this batch is a duplicate
        more(inference.workload, recorded=int(is_new), duplicates=int(not is_new))
        newest[inference.workload] = max(newest.get(inference.workload, inference.occurred_at), inference.occurred_at)
    for workload, number in batch.in_batch_duplicates.items():
        more(workload, duplicates=number)
    for letter in letters:
        more(WorkloadId(letter.workload), dead=1)
    return {workload: (counts, newest.get(workload)) for workload, counts in gained.items()}


def _panes_of(workload: WorkloadId, start: datetime, end: datetime) -> Select[tuple[str, bytes]]:
    """Their counts, by time."""
    return (
        select(panes.c.pane_start, panes.c.counts)
        .where(panes.c.workload == workload, panes.c.pane_start >= to_text(start), panes.c.pane_start < to_text(end))
        .order_by(panes.c.pane_start, panes.c.topic, panes.c.partition)
    )


def _present(connection: Connection, ids: Sequence[EventId]) -> set[EventId]:
    found: set[EventId] = set()
    for part in in_parts(ids):
        found.update(connection.execute(select(seen_ids.c.event_id).where(seen_ids.c.event_id.in_(part))).scalars())
    return found


def _request(row: Any) -> SessionRequest:
    return SessionRequest(
        at=to_moment(row.occurred_at),
        outcome=outcome_in(row),
        latency_ms=row.latency_ms,
        dimensions=json.loads(row.dimensions),
        features=json.loads(row.features),
    )


def _dead_letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        reason=row.reason,
        path=row.path,
        at=to_moment(row.at),
        raw=row.raw,
        attempts=row.attempts,
        event_id=row.event_id,
        workload=row.workload,
    )
