"""The readers' side of the traffic database: windows, rows, counts, sessions.

In: periods and ids. Out: rows, windows, counts. Nothing is written here. Content is opened only for a process that holds the keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Select, func, select

from flywheel.ids import EVERYTHING, AdapterName, EventId, WorkloadId
from flywheel.traffic.inference import Arm
from flywheel.traffic.sessions import SessionOutcome, SessionRequest, session_outcome
from flywheel.windows.counts import CountMatrix, WindowCounts, added
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import capped
from services.ports.traffic import RecordedInference, TrafficCounts
from services.stores.database import in_parts, reading, rows_with, to_json, to_moment, to_text
from services.stores.ledger.subject_keys import LedgerSubjectKeys
from services.stores.traffic.contents import opened_contents, without_content
from services.stores.traffic.find_exchange import named_among, row_named
from services.stores.traffic.rows import from_row, outcome_in
from services.stores.traffic.tables import (
    dead_letters,
    inferences,
    pane_from_blob,
    panes,
    seen_ids,
    traffic_counts,
)

UNATTRIBUTED = WorkloadId("")


class TrafficStore:
    """The TrafficReader on the traffic database. ``keys``: None for a process that needs no content."""

    def __init__(self, engine: Engine, *, shapes: Mapping[WorkloadId, PaneShape], keys: LedgerSubjectKeys | None = None) -> None:
        self._engine, self._shapes, self._keys = engine, shapes, keys

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
            found = connection.execute(query.order_by(inferences.c.sample_rank, inferences.c.event_id).limit(limit))
            return self._with_contents(connection, sorted(found, key=lambda row: (row.occurred_at, row.event_id)))

    def by_request(self, id: str, *, workload: WorkloadId) -> RecordedInference | None:
        with reading(self._engine) as connection:
            row = row_named(connection, id, workload=workload)
            return self._with_contents(connection, [row])[0] if row is not None else None

    def named(self, ids: Sequence[str], *, workload: WorkloadId) -> frozenset[str]:
        with reading(self._engine) as connection:
            return frozenset(named_among(connection, ids, workload=workload))

    def _with_contents(self, connection: Connection, rows: Sequence[Any]) -> list[RecordedInference]:
        if self._keys is None:
            return [from_row(row, without_content("this process opens no content")) for row in rows]
        contents = opened_contents(connection, [row.event_id for row in rows], keys=self._keys)
        return [from_row(row, contents.get(row.event_id)) for row in rows]

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        with reading(self._engine) as connection:
            dead_lettered: set[EventId] = set()
            for part in in_parts(ids):
                dead_lettered.update(connection.execute(select(dead_letters.c.event_id).where(dead_letters.c.event_id.in_(part))).scalars())
            return frozenset(seen_among(connection, ids) | dead_lettered)

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        with reading(self._engine) as connection:
            return counts_of(connection, workload)

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

    def newest(self, workload: WorkloadId, *, until: datetime | None = None) -> datetime | None:
        one = inferences.c
        with reading(self._engine) as connection:
            text = connection.execute(select(traffic_counts.c.newest).where(traffic_counts.c.workload == workload)).scalar()
            if text and until is not None and text > to_text(until):
                believed = (one.workload == workload, one.occurred_at <= to_text(until), one.arm != Arm.SHADOW)
                newest_first = select(one.occurred_at).where(*believed).order_by(one.occurred_at.desc()).limit(1)
                text = connection.execute(newest_first).scalar()
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


def counts_of(connection: Connection, workload: WorkloadId) -> TrafficCounts:
    """The cumulative counts, as they are in this transaction."""
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


def seen_among(connection: Connection, ids: Sequence[EventId]) -> set[EventId]:
    """Those of the ids that are recorded."""
    return {row.event_id for row in rows_with(connection, seen_ids, column="event_id", values=ids, wanted=["event_id"])}


def _panes_of(workload: WorkloadId, start: datetime, end: datetime) -> Select[tuple[str, bytes]]:
    """Their counts, by time."""
    return (
        select(panes.c.pane_start, panes.c.counts)
        .where(panes.c.workload == workload, panes.c.pane_start >= to_text(start), panes.c.pane_start < to_text(end))
        .order_by(panes.c.pane_start, panes.c.topic, panes.c.partition)
    )


def _request(row: Any) -> SessionRequest:
    return SessionRequest(
        at=to_moment(row.occurred_at),
        outcome=outcome_in(row),
        latency_ms=row.latency_ms,
        dimensions=orjson.loads(row.dimensions),
        features=orjson.loads(row.features),
    )
